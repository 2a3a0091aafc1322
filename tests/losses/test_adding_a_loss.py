"""A loss is added in one place: here two of them, which every part of the package then takes."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import xlog1py

from convexnn import ConvexCNNRegressor, ConvexMLPRegressor, certify, convex_path
from convexnn.cli import main
from convexnn.losses import LOSSES, ElementwiseLoss, Huber, Row, elementwise_epigraph, get_loss, register_loss
from convexnn.losses.elementwise import quadratic_terms
from convexnn.losses.epigraph import flat
from convexnn_solvers import Status, UnsupportedProgramError
from loss_cases import draw_data


@dataclass(frozen=True)
class Pinball(ElementwiseLoss):
    """``max(q r, (q - 1) r)`` with ``r = y - f``: the quantile ``q`` of the target."""

    quantile: float = 0.25

    name: ClassVar[str] = "pinball"
    task: ClassVar[Literal["regression", "classification"]] = "regression"
    smoothness: ClassVar[float] = math.inf
    of_residual: ClassVar[bool] = True
    kink_at_target: ClassVar[bool] = True

    def _values(self, outputs, targets):
        residual = targets - outputs
        return np.maximum(self.quantile * residual, (self.quantile - 1) * residual)

    def _derivatives(self, outputs, targets):
        return np.where(
            outputs < targets, -self.quantile, np.where(outputs > targets, 1 - self.quantile, 0.0)
        )

    def _conjugates(self, dual, targets):
        return dual * targets

    def _domain(self, targets):
        return np.full_like(targets, -self.quantile), np.full_like(targets, 1 - self.quantile)

    def _intercept(self, outputs, targets, sample_weight):
        order = np.argsort(targets - outputs)
        reached = np.cumsum(sample_weight[order]) >= self.quantile * sample_weight.sum()
        return float((targets - outputs)[order][np.argmax(reached)])

    def epigraph(self, targets, sample_weight):
        y, s = flat(targets, sample_weight)
        rows = (Row(-self.quantile, (-1.0,), 0.0), Row(1 - self.quantile, (-1.0,), 0.0))
        return elementwise_epigraph(s, y, extra_quadratic=(0.0,), extra_linear=(1.0,), nonneg=rows)

    def conjugate_terms(self, dual, targets, sample_weight):
        return quadratic_terms(0.0, dual, targets, sample_weight)


@dataclass(frozen=True)
class LogCosh(ElementwiseLoss):
    """``log cosh(f - y)``, smooth and without an epigraph."""

    name: ClassVar[str] = "log_cosh"
    task: ClassVar[Literal["regression", "classification"]] = "regression"
    smoothness: ClassVar[float] = 1.0
    of_residual: ClassVar[bool] = True

    def _values(self, outputs, targets):
        size = np.abs(outputs - targets)
        return size + np.log1p(np.exp(-2 * size)) - math.log(2)

    def _derivatives(self, outputs, targets):
        return np.tanh(outputs - targets)

    def _second_derivatives(self, outputs, targets):
        return 1 - np.tanh(outputs - targets) ** 2

    def _conjugates(self, dual, targets):
        return dual * targets + 0.5 * (xlog1py(1 + dual, dual) + xlog1py(1 - dual, -dual))

    def _domain(self, targets):
        return -np.ones_like(targets), np.ones_like(targets)

    def _intercept(self, outputs, targets, sample_weight):
        residual = targets - outputs
        if residual.min() == residual.max():
            return float(residual[0])
        return float(
            brentq(
                lambda c: sample_weight @ np.tanh(c - residual), residual.min(), residual.max(), xtol=1e-15
            )
        )


RNG = np.random.default_rng(3)
X = RNG.normal(size=(14, 1))
Y = 2 * np.abs(X[:, 0]) - X[:, 0] + 0.3 * RNG.standard_t(2, size=14)
OPTIONS = {"alpha": 0.3, "patterns": "exact", "tol": 1e-7}


@pytest.fixture(params=[Pinball(), LogCosh()], ids=lambda loss: loss.name)
def loss(request):
    before = dict(LOSSES)
    yield register_loss(request.param)
    LOSSES.clear()
    LOSSES.update(before)


def restated_optimum(name, patterns):
    """The program of listed patterns with a penalised bias and an intercept, in CVXPY."""
    cp = pytest.importorskip("cvxpy")
    data, masks = np.column_stack([X, np.ones(len(X))]), patterns.to_dense().T
    V, W = (cp.Variable((2, masks.shape[1])) for _ in range(2))
    output = cp.sum(cp.multiply(masks, data @ (V - W)), axis=1) + cp.Variable()
    cones = [cp.multiply(2.0 * masks - 1.0, data @ U) >= 0 for U in (V, W)]
    penalty = cp.sum(cp.norm(V, axis=0)) + cp.sum(cp.norm(W, axis=0))
    residual = output - Y
    cost = {
        "pinball": lambda: cp.sum(cp.maximum(-0.25 * residual, 0.75 * residual)),
        # log cosh r = log(1 + exp(2 r)) - r - log 2
        "log_cosh": lambda: cp.sum(cp.logistic(2 * residual) - residual) - len(Y) * math.log(2),
    }[name]()
    problem = cp.Problem(cp.Minimize(cost + OPTIONS["alpha"] * penalty), cones)
    problem.solve(solver="CLARABEL")
    assert problem.status == cp.OPTIMAL
    return float(problem.value)


@pytest.mark.parametrize("solver", ["auto", "clarabel", "native", "cvxpy", "ecos", "scs"])
def test_every_solver_that_can_take_it_finds_the_optimum(loss, solver):
    if solver not in ("auto", "native"):
        pytest.importorskip(solver)
    tol = 1e-5 if solver == "scs" else OPTIONS["tol"]
    model = ConvexMLPRegressor(**{**OPTIONS, "tol": tol}, loss=loss.name, solver=solver)
    smooth_only, cones_only = solver == "native", solver in ("cvxpy", "ecos", "scs")
    if (smooth_only and not loss.is_smooth) or (cones_only and not loss.has_epigraph):
        with pytest.raises(UnsupportedProgramError, match=loss.name):
            model.fit(X, Y)
        return
    model.fit(X, Y)
    assert model.result_.status is Status.CONVERGED
    assert model.objective_ == pytest.approx(restated_optimum(loss.name, model.patterns_), rel=2e-6)
    assert model.dual_objective_ <= model.objective_


def test_methods_agree_with_each_other(loss):
    f, y, s = draw_data(loss, np.random.default_rng(0))
    z = loss.gradient(f, y, s)
    # Fenchel and Young: equality at the gradient.
    assert loss.value(f, y, s) + loss.conjugate(z, y, s) == pytest.approx(np.sum(z * f), rel=1e-12)
    best = loss.optimal_intercept(f, y, s)
    for k in range(f.shape[1]):
        for step in (-1e-2, 1e-2):
            assert loss.value(f + best, y, s) <= loss.value(f + best + step * np.eye(3)[k], y, s) + 1e-12


def test_adaptive_patterns_paths_and_convolutions(loss):
    model = ConvexMLPRegressor(0.3, loss=loss.name, random_state=0).fit(X, Y)
    exact = ConvexMLPRegressor(**OPTIONS, loss=loss.name).fit(X, Y)
    assert model.objective_ == pytest.approx(exact.objective_, rel=1e-3)
    path = convex_path(X, Y, alphas=[0.6, 0.3], loss=loss.name, patterns="exact", tol=1e-6)
    assert path.objectives[-1] == pytest.approx(exact.objective_, rel=1e-5)
    linear = ConvexCNNRegressor(
        alpha=0.5,
        loss=loss.name,
        activation="linear",
        pooling="weighted",
        image_shape=(4, 1),
        kernel_size=2,
        tol=1e-5,
    )
    signals = RNG.normal(size=(15, 4))
    assert linear.fit(signals, signals @ [1.0, -1.0, 0.5, 0.0]).result_.converged


def test_certificates_need_its_rounding_errors(loss):
    model = ConvexMLPRegressor(**OPTIONS, loss=loss.name).fit(X, Y)
    if loss.has_conjugate_terms:
        assert certify(model, X, Y).is_optimal(1e-4)
    else:
        with pytest.raises(ValueError, match=r"rounding errors of the losses .*'huber'.*LogCosh"):
            certify(model, X, Y)


def test_the_command_line_offers_it(loss, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert loss.name in capsys.readouterr().out


def test_names_are_given_once():
    @dataclass(frozen=True)
    class Other(Huber):
        """Of a name that is taken."""

    with pytest.raises(ValueError, match="'huber' is that of the loss Huber"):
        register_loss(Other())
    assert register_loss(Huber()) == get_loss("huber")
    # Other parameters are another object, not another name.
    assert get_loss(Huber(0.1)).delta == 0.1
