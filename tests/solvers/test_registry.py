"""Finding solvers: names, variants, missing packages and plug-ins of other distributions."""

import importlib
import importlib.util

import numpy as np
import pytest

import convexnn_solvers
import solver_fakes
from convexnn_solvers import (
    SolverError,
    SolverNotFoundError,
    SolverNotInstalledError,
    Status,
    UnsupportedProgramError,
    available_solvers,
    registry,
    solve,
)
from program_cases import draw_case

BUILT_IN = ["clarabel", "cvxpy", "ecos", "native", "scs"]
OTHERS_PACKAGES = [name for name in BUILT_IN if name != "native"]


@pytest.fixture(autouse=True)
def forgotten_plugins():
    registry._plugins.cache_clear()
    yield
    registry._plugins.cache_clear()


def install(tmp_path, monkeypatch, entries, *, distribution="fake", modules=None):
    """Put a distribution with entry points and modules on the import path."""
    for name, text in (modules or {}).items():
        (tmp_path / f"{name}.py").write_text(text)
    folder = tmp_path / f"{distribution}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in entries.items()]
    (folder / "entry_points.txt").write_text("\n".join(["[convexnn.solvers]", *lines, ""]))
    monkeypatch.syspath_prepend(str(tmp_path))


def test_known_and_available_names():
    assert set(BUILT_IN) <= set(registry.known_solvers())
    installed = [name for name in BUILT_IN if name == "native" or importlib.util.find_spec(name)]
    assert [name for name in available_solvers() if name in BUILT_IN] == installed
    assert available_solvers() == sorted(available_solvers())
    assert convexnn_solvers.available_solvers is available_solvers


@pytest.mark.parametrize("name", ["nonesuch", "", "Clarabel", "nonesuch:ECOS"])
def test_unknown_names_list_the_known_ones(name):
    with pytest.raises(SolverNotFoundError) as caught:
        solve(draw_case(0).program(), solver=name)
    text = str(caught.value)
    assert repr(name) in text
    assert all(repr(known) in text for known in BUILT_IN)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, SolverError)


@pytest.mark.parametrize("name", OTHERS_PACKAGES)
def test_missing_packages_come_with_the_pip_line(name, monkeypatch):
    find = importlib.util.find_spec
    base = importlib.import_module("convexnn_solvers.backends.base")
    monkeypatch.setattr(base, "find_spec", lambda module: None if module == name else find(module))
    assert name not in available_solvers()
    with pytest.raises(SolverNotInstalledError, match=rf'pip install "convexnn\[{name}\]"') as caught:
        solve(draw_case(0).program(), solver=name)
    assert isinstance(caught.value, ImportError)
    assert str(available_solvers()) in str(caught.value)


@pytest.mark.parametrize(
    "loss",
    ["squared_error", "huber", "squared_hinge", "log_loss", "softmax"],
)
def test_auto_is_native_and_then_clarabel_for_smooth_losses(loss):
    program = draw_case(0, loss=loss, alpha=0.05).program()
    assert registry.automatic(program) == ["native", "clarabel"]
    assert solve(program).solver == "native"


@pytest.mark.parametrize(
    ("loss", "alpha"),
    [("hinge", 0.05), ("absolute_error", 0.05), ("squared_error", 0.0), ("huber", 0.0)],
)
def test_auto_is_clarabel_for_kinked_losses_and_without_regularisation(loss, alpha):
    program = draw_case(0, loss=loss, alpha=alpha).program()
    assert registry.automatic(program) == ["clarabel"]
    assert solve(program).solver == "clarabel"


def test_auto_falls_back_to_clarabel_where_the_native_solver_is_stuck(monkeypatch):
    monkeypatch.setitem(registry._BUILT_IN, "native", "solver_fakes:Lying")
    program = draw_case(0, alpha=0.05).program()
    alone = solve(program, solver="clarabel", tol=1e-7)
    result = solve(program, tol=1e-7)
    assert result.solver == "clarabel"
    assert result.status is Status.CONVERGED
    assert result.n_iter > alone.n_iter  # the fake claims 7 iterations, and they count
    assert result.objective == pytest.approx(alone.objective, rel=1e-7)
    # Named by itself it is not helped out.
    stuck = solve(program, solver="native", tol=1e-7)
    assert stuck.solver == "lying"
    assert stuck.status is Status.INACCURATE


