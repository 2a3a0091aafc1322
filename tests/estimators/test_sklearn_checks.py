"""All of scikit-learn's estimator checks; none is skipped or expected to fail by us.

Scikit-learn itself skips its array API check unless SCIPY_ARRAY_API=1 was set before scipy was imported.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor


@parametrize_with_checks([ConvexMLPRegressor(patterns=4), ConvexMLPClassifier(patterns=10)])
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        ConvexMLPRegressor(),
        ConvexMLPRegressor(patterns=10),
        ConvexMLPClassifier(),
        ConvexMLPRegressor(loss="huber", hidden_bias="free", patterns=10),
        ConvexMLPClassifier(loss="squared_hinge", hidden_bias="none", activation="leaky_relu", patterns=6),
        ConvexMLPRegressor(activation="gated_relu", loss="absolute_error", multi_output="separate"),
    ]
)
def test_estimator_check_of_other_programs(estimator, check):
    check(estimator)
