"""Dropout ensembles: training that ends early, and input and bases without a meaning."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.svm import LinearSVC

from convexnn import ConvexMLPRegressor
from convexnn.ensembles import DropoutEnsembleClassifier, DropoutEnsembleRegressor, bases
from ensemble_cases import classification, kkt_residual, least_squares, regression

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


class Slow(RegressorMixin, BaseEstimator):
    """Fits a mean; a counter tells when to stop the clock or to press Ctrl-C."""

    def __init__(self, counter=None, at=None, error=KeyboardInterrupt):
        self.counter = counter
        self.at = at
        self.error = error

    def __sklearn_clone__(self):
        return type(self)(self.counter, self.at, self.error)

    def fit(self, X, y, sample_weight=None):
        self.counter.append(len(self.counter))
        if len(self.counter) == self.at:
            raise self.error
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return self.mean_ + X[:, 0]


def test_an_interrupt_keeps_the_sub_models_that_are_trained():
    X, y = regression(0)
    model = DropoutEnsembleRegressor(Slow([], at=4), 10, drop="inputs", random_state=0)
    with pytest.warns(
        ConvergenceWarning, match="Only 3 of 10 sub-models were trained: training was interrupted"
    ):
        model.fit(X, y)
    assert len(model.submodels_) == len(model.weights_) == 3
    A, b = least_squares(model, X, y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8
    assert model.predict(X).shape == (90,)


def test_an_interrupt_before_any_sub_model_is_raised():
    with pytest.raises(KeyboardInterrupt):
        DropoutEnsembleRegressor(Slow([], at=1), 10, drop="inputs").fit(*regression(0))


def test_errors_of_bases_are_not_hidden():
    model = DropoutEnsembleRegressor(Slow([], at=3, error=ArithmeticError), 10, drop="inputs")
    with pytest.raises(ArithmeticError):
        model.fit(*regression(0))


@pytest.mark.parametrize("solver", ["auto", "nnls"])
def test_a_time_limit_keeps_at_least_one_sub_model(solver):
    X, y = regression(0)
    model = DropoutEnsembleRegressor(Ridge(), 10, drop="inputs", time_limit=1e-9, solver=solver)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    assert {w.category for w in caught} == {ConvergenceWarning}
    assert any("Only 1 of 10 sub-models were trained: the time limit" in str(w.message) for w in caught)
    assert len(model.weights_) == 1
    assert model.objective_ <= model.uniform_objective_


def test_weights_are_chosen_though_training_used_up_the_time(monkeypatch):
    seconds = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(bases, "perf_counter", lambda: float(next(seconds)))
    X, y = regression(0)
    model = DropoutEnsembleRegressor(MLPRegressor(max_iter=5), 10, time_limit=600.0, random_state=0)
    with pytest.warns(ConvergenceWarning, match="ended at the time limit, after 1 whole passes"):
        model.fit(X, y)
    assert len(model.weights_) == 10
    assert model.result_.converged


def test_a_time_limit_reaches_a_base_that_takes_one():
    base = ConvexMLPRegressor(1e-3, patterns="exact", tol=1e-12, time_limit=1000)
    model = DropoutEnsembleRegressor(base, 3, time_limit=0.2, random_state=0)
    with pytest.warns(ConvergenceWarning, match="time_limit"):
        model.fit(*regression(0))
    assert 0 < model.estimator_.time_limit <= 0.2
    assert base.time_limit == 1000


def test_weights_that_are_not_optimal_are_announced():
    X, y = classification(0)
    model = DropoutEnsembleClassifier(GaussianNB(), 12, random_state=0, solver="nnls", tol=1e-300)
    with pytest.warns(
        ConvergenceWarning, match=r"optimality residual of the weights is .*, above tol=1e-300"
    ):
        model.fit(X, y)
    assert model.objective_ <= model.uniform_objective_


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_submodels": 0}, ValueError, "n_submodels must be at least 1"),
        ({"n_submodels": 2.5}, TypeError, "n_submodels must be an integer"),
        ({"n_submodels": True}, TypeError, "n_submodels must be an integer"),
        ({"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\)"),
        ({"dropout": -0.1}, ValueError, "dropout must lie in"),
        ({"dropout": float("nan")}, ValueError, "dropout must lie in"),
        ({"dropout": "half"}, TypeError, "dropout must be a real number"),
        ({"drop": "units"}, ValueError, "drop must be 'auto', 'hidden' or 'inputs'"),
        ({"drop": "hidden"}, ValueError, "Ridge"),
        ({"validation_fraction": 0.0}, ValueError, "validation_fraction must lie between 0 and 1"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction must lie between 0 and 1"),
        ({"validation_fraction": "some"}, TypeError, "validation_fraction must be None or a real number"),
        ({"ridge": -1.0}, ValueError, "ridge must be finite and non-negative"),
        ({"ridge": float("inf")}, ValueError, "ridge must be finite and non-negative"),
        ({"sum_to_one": "yes"}, TypeError, "sum_to_one must be True or False"),
        ({"solver": "simplex"}, ValueError, "simplex"),
        ({"tol": 0.0}, ValueError, "tol must be positive"),
        ({"max_iter": 0}, ValueError, "max_iter must be None or at least 1"),
        ({"time_limit": 0.0}, ValueError, "time_limit must be None or a positive number"),
        ({"time_limit": -1.0, "solver": "nnls"}, ValueError, "time_limit must be None or a positive number"),
        ({"estimator": LogisticRegression()}, ValueError, "The base must be a regressor"),
        ({"estimator": Ridge}, TypeError, "estimator must be None"),
        ({"estimator": "ridge"}, TypeError, "estimator must be None"),
        ({"estimator": FrozenEstimator(Ridge())}, NotFittedError, "not fitted"),
    ],
)
def test_parameters_without_a_meaning(options, error, message):
    model = DropoutEnsembleRegressor(Ridge()).set_params(**options)
    with pytest.raises(error, match=message):
        model.fit(*regression(0))


def test_wrong_options_are_found_before_anything_is_trained():
    counter = []
    model = DropoutEnsembleRegressor(Slow(counter), 3, drop="inputs", solver="simplex")
    with pytest.raises(ValueError, match="simplex"):
        model.fit(*regression(0))
    assert counter == []


@pytest.mark.parametrize(
    ("estimator", "message"),
    [(LinearSVC(), "must have predict_proba"), (Ridge(), "The base must be a classifier")],
)
def test_bases_that_do_not_classify(estimator, message):
    with pytest.raises(ValueError, match=message):
        DropoutEnsembleClassifier(estimator).fit(*classification(0))


def test_bases_without_weights_get_none():
    X, y = classification(0)
    model = DropoutEnsembleClassifier(KNeighborsClassifier(), 3, random_state=0)
    with pytest.raises(TypeError, match="KNeighborsClassifier does not support sample weights"):
        clone(model).fit(X, y, sample_weight=np.ones(90))
    twice = np.append(np.arange(90), 0)
    assert clone(model).fit(X[twice], y[twice]).submodels_.models[0].n_samples_fit_ in (72, 73)
    regressor = DropoutEnsembleRegressor(KNeighborsRegressor(), 3, random_state=0)
    assert regressor.fit(*regression(0)).objective_ <= regressor.uniform_objective_


def test_a_frozen_base_needs_no_weights_of_its_own():
    X, y = classification(0)
    base = FrozenEstimator(KNeighborsClassifier().fit(X, y))
    weight = np.arange(90.0)
    model = DropoutEnsembleClassifier(base, 5, random_state=0).fit(X, y, weight)
    A, b = least_squares(model, X, y, weight)
    assert kkt_residual(A, b, model.weights_) <= 1e-8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:1], y[:1]), "one class"),
        (lambda X, y: (X[:, 0], y), "2D"),
        (lambda X, y: (np.vstack([X[:-1], np.nan * X[-1:]]), y), "NaN"),
        (lambda X, y: (X[:5], y), "inconsistent numbers of samples"),
        (lambda X, y: (X[[0, 1]], np.array(["a", "b"])), "n_samples = 2 distinct samples of 2 classes"),
    ],
)
def test_samples_without_a_meaning(change, message):
    with pytest.raises(ValueError, match=message):
        DropoutEnsembleClassifier(GaussianNB()).fit(*change(*classification(0)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bases_that_predict_no_number(value):
    X, y = regression(0)
    base = LinearRegression().fit(X, y)
    base.intercept_ = value
    with pytest.raises(ValueError, match="Sub-model 0 predicts NaN or infinity"):
        DropoutEnsembleRegressor(FrozenEstimator(base)).fit(X, y)


def test_bases_with_another_number_of_outputs():
    X, y = regression(0)
    base = FrozenEstimator(LinearRegression().fit(X, np.column_stack([y, y])))
    with pytest.raises(ValueError, match=r"shape \(90, 1\). Sub-model 0 gives \(90, 2\)"):
        DropoutEnsembleRegressor(base).fit(X, y)


def test_frozen_bases_see_the_features_of_their_names():
    pandas = pytest.importorskip("pandas", reason="names need data frames")
    X, y = regression(0)
    frame = pandas.DataFrame(X, columns=list("abcde"))
    base = FrozenEstimator(LinearRegression().fit(frame, y))
    model = DropoutEnsembleRegressor(base, 3, random_state=0).fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcde")
    np.testing.assert_allclose(model.predict(frame), clone(model).fit(X, y).predict(X), atol=1e-9)
    with pytest.raises(ValueError, match="was fitted on features"):
        clone(model).fit(frame[list("edcba")], y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("edcba")])
    # What an estimator was fitted on before does not matter where it is fitted anew.
    fitted = DropoutEnsembleRegressor(LinearRegression().fit(frame, y), 3)
    assert fitted.fit(frame[list("edcba")], y).predict(frame[list("edcba")]).shape == (90,)


def test_prediction_needs_a_fit_and_the_same_features():
    X, y = regression(0)
    with pytest.raises(NotFittedError):
        DropoutEnsembleRegressor().submodel_predictions(X)
    model = DropoutEnsembleRegressor(Ridge(), 2).fit(X, y)
    with pytest.raises(ValueError, match="4 features"):
        model.predict(X[:, :4])


def test_progress_is_printed_when_wanted(capsys):
    DropoutEnsembleRegressor(Ridge(), 2).fit(*regression(0))
    assert capsys.readouterr().out == ""
    DropoutEnsembleRegressor(Ridge(), 2, verbose=1).fit(*regression(0))
    assert "2 sub-models" in capsys.readouterr().out


def test_torch_is_not_imported_unless_given(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from sklearn.linear_model import Ridge\n"
        "from convexnn.ensembles import DropoutEnsembleRegressor\n"
        "X = np.random.default_rng(0).normal(size=(30, 3))\n"
        "DropoutEnsembleRegressor(Ridge(), 3).fit(X, X[:, 0]).predict(X)\n"
        "DropoutEnsembleRegressor(n_submodels=3).fit(X, X[:, 0]).predict(X)\n"
        "print({'torch', 'cvxpy', 'matplotlib', 'osqp'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