@pytest.mark.parametrize(
    ("fake", "options", "status"),
    [
        ("Lying", {"max_iter": 7}, Status.ITERATION_LIMIT),
        ("Interrupted", {}, Status.INTERRUPTED),
    ],
)
def test_auto_does_not_fall_back_beyond_a_limit_or_an_interruption(monkeypatch, fake, options, status):
    monkeypatch.setitem(registry._BUILT_IN, "native", f"solver_fakes:{fake}")
    result = solve(draw_case(0, alpha=0.05).program(), tol=1e-7, **options)
    assert result.solver == fake.lower()
    assert result.status is status


def test_a_name_without_a_colon_has_no_variant():
    assert registry.get_backend("clarabel").variant == ""


@pytest.mark.parametrize("name", ["clarabel", "ecos", "native", "scs"])
def test_variants_are_of_cvxpy_only(name):
    if name not in available_solvers():
        pytest.skip(f"{name} is not installed")
    with pytest.raises(UnsupportedProgramError, match=r"no variants; got 'foo'"):
        solve(draw_case(0).program(), solver=f"{name}:foo")


def test_unknown_variants_of_cvxpy_list_the_installed_ones():
    pytest.importorskip("cvxpy")
    with pytest.raises(UnsupportedProgramError, match=r"'NONESUCH'.*CLARABEL"):
        solve(draw_case(0).program(), solver="cvxpy:nonesuch")


def test_variants_ignore_case():
    pytest.importorskip("cvxpy")
    assert solve(draw_case(0).program(), solver="cvxpy:clarabel").status is Status.CONVERGED


@pytest.mark.parametrize("solver", BUILT_IN)
def test_unknown_native_options_are_refused(solver):
    if solver not in available_solvers():
        pytest.skip(f"{solver} is not installed")
    with pytest.raises(UnsupportedProgramError, match="nonesuch"):
        solve(draw_case(0, alpha=0.05).program(), solver=solver, nonesuch=1)


@pytest.mark.parametrize(
    ("solver", "option"), [("clarabel", "max_iter"), ("ecos", "max_iters"), ("scs", "max_iters")]
)
def test_native_options_arrive(solver, option):
    pytest.importorskip(solver)
    program = draw_case(0, alpha=0.05).program()
    assert solve(program, solver=solver).n_iter > 2
    # `max_iter` is a name of its own; Clarabel's is the same.
    limits = {option: 2}
    assert solve(program, solver=solver, **limits).n_iter <= 2


def test_clarabel_takes_its_own_settings():
    program = draw_case(0, alpha=0.05).program()
    coarse = solve(program, solver="clarabel", tol=1e-12, tol_gap_abs=1e-1, tol_gap_rel=1e-1, tol_feas=1e-1)
    fine = solve(program, solver="clarabel", tol=1e-12)
    assert coarse.n_iter < fine.n_iter


@pytest.mark.parametrize("solver", ["ecos", "cvxpy:ECOS"])
def test_time_limits_that_cannot_be_passed_are_refused(solver):
    for package in solver.lower().split(":"):
        pytest.importorskip(package)
    with pytest.raises(UnsupportedProgramError, match="time"):
        solve(draw_case(0).program(), solver=solver, time_limit=10.0)


