"""All of scikit-learn's estimator checks for the convolutional estimators; flat samples are signals.

One of them wants regressors to fit data without neighbourhoods, for which filters have to be large or
weighted.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from convexnn import ConvexCNNClassifier, ConvexCNNRegressor


@parametrize_with_checks(
    [
        ConvexCNNRegressor(activation="linear"),
        ConvexCNNClassifier(patterns=10),
    ]
)
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        ConvexCNNRegressor(patterns=8, kernel_size=9, tol=1e-2),
        ConvexCNNClassifier(),
        ConvexCNNRegressor(pooling="max", kernel_size=9, patterns=10, loss="huber", tol=1e-2),
        ConvexCNNClassifier(pooling="max", kernel_size=2, patterns=10),
        ConvexCNNRegressor(pooling="weighted", kernel_size=1, hidden_bias="none", tol=1e-2, time_limit=10),
        ConvexCNNRegressor(activation="linear", padding="circular", kernel_size=100),
        ConvexCNNClassifier(activation="linear", kernel_size=2),
    ]
)
def test_estimator_check_of_other_programs(estimator, check):
    check(estimator)
