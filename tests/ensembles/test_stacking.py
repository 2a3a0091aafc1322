"""Stacks with non-negative weights against scikit-learn's stacking and cross-validated predictions."""

import pickle

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from convexnn.ensembles import ConvexStackingClassifier, ConvexStackingRegressor
from convexnn.ensembles.combination import ConvexCombinationClassifier, ConvexCombinationRegressor
from ensemble_cases import classification, kkt_residual, minimum, regression

REGRESSORS = [
    ("line", LinearRegression()),
    ("flat", Ridge(1000.0)),
    ("tree", DecisionTreeRegressor(random_state=0)),
    ("near", KNeighborsRegressor()),
]
CLASSIFIERS = [
    ("line", LogisticRegression()),
    ("bayes", GaussianNB()),
    ("tree", DecisionTreeClassifier(random_state=0)),
    ("near", KNeighborsClassifier()),
]


@pytest.mark.parametrize("cv", [None, 3, KFold(4, shuffle=True, random_state=0)])
def test_regression_is_scikit_learns_with_positive_least_squares(cv, seed):
    X, y = regression(seed)
    model = ConvexStackingRegressor(REGRESSORS, cv=cv).fit(X, y)
    final = LinearRegression(positive=True, fit_intercept=False)
    reference = StackingRegressor(REGRESSORS, final, cv=cv).fit(X, y)
    np.testing.assert_allclose(model.weights_, reference.final_estimator_.coef_, atol=1e-10)
    np.testing.assert_allclose(model.predict(X), reference.predict(X), atol=1e-9)
    np.testing.assert_allclose(model.transform(X), reference.transform(X), atol=1e-12)
    assert model.get_feature_names_out().tolist() == [f"convexstackingregressor_{n}" for n, _ in REGRESSORS]


def test_sample_weights_reach_estimators_and_program():
    X, y = regression(0)
    weight = np.random.default_rng(0).uniform(0.1, 3, 90)
    members = REGRESSORS[:3]
    model = ConvexStackingRegressor(members, cv=3).fit(X, y, sample_weight=weight)
    final = LinearRegression(positive=True, fit_intercept=False)
    reference = StackingRegressor(members, final, cv=3).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(model.weights_, reference.final_estimator_.coef_, atol=1e-10)


@pytest.mark.parametrize(
    "options", [{"ridge": 3.0}, {"sum_to_one": True}, {"solver": "nnls"}, {"ridge": 0.1, "sum_to_one": True}]
)
def test_options_reach_the_program(options, seed):
    if options.get("sum_to_one"):
        pytest.importorskip("cvxpy", reason="the restatement with a sum needs cvxpy")
    X, y = regression(seed)
    model = ConvexStackingRegressor(REGRESSORS, cv=3, **options).fit(X, y)
    P = np.column_stack([cross_val_predict(member, X, y, cv=3) for _, member in REGRESSORS])
    A = np.vstack([P, np.sqrt(model.ridge) * np.eye(4)])
    b = np.append(y, np.zeros(4))
    assert kkt_residual(A, b, model.weights_, sum_to_one=model.sum_to_one) <= 1e-8
    assert model.objective_ == pytest.approx(minimum(A, b, sum_to_one=model.sum_to_one), rel=1e-8)
    assert model.objective_ <= model.uniform_objective_
    assert model.uniform_objective_ == pytest.approx(np.sum((A.mean(axis=1) - b) ** 2))
    assert model.result_.solver == options.get("solver", "nnls")


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classifiers_have_one_weight_for_all_classes(classes, seed):
    X, y = classification(seed, n=120, classes=classes)
    model = ConvexStackingClassifier(CLASSIFIERS, cv=3).fit(X, y)
    columns = [
        cross_val_predict(member, X, y, cv=StratifiedKFold(3), method="predict_proba").ravel()
        for _, member in CLASSIFIERS
    ]
    targets = (y[:, None] == np.unique(y)).astype(float).ravel()
    expected = nnls(np.column_stack(columns), targets)[0]
    np.testing.assert_allclose(model.weights_, expected, atol=1e-10)
    combined = sum(
        w * member.predict_proba(X) for w, member in zip(model.weights_, model.estimators_, strict=True)
    )
    np.testing.assert_allclose(
        model.predict_proba(X), combined / combined.sum(axis=1, keepdims=True), atol=1e-12
    )
    assert (model.predict(X) == model.classes_[combined.argmax(axis=1)]).all()
    assert model.objective_ <= model.uniform_objective_


def test_prefit_estimators_are_not_fitted_again():
    X, y = classification(0)
    fitted = [(name, clone(member).fit(X[:45], y[:45])) for name, member in CLASSIFIERS[:3]]
    before = pickle.dumps([member for _, member in fitted])
    model = ConvexStackingClassifier(fitted, cv="prefit").fit(X[45:], y[45:])
    assert pickle.dumps([member for _, member in fitted]) == before
    A = np.column_stack([member.predict_proba(X[45:]).ravel() for _, member in fitted])
    b = (y[45:, None] == np.unique(y)).astype(float).ravel()
    assert kkt_residual(A, b, model.weights_) <= 1e-8


