"""The scikit-learn estimators."""

from convexnn.estimators._classifier import ConvexMLPClassifier
from convexnn.estimators._regressor import ConvexMLPRegressor

__all__ = ["ConvexMLPClassifier", "ConvexMLPRegressor"]
