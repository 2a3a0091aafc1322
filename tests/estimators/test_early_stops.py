"""Solvers that stop early, fail or lie: the best point is kept and a warning says what happened."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor
from convexnn_solvers import Backend, BackendError, Candidate, Status, registry

ESTIMATORS = [ConvexMLPRegressor, ConvexMLPClassifier]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 2))
Y = np.sin(2 * X[:, 0]) + X[:, 1]
LABELS = (Y > 0).astype(int)


def targets_for(estimator):
    return LABELS if isinstance(estimator, ConvexMLPClassifier) else Y


@pytest.mark.parametrize("n_features", [1, 2])
@pytest.mark.parametrize(
    ("estimator_type", "loss"),
    [
        *[(ConvexMLPRegressor, loss) for loss in ("squared_error", "huber", "absolute_error")],
        *[(ConvexMLPClassifier, loss) for loss in ("log_loss", "hinge", "squared_hinge")],
    ],
)
def test_iteration_limit(estimator_type, loss, n_features):
    data, model = X[:, :n_features], estimator_type(alpha=0.1, loss=loss, max_iter=1)
    y = targets_for(model)
    with pytest.warns(ConvergenceWarning, match=r"above tol=0.0001 \(ITERATION_LIMIT\).*larger max_iter"):
        model.fit(data, y)
    assert model.result_.status is Status.ITERATION_LIMIT
    assert not model.result_.converged
    assert model.dual_gap_ > model.tol * model.objective_
    assert model.predict(data).shape == (8,)
    converged = estimator_type(alpha=0.1, loss=loss).fit(data, y)
    assert model.dual_objective_ <= converged.objective_ <= model.objective_ * (1 + model.tol)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_a_point_worse_than_the_start_is_no_success(hidden_bias, alpha):
    # One iteration ends at a point that is worse than the constant network.
    data, labels = [[-1.0], [-5.0], [2.0], [0.0], [3.0]], [1, 0, 1, 0, 1]
    model = ConvexMLPClassifier(alpha, hidden_bias=hidden_bias, max_iter=1)
    with pytest.warns(ConvergenceWarning, match="ITERATION_LIMIT"):
        model.fit(data, labels)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_time_limit(estimator_type):
    model = estimator_type(alpha=0.1, time_limit=1e-9)
    with pytest.warns(ConvergenceWarning, match=r"\(TIME_LIMIT\).*larger time_limit"):
        model.fit(X, targets_for(model))
    assert model.result_.status is Status.TIME_LIMIT
    assert np.isfinite(model.objective_)
    assert model.predict(X).shape == (8,)


class Scripted(Backend):
    """A backend that does what the test tells it to."""

    name = "scripted"
    losses = frozenset({"squared_error"})
    answer = None

    def run(self, program, options, start=None):
        blocks, intercept = type(self).answer(program)
        return Candidate(blocks, intercept, None, Status.CONVERGED, 1, "All is well.")


@pytest.fixture
def scripted(monkeypatch):
    class Entry:
        @staticmethod
        def load():
            return Scripted

    monkeypatch.setattr(registry, "_plugins", lambda: {"scripted": Entry})

    def install(answer):
        monkeypatch.setattr(Scripted, "answer", staticmethod(answer))
        return ConvexMLPRegressor(alpha=0.1, solver="scripted")

    return install


def breaks_down(program):
    raise BackendError("the pivot is zero")


def interrupted(program):
    raise KeyboardInterrupt


def claims_zero(program):
    return program.zeros(), np.zeros(program.n_outputs)


def claims_noise(program):
    return RNG.normal(size=program.zeros().shape), RNG.normal(size=program.n_outputs)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (breaks_down, Status.FAILED, "the pivot is zero"),
        (interrupted, Status.INTERRUPTED, "interrupted"),
        (claims_zero, Status.INACCURATE, "All is well."),
        (claims_noise, Status.INACCURATE, "All is well."),
    ],
)
def test_a_failing_solver_keeps_the_best_point(scripted, answer, status, text):
    model = scripted(answer)
    with pytest.warns(ConvergenceWarning, match=rf"above tol=0.0001 \({status.name}\)[^$]*{text}"):
        model.fit(X, Y)
    assert model.result_.status is status
    constant = 0.5 * np.sum((Y - Y.mean()) ** 2)
    optimum = ConvexMLPRegressor(alpha=0.1, tol=1e-7).fit(X, Y)
    assert optimum.dual_objective_ <= model.objective_ <= constant * (1 + 1e-12)
    assert 0 <= model.dual_objective_ <= optimum.objective_
    assert model.objective_ == pytest.approx(model.network_.objective(X, Y, alpha=0.1), rel=1e-12)


def test_a_failing_solver_keeps_the_warm_start(scripted):
    model = ConvexMLPRegressor(alpha=0.1, warm_start=True).fit(X, Y)
    before, outputs = model.objective_, model.predict(X)
    scripted(breaks_down)
    model.set_params(solver="scripted", tol=1e-12)
    with pytest.warns(ConvergenceWarning, match="FAILED"):
        model.fit(X, Y)
    assert model.objective_ <= before * (1 + 1e-9)
    np.testing.assert_allclose(model.predict(X), outputs, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_solver_that_answers_nan_is_not_believed(scripted, value):
    model = scripted(lambda program: (np.full_like(program.zeros(), value), np.zeros(program.n_outputs)))
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y)
    assert not model.result_.converged
    assert model.objective_ <= 0.5 * np.sum((Y - Y.mean()) ** 2) * (1 + 1e-12)
    assert np.isfinite(model.predict(X)).all()


def test_a_solver_says_which_losses_it_takes(scripted):
    model = scripted(claims_zero).set_params(loss="huber")
    with pytest.raises(ValueError, match="does not take the loss 'huber'"):
        model.fit(X, Y)
