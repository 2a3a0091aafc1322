"""All of scikit-learn's estimator checks, none skipped or expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor


@parametrize_with_checks(
    [
        ConvexMLPRegressor(),
        ConvexMLPRegressor(loss="huber", hidden_bias="free", patterns="auto"),
        ConvexMLPClassifier(),
        ConvexMLPClassifier(loss="squared_hinge", hidden_bias="none", patterns="auto"),
    ]
)
def test_estimator_check(estimator, check):
    check(estimator)
