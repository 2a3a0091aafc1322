"""All of scikit-learn's estimator checks for the cross-validated estimators; few alphas keep them quick."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from convexnn import ConvexMLPClassifierCV, ConvexMLPRegressorCV

FEW = {"alphas": 2, "eps": 0.1, "cv": 2, "patterns": 10}


@parametrize_with_checks([ConvexMLPRegressorCV(**FEW), ConvexMLPClassifierCV(**FEW)])
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        ConvexMLPRegressorCV(**FEW, loss="huber", hidden_bias="free", scoring="r2", solver="clarabel"),
        ConvexMLPClassifierCV(
            **FEW | {"patterns": 6}, loss="squared_hinge", hidden_bias="none", scoring="accuracy"
        ),
        ConvexMLPRegressorCV(**FEW, activation="gated_relu", loss="absolute_error", multi_output="separate"),
        ConvexMLPClassifierCV(alphas=[10.0, 1.0], cv=3, patterns=8),
    ]
)
def test_estimator_check_of_other_programs(estimator, check):
    check(estimator)
