"""Public names, signatures and the examples of the docstrings."""

import doctest
import inspect
import pkgutil
import re
from importlib import import_module

import numpy as np
import pytest

import convexnn
import convexnn_solvers

PUBLIC = [
    "Certificate",
    "ConvNetwork",
    "ConvexCNNClassifier",
    "ConvexCNNRegressor",
    "ConvexMLPClassifier",
    "ConvexMLPClassifierCV",
    "ConvexMLPRegressor",
    "ConvexMLPRegressorCV",
    "ConvexStackingClassifier",
    "ConvexStackingRegressor",
    "DropoutEnsembleClassifier",
    "DropoutEnsembleRegressor",
    "PathResult",
    "PatternSet",
    "RandomFourierClassifier",
    "RandomFourierRegressor",
    "TwoLayerNetwork",
    "certify",
    "convex_path",
    "count_patterns",
    "double_descent_curve",
    "enumerate_patterns",
    "sample_patterns",
]
PUBLIC_OF_SOLVERS = [
    "NonnegativeProgram",
    "NonnegativeResult",
    "SolveResult",
    "Status",
    "available_solvers",
    "solve",
    "solve_nonnegative",
]

REGRESSOR = {
    "alpha": 1.0,
    "loss": "squared_error",
    "activation": "relu",
    "patterns": "auto",
    "multi_output": "shared",
    "hidden_bias": "penalized",
    "fit_intercept": True,
    "solver": "auto",
    "tol": 1e-4,
    "max_iter": None,
    "time_limit": None,
    "warm_start": False,
    "random_state": None,
    "n_jobs": None,
    "verbose": 0,
}
CLASSIFIER = REGRESSOR | {"loss": "log_loss", "class_weight": None}
CROSS_VALIDATED = {"alphas": 30, "eps": 1e-3, "cv": None, "scoring": None}
REGRESSOR_CV = CROSS_VALIDATED | {k: v for k, v in REGRESSOR.items() if k not in ("alpha", "warm_start")}
CLASSIFIER_CV = REGRESSOR_CV | {"loss": "log_loss", "class_weight": None}
CONVOLUTION = {
    "image_shape": None,
    "kernel_size": 3,
    "stride": 1,
    "padding": "valid",
    "pooling": "auto",
}
ENSEMBLE = {
    "estimator": None,
    "n_submodels": 50,
    "dropout": 0.5,
    "drop": "auto",
    "validation_fraction": 0.2,
    "ridge": 0.0,
    "sum_to_one": False,
    "solver": "auto",
    "tol": 1e-8,
    "max_iter": None,
    "time_limit": None,
    "random_state": None,
    "n_jobs": None,
    "verbose": 0,
}
FOURIER_REGRESSOR = {
    "n_frequencies": 100,
    "gamma": "median",
    "ridge": 0.0,
    "fit_intercept": True,
    "random_state": None,
}
FOURIER_CLASSIFIER = FOURIER_REGRESSOR | {"class_weight": None}
COMBINED = {
    "weights_",
    "submodels_",
    "estimator_",
    "objective_",
    "uniform_objective_",
    "n_active_",
    "result_",
    "n_iter_",
    "n_features_in_",
}
FOURIER = {"coef_", "intercept_", "gamma_", "random_weights_", "rank_", "n_features_in_"}
CHOICE = {"alpha_", "alphas_", "scores_", "best_score_", "path_"}
FITTED = {
    "coefs_",
    "intercepts_",
    "n_neurons_",
    "network_",
    "objective_",
    "dual_objective_",
    "dual_gap_",
    "gap_scope_",
    "violation_",
    "patterns_",
    "result_",
    "n_iter_",
    "n_features_in_",
}


def all_modules():
    names = []
    for package in (convexnn, convexnn_solvers):
        found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names += [package.__name__, *(module.name for module in found)]
    # Importing a `__main__` module starts the program.
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names(name):
    assert name in convexnn.__all__
    assert inspect.isclass(getattr(convexnn, name)) or inspect.isfunction(getattr(convexnn, name))


@pytest.mark.parametrize("name", PUBLIC_OF_SOLVERS)
def test_public_names_of_the_solvers(name):
    assert name in convexnn_solvers.__all__
    assert hasattr(convexnn_solvers, name)


@pytest.mark.parametrize("name", all_modules())
def test_all_is_true(name):
    module = import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    missing = [attribute for attribute in exported if not hasattr(module, attribute)]
    assert missing == []


def test_star_import():
    namespace = {}
    exec("from convexnn import *", namespace)
    assert set(PUBLIC) <= set(namespace)
    assert not [name for name in namespace if name.startswith("_") and name != "__builtins__"]


def test_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", convexnn.__version__)