def test_prefit_estimators_must_be_fitted():
    with pytest.raises(NotFittedError):
        ConvexStackingRegressor(REGRESSORS, cv="prefit").fit(*regression(0))


def test_dropped_estimators_have_no_weight_in_the_list():
    model = ConvexStackingRegressor(REGRESSORS, cv=3)
    model.set_params(flat="drop", tree__max_depth=2)
    model.fit(*regression(0))
    assert model.weights_.shape == (3,)
    assert model.named_estimators_["tree"].max_depth == 2


def test_parameters_are_those_of_the_combination():
    model = ConvexStackingRegressor(REGRESSORS, ridge=2.0)
    assert model.final_estimator.ridge == 2.0
    model.set_params(ridge=5.0, sum_to_one=True, tol=1e-6)
    assert model.final_estimator.get_params() == {
        "ridge": 5.0,
        "sum_to_one": True,
        "solver": "auto",
        "tol": 1e-6,
    }
    copy = clone(model)
    assert copy.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert isinstance(copy.fit(*regression(0)).final_estimator_, ConvexCombinationRegressor)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (ConvexStackingRegressor(REGRESSORS, cv=3), regression(0)),
        (ConvexStackingClassifier(CLASSIFIERS, cv=3), classification(0)),
    ],
)
def test_pickles(model, data):
    fitted = clone(model).fit(*data)
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(copy.transform(data[0]), fitted.transform(data[0]), atol=1e-12)
    np.testing.assert_array_equal(copy.weights_, fitted.weights_)


def test_html_shows_the_combination():
    assert "ConvexCombinationRegressor" in ConvexStackingRegressor(REGRESSORS)._repr_html_()


def test_useless_estimators_get_no_weight():
    X, y = regression(0, noise=0.0)
    y = y - y.mean()
    model = ConvexStackingRegressor(
        [("line", LinearRegression()), ("zero", DummyRegressor(strategy="constant", constant=0.0))]
    )
    np.testing.assert_allclose(model.fit(X, y).weights_, [1, 0], atol=1e-12)


@pytest.mark.parametrize("stack", [StackingClassifier, StackingRegressor])
def test_combinations_are_final_estimators_for_anyone(stack):
    if stack is StackingClassifier:
        X, y = classification(0)
        own, final, members = ConvexStackingClassifier, ConvexCombinationClassifier(ridge=1.0), CLASSIFIERS
    else:
        X, y = regression(0)
        own, final, members = ConvexStackingRegressor, ConvexCombinationRegressor(ridge=1.0), REGRESSORS
    theirs = stack(members, final, cv=3).fit(X, y)
    ours = own(members, cv=3, ridge=1.0).fit(X, y)
    np.testing.assert_allclose(theirs.final_estimator_.weights_, ours.weights_, atol=1e-12)
    assert theirs.score(X, y) == pytest.approx(ours.score(X, y))


def test_equal_weights_where_all_are_zero():
    # Two predictors that are certain, and wrong.
    X = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    model = ConvexCombinationClassifier().fit(X, ["a", "a", "b", "b"])
    assert model.weights_.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(model.predict_proba([[1.0, 0.5]]), [[0.25, 0.75]])
    assert model.predict(X).tolist() == ["b", "b", "a", "a"]


@pytest.mark.parametrize(
    ("model", "data", "error", "message"),
    [
        (ConvexStackingRegressor([]), regression(0), ValueError, "non-empty list"),
        (ConvexStackingRegressor([("a", "drop")]), regression(0), ValueError, "All estimators are dropped"),
        (ConvexStackingClassifier([("svc", LinearSVC())]), classification(0), ValueError, "predict_proba"),
        (ConvexStackingRegressor(REGRESSORS, ridge=-1.0), regression(0), ValueError, "non-negative"),
        (ConvexStackingRegressor(REGRESSORS, solver="best"), regression(0), ValueError, "best"),
        (
            ConvexStackingRegressor(REGRESSORS, sum_to_one=2),
            regression(0),
            TypeError,
            "sum_to_one must be True",
        ),
        (ConvexCombinationClassifier(), (np.ones((3, 4)), [0, 1, 2]), ValueError, "no multiple of 3"),
        (ConvexCombinationClassifier(), (np.ones((3, 4)), [1, 1, 1]), ValueError, "at least two classes"),
        (ConvexCombinationRegressor(), (np.ones((2, 1)), [1.0, np.nan]), ValueError, "NaN"),
    ],
)
def test_input_without_a_meaning(model, data, error, message):
    with pytest.raises(error, match=message):
        model.fit(*data)


def test_frozen_members_are_welcome():
    X, y = regression(0)
    members = [
        ("line", FrozenEstimator(LinearRegression().fit(X, y))),
        ("tree", DecisionTreeRegressor(max_depth=2)),
    ]
    model = ConvexStackingRegressor(members).fit(X, y)
    assert (model.weights_ >= 0).all()
