"""Random Fourier features of the Gaussian kernel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from convexnn._random import as_generator
from convexnn._typing import FloatArray, RandomState

__all__ = ["FourierFeatures", "draw_features"]


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    r"""Cosines and sines of N frequencies ``v_k``, whose inner products approximate a kernel.

    ``Phi(x) = sqrt(1/N) (cos(v_1 . x), sin(v_1 . x), ..., cos(v_N . x), sin(v_N . x))``, so that the features
    of the first frequencies come first. For independent ``v_k ~ N(0, 2 gamma I)`` the mean of
    ``Phi(x) . Phi(z)`` is ``exp(-gamma |x - z|^2)``, and its standard deviation at most ``sqrt(1/(2N))``.
    ``|Phi(x)| = 1`` for every x.

    Parameters
    ----------
    frequencies : array-like of shape (n_frequencies, n_features)
        A row for each ``v_k``; kept as float64, read-only.
    origin : array-like of shape (n_features,), optional
        A point amid the data, zero unless given. It changes rounding errors only: the phases are computed as
        ``v_k . (x - origin)`` plus the constant ``v_k . origin``, which keeps small differences of samples
        far from zero.

    Attributes
    ----------
    frequencies : ndarray of shape (n_frequencies, n_features)
    origin : ndarray of shape (n_features,)

    Raises
    ------
    ValueError
        If there are no frequencies, or the arrays are not finite or do not fit together.

    References
    ----------
    Rahimi and Recht, "Random features for large-scale kernel machines", NeurIPS 2007, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn.fourier import FourierFeatures
    >>> features = FourierFeatures(np.random.default_rng(0).normal(size=(20_000, 2)))
    >>> x, z = features([[0.0, 0.0], [1.0, 0.5]])
    >>> round(float(x @ z), 2), round(float(np.exp(-0.5 * 1.25)), 2)
    (0.54, 0.54)
    """

    frequencies: FloatArray
    origin: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check the arrays and freeze copies of them."""
        frequencies = np.array(self.frequencies, dtype=np.float64)
        if frequencies.ndim != 2 or 0 in frequencies.shape:
            raise ValueError(
                "frequencies must have shape (n_frequencies, n_features), both at least 1. "
                f"Got shape {frequencies.shape} instead."
            )
        d = frequencies.shape[1]
        origin = np.zeros(d) if self.origin is None else np.array(self.origin, dtype=np.float64)
        if origin.shape != (d,):
            raise ValueError(f"origin must have shape ({d},), as frequencies. Got {origin.shape} instead.")
        if not (np.isfinite(frequencies).all() and np.isfinite(origin).all()):
            raise ValueError(
                "frequencies and origin must be finite. Got NaN or infinity; try a smaller gamma."
            )
        frequencies.flags.writeable = origin.flags.writeable = False
        object.__setattr__(self, "frequencies", frequencies)
        object.__setattr__(self, "origin", origin)

    @property
    def n_features(self) -> int:
        """Number of features, two for each frequency."""
        return 2 * len(self.frequencies)

    def __call__(self, X: ArrayLike) -> FloatArray:
        """Return the features of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, 2 * n_frequencies), float64
            Column 2k is ``sqrt(1/N) cos(v_k . x)``, column 2k + 1 the sine.

        Raises
        ------
        ValueError
            If the shape is wrong, or products with the frequencies are not finite.
        """
        return np.asarray(self.waves(X) / np.sqrt(len(self.frequencies)))

    def waves(self, X: ArrayLike) -> FloatArray:
        """Return the features without the factor ``sqrt(1/N)``; parameters and errors as for a call."""
        samples = np.asarray(X, dtype=np.float64)
        origin = np.asarray(self.origin)
        d = len(origin)
        if samples.ndim != 2 or samples.shape[1] != d:
            raise ValueError(f"X must have shape (n_samples, {d}). Got shape {samples.shape} instead.")
        with np.errstate(over="ignore", invalid="ignore"):
            at_origin = self.frequencies @ origin
            # within one turn, so that the sum has the rounding error of the differences only
            phases = (samples - origin) @ self.frequencies.T + np.arctan2(
                np.sin(at_origin), np.cos(at_origin)
            )
        if not np.isfinite(phases).all():
            raise ValueError(
                "X must have finite products with the frequencies. Got NaN or infinity; scale X, or try a "
                "smaller gamma."
            )
        waves = np.empty((len(samples), self.n_features))
        np.cos(phases, out=waves[:, 0::2])
        np.sin(phases, out=waves[:, 1::2])
        return waves


def draw_features(
    n_frequencies: int, gamma: float, origin: FloatArray, random_state: RandomState
) -> FourierFeatures:
    """Draw frequencies from ``N(0, 2 gamma I)``; fewer from the same seed are the first of more."""
    normal = as_generator(random_state).standard_normal((n_frequencies, len(origin)))
    return FourierFeatures(np.sqrt(2.0 * gamma) * normal, origin)
