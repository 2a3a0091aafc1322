"""A published toy problem whose global optima are known to five digits, by every solver."""

import numpy as np
import pytest

from convexnn.patterns import enumerate_patterns
from convexnn.problem import augment
from convexnn.programs import two_layer_program
from convexnn_solvers import Status, available_solvers, solve

X = np.array([[-1.0], [-5.0], [2.0], [0.0], [3.0]])
Y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
OPTIMA = {1e-4: 8.7694e-4, 1e-3: 8.7497e-3, 1e-2: 8.5521e-2, 1e-1: 6.5767e-1}
SOLVERS = ["native", "clarabel", "ecos", "scs", "cvxpy", "cvxpy:CLARABEL", "cvxpy:ECOS", "cvxpy:SCS"]


def toy(alpha, **options):
    patterns = enumerate_patterns(augment(X, "penalized"))
    assert len(patterns) == 10
    return two_layer_program(X, Y, patterns, alpha=alpha, fit_intercept=False, **options)


def skip_unless_installed(solver):
    for package in solver.lower().split(":"):
        if package != "native":
            pytest.importorskip(package)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("alpha", "optimum"), OPTIMA.items())
def test_known_optimum(solver, alpha, optimum):
    skip_unless_installed(solver)
    result = solve(toy(alpha), solver=solver, tol=5e-7)
    # Half a unit of the last digit that is known.
    half_digit = 0.5 * 10.0 ** (np.floor(np.log10(optimum)) - 4)
    assert result.status is Status.CONVERGED, result.message
    assert result.relative_gap < 1e-6
    assert abs(result.objective - optimum) <= half_digit * (1 + 1e-3)
    assert result.dual_objective <= optimum + half_digit
    assert result.solver == solver
    assert result.n_iter > 0


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_agree_to_the_gap(solver):
    skip_unless_installed(solver)
    reference = solve(toy(1e-2), solver="clarabel", tol=1e-10)
    result = solve(toy(1e-2), solver=solver, tol=1e-6)
    assert reference.relative_gap <= 1e-10
    # Each bound is below each objective, of whatever solver.
    assert result.dual_objective <= reference.objective
    assert reference.dual_objective <= result.objective
    assert result.objective == pytest.approx(reference.objective, rel=1e-6)


@pytest.mark.parametrize("solver", ["native", "clarabel"])
def test_tolerance_of_result_is_what_is_asked_for(solver):
    gaps = [solve(toy(1e-2), solver=solver, tol=tol).relative_gap for tol in (1e-2, 1e-5, 1e-9)]
    assert gaps[0] <= 1e-2
    assert gaps[1] <= 1e-5
    assert gaps[2] <= 1e-9


def test_strong_regularisation_leaves_the_zero_network():
    # H(y) of the data: from this alpha on zero is optimal and nothing needs to run.
    program = toy(1.0)
    strongest = float(
        max(
            program.design.support(program.design.adjoint(sign * program.targets), 0.0).max()
            for sign in (1, -1)
        )
    )
    at_zero = solve(toy(strongest * 1.001), tol=1e-6)
    assert at_zero.status is Status.CONVERGED
    assert at_zero.n_iter == 0
    assert at_zero.objective == 2.5
    assert not at_zero.blocks.any()
    below = solve(toy(strongest * 0.99), tol=1e-8)
    assert below.objective < 2.5 * (1 - 1e-6)
    assert below.blocks.any()


def test_required_solvers_are_always_there():
    assert {"native", "clarabel"} <= set(available_solvers())
    assert solve(toy(1e-2)).solver == "native"
