"""All of scikit-learn's estimator checks; none is skipped or expected to fail by us.

Scikit-learn itself skips its array API check unless SCIPY_ARRAY_API=1 was set before scipy was imported.
"""

import pytest
from sklearn.datasets import make_blobs
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from convexnn.fourier import RandomFourierClassifier, RandomFourierRegressor


@parametrize_with_checks([RandomFourierRegressor(), RandomFourierClassifier()])
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        RandomFourierRegressor(gamma="scale", ridge=0.1),
        RandomFourierClassifier(20, ridge=1.0, fit_intercept=False),
        RandomFourierRegressor(150, gamma=0.5, fit_intercept=False),
        RandomFourierClassifier(400, gamma="scale", ridge=1e-3),
    ]
)
def test_estimator_check_of_other_settings(estimator, check):
    check(estimator)


def test_interpolating_classifiers_have_good_scores():
    """What scikit-learn's checks ask of classifiers, left out there where class weights have no effect."""
    X, y = make_blobs(n_samples=300, random_state=0)
    X = StandardScaler().fit_transform(X)
    for labels, samples in ((y, X), (y[y != 2], X[y != 2])):
        model = RandomFourierClassifier(random_state=0).fit(samples, labels)
        assert model.score(samples, labels) > 0.83


@pytest.mark.parametrize("estimator_type", [RandomFourierRegressor, RandomFourierClassifier])
def test_fitted_attributes_are_set_in_fit_and_documented(estimator_type):
    model = estimator_type(3, random_state=0)
    assert not {name for name in vars(model) if name.endswith("_")}
    model.fit([[0.0], [1.0], [3.0]], [0, 1, 0])
    names = {name for name in vars(model) if name.endswith("_")}
    expected = {"coef_", "intercept_", "gamma_", "random_weights_", "rank_", "n_features_in_"}
    assert names - {"classes_"} == expected
    assert [name for name in names if name not in estimator_type.__doc__] == []
