"""The solved program and the same program written out in CVXPY have one optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convexnn.losses import LogLoss
from convexnn_solvers import Status, solve
from program_cases import BIASES, DEGENERACIES, LAYERS, LOSSES, draw_case, draw_targets

pytest.importorskip("cvxpy")

MODES = [
    pytest.param(activation, bias, intercept, id=f"{activation}-{bias}-{'c' if intercept else 'no c'}")
    for activation, layer in LAYERS.items()
    for bias, intercept in BIASES
    if not (layer.gated and bias == "free")
]
BACKENDS = ["native", "clarabel", "ecos", "scs", "cvxpy", "cvxpy:ECOS", "cvxpy:SCS"]
SMOOTH = [name for name, loss in LOSSES.items() if loss.is_smooth]
BOTH = [
    *((loss, "auto") for loss in LOSSES),
    *(pytest.param(loss, "clarabel", marks=pytest.mark.slow) for loss in SMOOTH),
]


def assert_same_optimum(case, *, solver="auto", tol=1e-8, accuracy=1e-6, **options):
    result = solve(case.program(), solver=solver, tol=tol, **options)
    optimum = case.optimum()
    assert result.status is Status.CONVERGED, result.message
    # The bound and the objective enclose the optimum and both are within `accuracy` of it.
    assert result.objective == pytest.approx(optimum, rel=accuracy)
    assert result.dual_objective == pytest.approx(optimum, rel=accuracy)
    return result


@pytest.mark.parametrize(("loss", "solver"), BOTH)
@pytest.mark.parametrize(("activation", "hidden_bias", "fit_intercept"), MODES)
def test_every_loss_activation_and_bias(loss, solver, activation, hidden_bias, fit_intercept):
    case = draw_case(
        3, loss=loss, activation=activation, hidden_bias=hidden_bias, fit_intercept=fit_intercept
    )
    result = assert_same_optimum(case, solver=solver)
    assert result.solver == ("native" if solver == "auto" and loss in SMOOTH else "clarabel")


@pytest.mark.parametrize("solver", BACKENDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_backend_and_loss(loss, solver):
    if solver == "native" and loss not in SMOOTH:
        pytest.skip("the native solver is for smooth losses")
    if solver != "native":
        pytest.importorskip(solver.rpartition(":")[2].lower())
    case = draw_case(5, loss=loss, activation="leaky_relu", hidden_bias="free", n=6)
    assert_same_optimum(case, solver=solver, tol=1e-6, accuracy=2e-6)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error", "hinge", "squared_hinge"])
@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
def test_independent_outputs(loss, activation):
    case = draw_case(7, loss=loss, activation=activation, n_outputs=2, n_patterns=4)
    assert_same_optimum(case)


def test_independent_logistic_outputs():
    case = draw_case(8, loss="log_loss", n_outputs=2, n_patterns=4)
    assert isinstance(case.program().loss, LogLoss)
    assert_same_optimum(case)


@pytest.mark.parametrize("weights", ["ones", "positive", "some zero"])
@pytest.mark.parametrize("loss", ["squared_error", "huber", "absolute_error", "hinge", "squared_hinge"])
@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
def test_without_regularisation(loss, activation, weights):
    # One feature and few patterns, so that the data cannot be interpolated.
    case = draw_case(
        9, loss=loss, activation=activation, hidden_bias="none", d=1, alpha=0.0, n=9, weighted=False
    )
    weight = {
        "ones": np.ones(9),
        "positive": np.linspace(0.5, 2.0, 9),
        "some zero": np.array([1.0, 1, 2, 1, 1, 1, 1, 0, 1]),
    }[weights]
    case = case.but(sample_weight=weight)
    assert case.optimum() > 0.1
    assert_same_optimum(case, tol=1e-7)


@pytest.mark.parametrize("loss", ["log_loss", "softmax"])
def test_logistic_losses_ask_for_regularisation(loss):
    with pytest.raises(ValueError, match="positive alpha"):
        solve(draw_case(0, loss=loss, alpha=0.0).program())


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "log_loss"])
def test_restatement_does_not_depend_on_its_solver(loss):
    pytest.importorskip("ecos")
    case = draw_case(11, loss=loss)
    assert case.optimum(("CLARABEL",)) == pytest.approx(case.optimum(("ECOS",)), rel=1e-6)


def check_random_program(data, losses):
    loss = data.draw(st.sampled_from(losses))
    activation = data.draw(st.sampled_from(sorted(LAYERS)))
    modes = [mode for mode in BIASES if not (LAYERS[activation].gated and mode[0] == "free")]
    hidden_bias, fit_intercept = data.draw(st.sampled_from(modes))
    # Every class must keep a positive weight, else the logistic losses have no minimum.
    fewest = 1 if LOSSES[loss].task == "regression" else 9
    case = draw_case(
        data.draw(st.integers(0, 2**32 - 1)),
        loss=loss,
        activation=activation,
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n=data.draw(st.integers(fewest, 12)),
        d=data.draw(st.integers(1, 3)),
        n_patterns=data.draw(st.integers(1, 8)),
        alpha=data.draw(st.sampled_from([1e-2, 0.2, 1.0, 20.0])),
        weighted=data.draw(st.booleans()),
        kinds=data.draw(st.lists(st.sampled_from(DEGENERACIES), max_size=4)),
    )
    program, optimum = case.program(), case.optimum()
    result = solve(program, solver=data.draw(st.sampled_from(["auto", "clarabel"])), tol=1e-7)
    # Of an optimum near zero (interpolated targets) the restatement knows its absolute accuracy only.
    resolution = 1e-8 + 1e-9 * program.objective(program.zeros(), np.zeros(program.n_outputs))
    assert result.objective == pytest.approx(optimum, rel=1e-6, abs=resolution)
    assert result.dual_objective <= optimum * (1 + 1e-7) + resolution
    assert result.dual_objective >= optimum * (1 - 1e-5) - resolution
    # Rounding of a product depends on how many are computed together.
    assert program.design.violation(result.blocks) <= 1e-15
    assert program.objective(result.blocks, result.intercept) == result.objective


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_random_programs(data):
    check_random_program(data, ["squared_error", "huber", "absolute_error", "hinge", "squared_hinge"])


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_random_logistic_programs(data):
    check_random_program(data, ["log_loss", "softmax"])


@pytest.mark.parametrize(
    ("seed", "options"),
    [
        (531, {"loss": "absolute_error", "activation": "gated_relu", "n": 12, "d": 1, "n_patterns": 4}),
        (880, {"loss": "hinge", "hidden_bias": "none", "n": 10, "d": 1, "n_patterns": 2}),
        (934, {"loss": "hinge", "activation": "leaky_relu", "hidden_bias": "none", "n": 12, "d": 3}),
    ],
)
@pytest.mark.parametrize("tol", [1e-4, 1e-5, 1e-6, 1e-7])
def test_kinked_losses_reach_the_tolerance_at_weak_regularisation(seed, options, tol):
    case = draw_case(seed, alpha=0.01, fit_intercept=False, **options)
    result = solve(case.program(), tol=tol)
    assert result.status is Status.CONVERGED, result
    assert result.objective == pytest.approx(case.optimum(), rel=tol)


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(data=st.data())
def test_many_random_programs(data):
    check_random_program(data, sorted(LOSSES))


def test_targets_hold_every_class():
    rng = np.random.default_rng(0)
    assert set(draw_targets(LOSSES["softmax"], rng, 9, 3).argmax(axis=1)) == {0, 1, 2}
    assert set(draw_targets(LOSSES["hinge"], rng, 9, 1)[:, 0]) == {-1.0, 1.0}
