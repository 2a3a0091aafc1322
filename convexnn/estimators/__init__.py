"""The scikit-learn estimators."""

from convexnn.estimators._classifier import ConvexMLPClassifier
from convexnn.estimators._cnn_classifier import ConvexCNNClassifier
from convexnn.estimators._cnn_regressor import ConvexCNNRegressor
from convexnn.estimators._cv_classifier import ConvexMLPClassifierCV
from convexnn.estimators._cv_regressor import ConvexMLPRegressorCV
from convexnn.estimators._regressor import ConvexMLPRegressor

__all__ = [
    "ConvexCNNClassifier",
    "ConvexCNNRegressor",
    "ConvexMLPClassifier",
    "ConvexMLPClassifierCV",
    "ConvexMLPRegressor",
    "ConvexMLPRegressorCV",
]
