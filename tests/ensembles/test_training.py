"""Training of bases: the default ones, the clock between passes, and Ctrl-C."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn.ensembles import (
    ConvexStackingRegressor,
    DropoutEnsembleClassifier,
    DropoutEnsembleRegressor,
    curve,
    submodel_curve,
)
from convexnn.ensembles.bases import TrainingSet, fit_base
from convexnn_solvers import Status
from ensemble_cases import classification, kkt_residual, least_squares, regression

pytestmark = [
    pytest.mark.filterwarnings("ignore:Stochastic Optimizer"),
    pytest.mark.filterwarnings("ignore:The training of MLP"),
]


# The default base


def test_digits_are_learned():
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=360, stratify=y, random_state=0)
    model = DropoutEnsembleClassifier(random_state=0).fit(X, y)
    assert type(model.estimator_) is MLPClassifier
    assert model.score(X_test, y_test) > 0.95


@pytest.mark.parametrize("drop", ["auto", "inputs"])
def test_targets_of_any_scale_are_learned(drop):
    X, y = regression(0, n=150, d=3, noise=0.1)
    model = DropoutEnsembleRegressor(None, 6, drop=drop, random_state=0, sum_to_one=True, dropout=0.2)
    predicted = clone(model).fit(X, y).predict(X)
    scaled = clone(model).fit(X, 1e4 + 300 * y)
    np.testing.assert_allclose(scaled.predict(X), 1e4 + 300 * predicted, atol=1e-3 * 300 * y.std())
    if drop == "auto":
        assert scaled.estimator_.score(X, 1e4 + 300 * y) > 0.9
        assert scaled.score(X, 1e4 + 300 * y) > 0.9


def test_several_targets_have_their_own_scale():
    X, y = regression(0, n=150, d=3, noise=0.1)
    Y = np.column_stack([y, 1e5 * y + 1e7, np.full(150, 4.0)])
    model = DropoutEnsembleRegressor(None, 6, random_state=0, dropout=0.2).fit(X, Y)
    base = model.estimator_.predict(X)
    errors = ((base - Y) ** 2).mean(axis=0)
    assert (errors[:2] < 0.1 * Y[:, :2].var(axis=0)).all()
    assert errors[2] < 0.1
    A, b = least_squares(model, X, Y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8


def test_repeated_samples_are_weighted_ones(seed):
    X, y = regression(seed, n=40)
    counts = np.random.default_rng(seed).integers(0, 3, 40)
    model = DropoutEnsembleRegressor(None, 4, random_state=seed)
    weighted = clone(model).fit(X, y, sample_weight=counts)
    listed = clone(model).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.predict(X), listed.predict(X), rtol=1e-6, atol=1e-6)


# The clock within training


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("base", "draw"),
    [
        (MLPClassifier(7, learning_rate_init=0.05, n_iter_no_change=3), classification),
        (MLPRegressor(hidden_layer_sizes=(6, 4), max_iter=15, random_state=3), regression),
        (MLPRegressor(hidden_layer_sizes=5, learning_rate_init=0.1, tol=1e-2), regression),
    ],
)
def test_a_limit_that_is_not_reached_changes_nothing(base, draw, weighted):
    # All samples are in one batch, so that their order, which differs, does not matter.
    X, y = draw(0)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X)) if weighted else None
    data = TrainingSet(X, y, weight)
    whole = fit_base(base, data, 11, np.inf)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        passes = fit_base(base, data, 11, 1e9)
    assert passes.n_iter_ == whole.n_iter_
    np.testing.assert_allclose(passes.loss_curve_, whole.loss_curve_, rtol=1e-6)
    for one, other in zip(passes.coefs_, whole.coefs_, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert passes.random_state == whole.random_state
    ended = [str(warning.message) for warning in caught]
    assert any("ended at max_iter" in text for text in ended) == (whole.n_iter_ == base.max_iter)


@pytest.mark.parametrize("patience", [1, 5])
def test_training_in_batches_ends_where_scikit_learn_would_end_it(patience, seed):
    base = MLPClassifier(9, learning_rate_init=0.05, n_iter_no_change=patience, batch_size=15, max_iter=2000)
    model = fit_base(base, TrainingSet(*classification(seed), None), seed, 1e9)
    count, least = 0, np.inf
    for number, loss in enumerate(model.loss_curve_, start=1):
        count = count + 1 if loss > least - model.tol else 0
        least = min(least, loss)
        assert (count > patience) == (number == model.n_iter_)


@pytest.mark.parametrize(("limit", "n_passes"), [(0.1, 0), (1.9, 0), (3.0, 1), (8.5, 3)])
def test_the_clock_is_looked_at_between_the_parts_of_a_pass(monkeypatch, limit, n_passes):
    now, seen = [0.0], []
    train = MLPRegressor.partial_fit

    def slow(self, X, y):
        now[0] += 1.0
        seen.append(len(X))
        return train(self, X, y)

    monkeypatch.setattr(MLPRegressor, "partial_fit", slow)
    monkeypatch.setattr("convexnn.ensembles.bases.perf_counter", lambda: now[0])
    # Of 70 samples ten batches of 3 are a part, so that there are three in a pass.
    data = TrainingSet(*regression(0, n=70), None)
    with pytest.warns(ConvergenceWarning, match=f"at the time limit, after {n_passes} whole passes"):
        model = fit_base(MLPRegressor(batch_size=3), data, 0, limit)
    assert len(seen) == np.ceil(limit)
    assert set(seen) <= {23, 24}
    assert model.n_iter_ == len(model.loss_curve_) == n_passes
    assert model.predict(data.X).shape == (70,)


def test_every_pass_sees_every_sample_once_in_another_order(monkeypatch):
    seen = []
    train = MLPClassifier.partial_fit

    def recorded(self, X, y, sample_weight, classes):
        seen.append(np.column_stack([X, sample_weight]))
        return train(self, X, y, sample_weight, classes)

    monkeypatch.setattr(MLPClassifier, "partial_fit", recorded)
    X, y = classification(0)
    weight = np.arange(1.0, 91.0)
    fit_base(MLPClassifier(5, batch_size=4, max_iter=2), TrainingSet(X, y, weight), 0, 1e9)
    first, second = np.vstack(seen[:3]), np.vstack(seen[3:])
    assert not np.array_equal(first, second)
    for one in (first, second):
        np.testing.assert_array_equal(one[np.argsort(one[:, -1])], np.column_stack([X, weight]))


# Ctrl-C


class Interrupting(np.random.RandomState):
    """Shuffles, as networks do before each pass, and at one of them Ctrl-C is pressed."""

    def __init__(self, at):
        super().__init__(0)
        self.at, self.count = at, 0

    def __deepcopy__(self, memo):
        return self

    def shuffle(self, x):
        self.count += 1
        if self.count == self.at:
            raise KeyboardInterrupt
        super().shuffle(x)


@pytest.mark.parametrize("time_limit", [None, 1e9])
def test_an_interrupted_base_is_kept(time_limit):
    X, y = regression(0)
    state = Interrupting(3)
    model = DropoutEnsembleRegressor(MLPRegressor(random_state=state), 5, time_limit=time_limit)
    with pytest.warns(UserWarning, match="Training interrupted"):
        model.fit(X, y)
    assert model.estimator_.n_iter_ == 2
    assert state.count == 3
    A, b = least_squares(model, X, y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8


@pytest.mark.parametrize("time_limit", [None, 1e9])
def test_of_several_networks_none_is_trained_after_the_interrupt(time_limit):
    state = Interrupting(4 + 4 + 2)
    base = MLPRegressor(max_iter=4, random_state=state)
    model = DropoutEnsembleRegressor(base, 9, drop="inputs", time_limit=time_limit)
    with pytest.warns(ConvergenceWarning, match="Only 2 of 9 sub-models were trained: training was interru"):
        model.fit(*regression(0))
    assert state.count == state.at
    assert len(model.submodels_) == 2


class Interrupted(RegressorMixin, BaseEstimator):
    """Ends at Ctrl-C as this package's estimators do: with a status and a warning."""

    def __init__(self, fits):
        self.fits = fits

    def __sklearn_clone__(self):
        return type(self)(self.fits)

    def fit(self, X, y, sample_weight=None):
        self.fits.append(len(X))
        self.result_ = type("Result", (), {"status": Status.INTERRUPTED})
        warnings.warn(f"The gap is large. {Status.INTERRUPTED.value}", ConvergenceWarning, stacklevel=2)
        return self

    def predict(self, X):
        return X[:, 0]


