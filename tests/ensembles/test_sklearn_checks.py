"""All of scikit-learn's estimator checks for ensembles and stacks; none is expected to fail by us."""

import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from convexnn.ensembles import (
    ConvexStackingClassifier,
    ConvexStackingRegressor,
    DropoutEnsembleClassifier,
    DropoutEnsembleRegressor,
)
from convexnn.ensembles.combination import ConvexCombinationRegressor

# Few epochs keep the checks quick.
pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

SMALL = {"hidden_layer_sizes": 30, "max_iter": 30, "learning_rate_init": 0.03}


@parametrize_with_checks(
    [
        DropoutEnsembleRegressor(MLPRegressor(**SMALL), n_submodels=5),
        ConvexStackingClassifier(
            [("line", LogisticRegression()), ("tree", DecisionTreeClassifier(random_state=0))]
        ),
    ]
)
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        DropoutEnsembleClassifier(MLPClassifier(**SMALL), n_submodels=5),
        ConvexStackingRegressor([("line", Ridge(0.1)), ("tree", DecisionTreeRegressor(random_state=0))]),
        DropoutEnsembleRegressor(Ridge(0.01), n_submodels=6, sum_to_one=True, ridge=1e-3),
        DropoutEnsembleClassifier(LogisticRegression(), n_submodels=6),
        ConvexCombinationRegressor(),
        DropoutEnsembleRegressor(n_submodels=5),
        DropoutEnsembleClassifier(n_submodels=5, validation_fraction=None),
        DropoutEnsembleRegressor(MLPRegressor(**SMALL), n_submodels=3, drop="inputs", solver="nnls"),
        DropoutEnsembleClassifier(DecisionTreeClassifier(), n_submodels=4, validation_fraction=0.4),
        ConvexStackingClassifier(
            [("tree", DecisionTreeClassifier(max_depth=2, random_state=0)), ("line", LogisticRegression())],
            ridge=0.1,
            cv=3,
        ),
        ConvexStackingRegressor([("tree", DecisionTreeRegressor(random_state=0))], sum_to_one=True, cv=2),
    ]
)
def test_estimator_check_of_other_configurations(estimator, check):
    check(estimator)
