"""The quadratic model of a smooth loss around a point."""

from dataclasses import dataclass

from convexnn_solvers._typing import FloatArray

__all__ = ["QuadraticModel"]


@dataclass(frozen=True, eq=False)
class QuadraticModel:
    """``slope . (f - center) + 1/2 sum_i (f - center)_i' curvature_i (f - center)_i``.

    Attributes
    ----------
    center, slope : ndarray of shape (n, K)
    curvature : ndarray of shape (n, K, K)
        Positive semidefinite for each sample.
    """

    center: FloatArray
    slope: FloatArray
    curvature: FloatArray