@pytest.mark.parametrize(
    ("estimator_type", "expected"),
    [
        (convexnn.ConvexMLPRegressor, REGRESSOR),
        (convexnn.ConvexMLPClassifier, CLASSIFIER),
        (convexnn.ConvexMLPRegressorCV, REGRESSOR_CV),
        (convexnn.ConvexMLPClassifierCV, CLASSIFIER_CV),
        (convexnn.ConvexCNNRegressor, REGRESSOR | CONVOLUTION),
        (convexnn.ConvexCNNClassifier, CLASSIFIER | CONVOLUTION),
        (convexnn.DropoutEnsembleRegressor, ENSEMBLE),
        (convexnn.DropoutEnsembleClassifier, ENSEMBLE),
        (convexnn.RandomFourierRegressor, FOURIER_REGRESSOR),
        (convexnn.RandomFourierClassifier, FOURIER_CLASSIFIER),
    ],
)
def test_parameters_of_the_estimators(estimator_type, expected):
    parameters = inspect.signature(estimator_type).parameters
    assert {name: p.default for name, p in parameters.items()} == expected
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [n for n in ("alpha", "estimator", "n_submodels", "n_frequencies") if n in expected]
    assert estimator_type().get_params() == expected


@pytest.mark.parametrize(
    ("estimator_type", "more"),
    [
        (convexnn.ConvexMLPRegressor, set()),
        (convexnn.ConvexMLPClassifier, {"classes_"}),
        (convexnn.ConvexCNNRegressor, {"filters_", "image_shape_"}),
        (convexnn.ConvexCNNClassifier, {"classes_", "filters_", "image_shape_"}),
    ],
)
def test_fitted_attributes(estimator_type, more):
    model = estimator_type()
    assert not {name for name in vars(model) if name.endswith("_")}
    model.fit([[0.0], [1.0], [2.0]], [0, 1, 0])
    expected = FITTED | more
    assert {name for name in vars(model) if name.endswith("_")} == expected
    for name in expected:
        assert name in estimator_type.__doc__
    is_convolutional = "filters_" in more
    network_type = convexnn.ConvNetwork if is_convolutional else convexnn.TwoLayerNetwork
    assert isinstance(model.network_, network_type)
    assert isinstance(model.patterns_, convexnn.PatternSet)
    assert isinstance(model.result_, convexnn_solvers.SolveResult)
    assert model.gap_scope_ in ("patterns", "global")
    for name in ("objective_", "dual_objective_", "dual_gap_"):
        assert isinstance(getattr(model, name), float)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (convexnn.DropoutEnsembleRegressor(n_submodels=3), COMBINED),
        (convexnn.DropoutEnsembleClassifier(n_submodels=3), COMBINED | {"classes_"}),
        (convexnn.RandomFourierRegressor(5), FOURIER),
        (convexnn.RandomFourierClassifier(5), FOURIER | {"classes_"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fitted_attributes_of_the_estimators_without_a_gap(estimator, expected):
    assert not {name for name in vars(estimator) if name.endswith("_")}
    rng = np.random.default_rng(0)
    estimator.fit(rng.normal(size=(30, 2)), np.arange(30) % 2)
    public = {name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")}
    assert expected <= public
    for name in public:
        assert name in type(estimator).__doc__


@pytest.mark.parametrize("estimator_type", [convexnn.ConvexMLPRegressorCV, convexnn.ConvexMLPClassifierCV])
def test_fitted_attributes_of_the_cross_validated_estimators(estimator_type):
    model = estimator_type(alphas=2, cv=2)
    model.fit([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    expected = FITTED | CHOICE
    expected |= {"classes_"} if estimator_type is convexnn.ConvexMLPClassifierCV else set()
    assert {name for name in vars(model) if name.endswith("_")} == expected
    for name in expected:
        assert name in estimator_type.__doc__
    assert isinstance(model.path_, convexnn.PathResult)
    assert isinstance(model.alpha_, float)
    assert isinstance(model.best_score_, float)


def test_parameters_of_the_path():
    parameters = inspect.signature(convexnn.convex_path).parameters
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["X", "y", "patterns"]
    for name in set(parameters) & set(REGRESSOR_CV):
        assert parameters[name].default == REGRESSOR_CV[name]


@pytest.mark.parametrize("name", all_modules())
def test_examples_of_docstrings(name):
    result = doctest.testmod(import_module(name), verbose=False)
    assert result.failed == 0


@pytest.mark.parametrize(
    "name",
    [
        "ConvexMLPRegressor",
        "ConvexMLPClassifier",
        "ConvexMLPRegressorCV",
        "ConvexMLPClassifierCV",
        "ConvexCNNRegressor",
        "ConvexCNNClassifier",
        "ConvexStackingRegressor",
        "ConvexStackingClassifier",
        "DropoutEnsembleRegressor",
        "DropoutEnsembleClassifier",
        "RandomFourierRegressor",
        "RandomFourierClassifier",
        "convex_path",
        "double_descent_curve",
    ],
)
def test_estimators_have_examples(name):
    assert doctest.DocTestFinder().find(getattr(convexnn, name))[0].examples