def test_plugins_are_found_loaded_and_used(tmp_path, monkeypatch):
    source = """
import numpy as np
from convexnn_solvers import Backend, Candidate, Status


class Zero(Backend):
    name = "zero"
    losses = frozenset({"squared_error"})

    def run(self, program, options, start=None):
        zero = np.zeros(program.n_outputs)
        return Candidate(program.zeros(), zero, None, Status.CONVERGED, 3, f"variant {self.variant!r}")

    @classmethod
    def takes_variant(cls):
        return True
"""
    install(
        tmp_path,
        monkeypatch,
        {"zero": "zero_plugin_of_a_test:Zero"},
        modules={"zero_plugin_of_a_test": source},
    )
    assert "zero" in registry.known_solvers()
    assert "zero" in available_solvers()
    result = solve(draw_case(0, alpha=0.05).program(), solver="zero:fast")
    assert result.solver == "zero:fast"
    assert result.status is Status.INACCURATE
    assert result.n_iter == 6  # 3, and 3 more of a second chance with a tighter tolerance
    assert result.message == "variant 'fast'"
    assert not result.blocks.any()
    with pytest.raises(UnsupportedProgramError, match="'zero' does not take the loss 'hinge'"):
        solve(draw_case(0, loss="hinge").program(), solver="zero")


def test_plugins_that_miss_a_package_are_not_available(tmp_path, monkeypatch):
    source = """
from convexnn_solvers import Backend


class Missing(Backend):
    name = "missing"
    modules = ("a_module_that_nobody_has",)
    losses = frozenset()

    def run(self, program, options, start=None):
        raise NotImplementedError
"""
    entries = {"missing": "missing_plugin_of_a_test:Missing"}
    install(tmp_path, monkeypatch, entries, modules={"missing_plugin_of_a_test": source})
    assert "missing" in registry.known_solvers()
    assert "missing" not in available_solvers()
    with pytest.raises(SolverNotInstalledError, match="a_module_that_nobody_has") as caught:
        registry.get_backend("missing")
    # This distribution has no extra of that name.
    assert "convexnn[missing]" not in str(caught.value)


@pytest.mark.parametrize("value", ["no_such_module_at_all:Solver", "math:NoSuchClass"])
def test_broken_plugins_are_left_out_with_a_warning(tmp_path, monkeypatch, value):
    install(tmp_path, monkeypatch, {"broken": value})
    with pytest.warns(RuntimeWarning, match="'broken' cannot be loaded"):
        names = available_solvers()
    assert "broken" not in names
    assert "clarabel" in names


@pytest.mark.parametrize("value", ["no_such_module_at_all:Solver", "math:NoSuchClass"])
def test_asking_for_a_broken_plugin_does_not_hide_its_error(tmp_path, monkeypatch, value):
    install(tmp_path, monkeypatch, {"broken": value})
    with pytest.raises((ImportError, AttributeError), match=r"no_such_module_at_all|NoSuchClass"):
        solve(draw_case(0).program(), solver="broken")


def test_a_taken_name_is_ignored_with_a_warning(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {"clarabel": "solver_fakes:Lying"})
    with pytest.warns(RuntimeWarning, match="'clarabel' of 'solver_fakes:Lying' is ignored"):
        names = registry.known_solvers()
    assert names.count("clarabel") == 1
    assert type(registry.get_backend("clarabel")).__name__ == "Clarabel"


def test_two_plugins_of_one_name_warn(tmp_path, monkeypatch):
    for part, fake in (("first", "Lying"), ("second", "Raising")):
        folder = tmp_path / part
        folder.mkdir()
        install(folder, monkeypatch, {"twin": f"solver_fakes:{fake}"}, distribution=part)
    with pytest.warns(RuntimeWarning, match="'twin'.*is ignored"):
        names = registry.known_solvers()
    assert names.count("twin") == 1
    assert isinstance(registry.get_backend("twin"), solver_fakes.Lying | solver_fakes.Raising)


def test_repr_of_a_result_is_one_line():
    result = solve(draw_case(0, alpha=0.05).program())
    assert repr(result).startswith("SolveResult(CONVERGED, objective=")
    assert "\n" not in repr(result)
    assert result.gap == max(0.0, result.objective - result.dual_objective)
    assert result.relative_gap == pytest.approx(result.gap / result.objective)
    assert result.time > 0
    assert np.isfinite(result.time)
