"""Curves over the number of sub-models against refits with as many, and against the predictions."""

import pickle

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, make_scorer, r2_score, root_mean_squared_error
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from convexnn.ensembles import DropoutEnsembleClassifier, DropoutEnsembleRegressor, submodel_curve
from ensemble_cases import classification, least_squares, regression


@pytest.mark.parametrize("solver", ["auto", "nnls"])
@pytest.mark.parametrize("base", [LogisticRegression(), DecisionTreeClassifier(max_depth=3, random_state=0)])
def test_points_are_fits_with_so_many_sub_models(base, solver, seed):
    X, y = classification(seed, n=150)
    model = DropoutEnsembleClassifier(base, 10, random_state=seed, solver=solver, ridge=0.1)
    curve = submodel_curve(clone(model).fit(X[:100], y[:100]), X[100:], y[100:], sizes=[1, 2, 5, 10])
    for k, score, n_active, residual in zip(
        curve.sizes, curve.optimised_scores, curve.n_active, curve.optimality, strict=True
    ):
        # Masks do not depend on how many follow.
        alone = clone(model).set_params(n_submodels=int(k)).fit(X[:100], y[:100])
        assert score == alone.score(X[100:], y[100:])
        assert n_active == alone.n_active_
        assert residual <= 1e-8
        mean = alone.submodel_predictions(X[100:]).mean(axis=0)
        uniform = np.mean(alone.classes_[mean.argmax(axis=1)] == y[100:])
        assert curve.uniform_scores[list(curve.sizes).index(k)] == uniform
    assert curve.base_score is None
    assert curve.scoring == "accuracy"


@pytest.mark.parametrize("scoring", [None, "neg_root_mean_squared_error"])
def test_regression_scores_from_the_predictions(scoring, seed):
    X, y = regression(seed)
    base = LinearRegression().fit(X[:30], y[:30])
    model = DropoutEnsembleRegressor(FrozenEstimator(base), 12, random_state=seed).fit(X[:60], y[:60])
    curve = submodel_curve(model, X[60:], y[60:], scoring=scoring)
    metric = r2_score if scoring is None else lambda a, b: -root_mean_squared_error(a, b)
    each, (A, b) = model.submodel_predictions(X[60:]), least_squares(model, X[:60], y[:60])
    assert curve.sizes[0] == 1
    assert curve.sizes[-1] == 12
    for k, uniform, optimised, n_active in zip(
        curve.sizes, curve.uniform_scores, curve.optimised_scores, curve.n_active, strict=True
    ):
        weights = nnls(A[:, :k], b)[0]
        assert uniform == pytest.approx(metric(y[60:], each[:k].mean(axis=0)))
        assert optimised == pytest.approx(metric(y[60:], weights @ each[:k]), rel=1e-6)
        assert n_active == np.count_nonzero(weights)
    assert curve.base_score == pytest.approx(metric(y[60:], base.predict(X[60:])))
    assert curve.optimised_scores[-1] == pytest.approx(metric(y[60:], model.predict(X[60:])))
    assert curve.scoring == ("r2" if scoring is None else scoring)


def test_scores_of_probabilities_and_of_the_whole_network():
    X, y = classification(0, classes=2)
    network = MLPClassifier((10,), max_iter=2000, tol=1e-2, random_state=0).fit(X[:30], y[:30])
    model = DropoutEnsembleClassifier(FrozenEstimator(network), 6, random_state=0).fit(X[30:60], y[30:60])
    curve = submodel_curve(model, X[60:], y[60:], scoring="neg_log_loss")
    assert curve.base_score == pytest.approx(-log_loss(y[60:], network.predict_proba(X[60:])))
    assert curve.optimised_scores[-1] == pytest.approx(-log_loss(y[60:], model.predict_proba(X[60:])))
    mean = model.submodel_predictions(X[60:]).mean(axis=0)
    assert curve.uniform_scores[-1] == pytest.approx(-log_loss(y[60:], mean))


def test_scorers_are_callables_too():
    X, y = classification(0)
    model = DropoutEnsembleClassifier(LogisticRegression(), 3, random_state=0).fit(X, y)
    curve = submodel_curve(model, X, y, scoring=make_scorer(accuracy_score))
    np.testing.assert_array_equal(curve.optimised_scores, submodel_curve(model, X, y).optimised_scores)


def test_several_outputs():
    X, y = regression(0)
    Y = np.column_stack([y, -y + X[:, 0]])
    model = DropoutEnsembleRegressor(Ridge(), 4, random_state=0).fit(X, Y)
    curve = submodel_curve(model, X, Y)
    assert curve.optimised_scores[-1] == pytest.approx(r2_score(Y, model.predict(X)))


def test_more_sub_models_never_raise_the_training_objective(seed):
    X, y = regression(seed)
    model = DropoutEnsembleRegressor(Ridge(), 8, random_state=seed, validation_fraction=None).fit(X, y)
    curve = submodel_curve(model, X, y, sizes=range(1, 9), scoring="neg_mean_squared_error")
    assert (np.diff(curve.optimised_scores) >= -1e-12).all()
    assert (curve.optimised_scores >= curve.uniform_scores - 1e-12).all()


def test_sizes_are_sorted_and_single():
    X, y = regression(0)
    model = DropoutEnsembleRegressor(Ridge(), 5, random_state=0).fit(X, y)
    curve = submodel_curve(model, X, y, sizes=[5, 2, 2])
    assert curve.sizes.tolist() == [2, 5]
    assert len(curve) == 2
    assert submodel_curve(model, X, y, sizes=3).sizes.tolist() == [3]
    assert "2 sizes up to 5, r2" in repr(curve)
    with pytest.raises(ValueError, match="read-only"):
        curve.sizes[0] = 1
    assert pickle.loads(pickle.dumps(curve)).sizes.tolist() == [2, 5]
    large = submodel_curve(clone(model).set_params(n_submodels=300).fit(X, y), X, y)
    assert len(large) <= 20
    assert (large.sizes[0], large.sizes[-1]) == (1, 300)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sizes": [0, 1]}, ValueError, "between 1 and the number of sub-models, 5"),
        ({"sizes": [6]}, ValueError, "between 1 and the number of sub-models, 5"),
        ({"sizes": []}, TypeError, "sequence of integers"),
        ({"sizes": [1.5]}, TypeError, "sequence of integers"),
        ({"sizes": [True]}, TypeError, "sequence of integers"),
        ({"scoring": 3}, TypeError, "scoring must be None, a scorer's name or a callable"),
        ({"scoring": "best"}, ValueError, "best"),
    ],
)
def test_options_without_a_meaning(options, error, message):
    X, y = regression(0)
    model = DropoutEnsembleRegressor(Ridge(), 5, random_state=0).fit(X, y)
    with pytest.raises(error, match=message):
        submodel_curve(model, X, y, **options)


def test_the_ensemble_must_be_fitted():
    with pytest.raises(NotFittedError):
        submodel_curve(DropoutEnsembleRegressor(), *regression(0))
