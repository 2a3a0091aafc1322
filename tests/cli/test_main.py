"""The command itself: help, version, solvers, imports."""

import json
import subprocess
import sys

import pytest

from convexnn import __version__
from convexnn.cli import _output, main
from convexnn_solvers import available_solvers
from convexnn_solvers.registry import known_solvers


def run_python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def test_module_runs():
    done = run_python("-m", "convexnn", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"convexnn {__version__}")
    done = run_python("-m", "convexnn", "fit", "absent.csv")
    assert done.returncode == 2
    assert done.stderr == "convexnn: error: No file 'absent.csv'. Check the path.\n"


def test_works_without_extras_until_they_are_needed():
    # None in sys.modules makes an import fail; scikit-learn itself imports pandas and rich where it can.
    script = """
import sys
for name in ("rich", "pandas", "pyarrow", "cvxpy", "ecos", "scs"):
    sys.modules[name] = None
from convexnn.cli import main
print(main(["solvers", "--json", "-"]), main(["solvers"]), main(["demo"]))
"""
    done = run_python("-c", script)
    assert done.returncode == 0, done.stderr
    solvers, codes = done.stdout.rsplit("\n", 2)[:2]
    assert codes == "0 2 2"
    available = {solver["name"]: solver["available"] for solver in json.loads(solvers)["solvers"]}
    assert (available["clarabel"], available["cvxpy"], available["ecos"]) == (True, False, False)


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["fit"], ["demo", "--nothing"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert "usage: convexnn" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["fit", "--help"], ["solvers", "--help"], ["demo", "--help"]]
)
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 0
    assert "usage: convexnn" in capsys.readouterr().out


def test_solvers_are_those_of_the_registry(capsys):
    assert main(["solvers", "--json", "-"]) == 0
    solvers = json.loads(capsys.readouterr().out)["solvers"]
    assert [solver["name"] for solver in solvers] == known_solvers()
    assert [solver["name"] for solver in solvers if solver["available"]] == available_solvers()
    (clarabel,) = [solver for solver in solvers if solver["name"] == "clarabel"]
    assert {"squared_error", "log_loss", "hinge"} <= set(clarabel["losses"])


def test_solvers_that_are_missing_come_with_the_pip_line(monkeypatch, capsys):
    from convexnn_solvers.backends.scs_ import Scs

    monkeypatch.setattr(Scs, "missing", classmethod(lambda cls: ["scs"]))
    assert main(["solvers"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("scs")]
    assert 'pip install "convexnn[scs]"' in line
    assert "available" in next(line for line in out.splitlines() if line.startswith("clarabel"))


@pytest.mark.parametrize("command", ["solvers", "demo"])
def test_tables_need_rich(monkeypatch, capsys, command):
    monkeypatch.setattr(_output, "find_spec", lambda module: None)
    assert main([command]) == 2
    err = capsys.readouterr().err
    assert err.startswith("convexnn: error: Printing tables needs the package 'rich'")
    assert 'pip install "convexnn[cli]"' in err


def test_json_has_no_nan_and_failure_to_write_is_an_error(tmp_path, capsys):
    _output.write_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": None}, "-")
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": None}
    assert main(["solvers", "--json", str(tmp_path / "absent" / "list.json")]) == 2
    assert "Cannot write" in capsys.readouterr().err