@pytest.mark.parametrize("drop", ["auto", "inputs"])
def test_estimators_that_end_at_an_interrupt_end_the_ensemble(drop):
    fits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.raises(KeyboardInterrupt):
            DropoutEnsembleRegressor(Interrupted(fits), 5, drop=drop).fit(*regression(0))
    assert len(fits) == 1


@pytest.mark.parametrize("member", [Interrupted([]), MLPRegressor(random_state=Interrupting(2))])
def test_stacks_raise_the_interrupt(member):
    after = []
    model = ConvexStackingRegressor([("ended", member), ("after", Interrupted(after))], cv=2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*regression(0))
    assert after == []


def test_other_warnings_of_members_stay_warnings():
    class Warns(Ridge):
        def fit(self, X, y, sample_weight=None):
            warnings.warn("Uninteresting.", ConvergenceWarning, stacklevel=2)
            return super().fit(X, y, sample_weight)

    with pytest.warns(ConvergenceWarning, match="Uninteresting"):
        ConvexStackingRegressor([("warns", Warns())], cv=2).fit(*regression(0))


def test_curves_raise_the_interrupt(monkeypatch):
    X, y = regression(0)
    model = DropoutEnsembleRegressor(Ridge(), 4, random_state=0).fit(X, y)

    def interrupted(programs, **options):
        return [replace(model.result_, status=Status.INTERRUPTED) for _ in programs]

    monkeypatch.setattr(curve, "solve_nonnegative_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submodel_curve(model, X, y)
