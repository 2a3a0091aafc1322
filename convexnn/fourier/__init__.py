"""Least squares on random Fourier features, and the double descent of its test error."""

from convexnn.fourier._classifier import RandomFourierClassifier
from convexnn.fourier._regressor import RandomFourierRegressor
from convexnn.fourier.curve import DoubleDescentCurve
from convexnn.fourier.double_descent import double_descent_curve
from convexnn.fourier.features import FourierFeatures

__all__ = [
    "DoubleDescentCurve",
    "FourierFeatures",
    "RandomFourierClassifier",
    "RandomFourierRegressor",
    "double_descent_curve",
]
