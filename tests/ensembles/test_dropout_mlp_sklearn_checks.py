"""All of scikit-learn's estimator checks for networks trained with dropout; we expect none to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from convexnn.ensembles import DropoutMLPClassifier, DropoutMLPRegressor

QUICK = {"learning_rate": 0.02, "max_iter": 60}


@parametrize_with_checks(
    [DropoutMLPRegressor(30, dropout=0.2, **QUICK), DropoutMLPClassifier(30, dropout=0.2, **QUICK)]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimator_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        DropoutMLPRegressor(),
        DropoutMLPClassifier(),
        DropoutMLPRegressor(50, dropout=0.0, batch_size=7, alpha=0.0, learning_rate=0.01),
        DropoutMLPClassifier(50, dropout=0.3, input_dropout=0.1, batch_size=16, learning_rate=0.01),
    ]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimator_check_of_other_settings(estimator, check):
    check(estimator)
