"""Compiled kernels on disk: they follow every edit, and no state of the disk stops the work."""

import os
import subprocess
import sys
import tempfile
import warnings
from errno import ENOSPC
from importlib.util import module_from_spec, spec_from_file_location
from shutil import rmtree

import numba
import pytest

from convexnn import _jit

FILES = {
    "numbers_": "SHIFT = 1.0\n",
    "inner": """
from typing import NamedTuple
from convexnn._jit import kernel
from numbers_ import SHIFT

class Pair(NamedTuple):
    first: float
    second: float

@kernel
def shifted(x: float) -> float:
    return x + SHIFT

@kernel
def first(pair: Pair) -> float:
    return pair.first
""",
    "outer": """
from convexnn._jit import kernel
from inner import Pair, first, shifted

@kernel
def twice(x: float) -> float:
    return 2.0 * shifted(x)

@kernel
def of_pair(pair: Pair) -> float:
    return first(pair)
""",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(_jit, "_told", [])
    return tmp_path


def loaded(folder, monkeypatch):
    """The module `outer` as a new process sees it."""
    for name in FILES:
        spec = spec_from_file_location(name, folder / f"{name}.py")
        module = module_from_spec(spec)
        # Not by way of .pyc files, which two edits within the resolution of a clock would share.
        exec(compile((folder / f"{name}.py").read_text(), spec.origin, "exec"), module.__dict__)
        monkeypatch.setitem(sys.modules, name, module)
    return sys.modules["outer"]


def edit(folder, name, old, new):
    text = (folder / f"{name}.py").read_text()
    assert old in text
    (folder / f"{name}.py").write_text(text.replace(old, new))


def n_compiled(dispatcher):
    return sum(dispatcher.stats.cache_misses.values())


def test_machine_code_is_read_back(folder, monkeypatch):
    for n_expected in (1, 0):
        twice = loaded(folder, monkeypatch).twice
        assert twice(1.5) == 5.0
        assert n_compiled(twice) == n_expected


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("inner", "x + SHIFT", "x - SHIFT", 1.0),
        ("inner", "x + SHIFT", "abs(x) + 3.0", 9.0),
        ("numbers_", "1.0", "2.0", 7.0),
        ("outer", "2.0 *", "3.0 *", 7.5),
    ],
)
def test_edits_reach_calling_kernels(folder, monkeypatch, name, old, new, expected):
    assert loaded(folder, monkeypatch).twice(1.5) == 5.0
    edit(folder, name, old, new)
    assert loaded(folder, monkeypatch).twice(1.5) == expected


def test_exchanged_fields_reach_kernels(folder, monkeypatch):
    outer = loaded(folder, monkeypatch)
    assert outer.of_pair(outer.Pair(first=1.0, second=2.0)) == 1.0
    edit(folder, "inner", "first: float\n    second: float", "second: float\n    first: float")
    outer = loaded(folder, monkeypatch)
    assert outer.of_pair(outer.Pair(first=1.0, second=2.0)) == 1.0


def test_options_are_contents():
    plain, reordering = _jit.kernel(abs_), _jit.reordering_kernel(abs_)
    assert _jit.compiled_contents(plain) != _jit.compiled_contents(reordering)
    assert _jit.compiled_contents(plain) == _jit.compiled_contents(_jit.kernel(abs_))


def abs_(x: float) -> float:
    return abs(x)


def test_versions_share_a_folder(folder, monkeypatch):
    for version, n_expected in (("1", 1), ("2", 1), ("1", 0), ("2", 0)):
        monkeypatch.setattr(_jit, "_versions", lambda version=version: version)
        twice = loaded(folder, monkeypatch).twice
        assert twice(1.5) == 5.0
        assert n_compiled(twice) == n_expected


def no_folder(folder, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "makedirs", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


def vanished_folder(folder, monkeypatch):
    rmtree(folder / "__pycache__")
    (folder / "__pycache__").touch()


def full_folder(folder, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)


@pytest.mark.parametrize("trouble", [no_folder, vanished_folder, full_folder])
def test_trouble_with_the_disk_costs_one_warning(folder, monkeypatch, trouble):
    outer = loaded(folder, monkeypatch)
    if trouble is not no_folder:
        assert outer.twice._cache.cache_path == str(folder / "__pycache__")  # it is chosen by now
    trouble(folder, monkeypatch)
    outer = loaded(folder, monkeypatch) if trouble is no_folder else outer
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert outer.twice(1.5) == 5.0
        assert outer.of_pair(outer.Pair(1.0, 2.0)) == 1.0
    assert [(w.category, "NUMBA_CACHE_DIR" in str(w.message)) for w in caught] == [(RuntimeWarning, True)]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_files_are_written_anew(folder, monkeypatch, kind):
    loaded(folder, monkeypatch).twice(1.5)
    for path in (folder / "__pycache__").glob(f"*.{kind}"):
        path.write_bytes(b"\x80damaged")
    for n_expected in (1, 0):
        twice = loaded(folder, monkeypatch).twice
        assert twice(1.5) == 5.0
        assert n_compiled(twice) == n_expected


def test_code_for_other_types_is_not_taken(folder, monkeypatch):
    def call(*args):
        twice = loaded(folder, monkeypatch).twice
        return twice(*args), n_compiled(twice)

    # What two processes leave that write at the same time: both files have the first free number.
    assert call(1) == (4.0, 1)
    (integers,) = (folder / "__pycache__").glob("outer.twice*.nbc")
    wrong = integers.read_bytes()
    for path in (folder / "__pycache__").glob("outer.twice*"):
        path.unlink()
    assert call(1.5) == (5.0, 1)
    integers.write_bytes(wrong)
    for n_expected in (1, 0):
        assert call(1.5) == (5.0, n_expected)


READ_ONLY = """
import os, tempfile, warnings
def refuse(*args, **options):
    raise PermissionError(13, "Permission denied")
os.makedirs = os.mkdir = tempfile.TemporaryFile = refuse
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import convexnn
    convexnn.ConvexMLPRegressor(0.1).fit([[0.0], [1.0], [3.0]], [1.0, -1.0, 2.0])
assert len([w for w in caught if "NUMBA_CACHE_DIR" in str(w.message)]) == 1, caught
"""


@pytest.mark.slow
def test_a_first_fit_needs_no_folder_that_can_be_written(tmp_path):
    environment = os.environ | {"HOME": str(tmp_path / "missing")}
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
