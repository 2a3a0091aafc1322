"""`RandomFourierRegressor`."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin

from convexnn._typing import FloatArray
from convexnn.fourier._base import BaseRandomFourier, training_inputs

__all__ = ["RandomFourierRegressor"]


class RandomFourierRegressor(RegressorMixin, BaseRandomFourier):
    """Least squares on random Fourier features: of least norm, or with a ridge.

    The features are ``Phi(x) = sqrt(1/N) (cos(v_1 . x), sin(v_1 . x), cos(v_2 . x), ...)`` with N
    frequencies ``v_k ~ N(0, 2 gamma I)``, hence 2N features, whose inner products approximate
    ``exp(-gamma |x - z|^2)``. The prediction is ``f(x) = Phi(x) . a + c``, where a and c minimise, with
    **sums, not means**, ::

        sum_i s_i (f(x_i) - y_i)^2 + ridge * |a|^2

    With ``ridge=0`` a has the least norm of all minimisers: ``a = pinv(Phi) y``, without an intercept. So
    with as many features as distinct samples, or more, the data is interpolated, up to rounding.

    Parameters
    ----------
    n_frequencies : int, default=100
        N; there are 2N features. Those of a smaller N, from the same seed, have the first of these
        frequencies.
    gamma : float or {"median", "scale"}, default="median"
        Of the kernel. "median": ``1 / (2 m^2)`` with the median m of the distances between distinct samples
        (between 1000 of them, evenly spaced in sorted order, where there are more). "scale":
        ``1 / (n_features * X.var())``. Where all samples (entries for "scale") are equal both are 1.
        ``gamma=0.5`` draws from ``N(0, I)``.
    ridge : float, default=0.0
        Strength of the penalty, ``>= 0``; the ``alpha`` of scikit-learn's ``Ridge``.
    fit_intercept : bool, default=True
        Whether c exists; it is never penalised. It does not count in the norm either, so that with
        ``ridge=0`` features and targets are centred (by weighted means) before a is computed.
    random_state : int, RandomState, Generator or None, default=None
        For the frequencies.

    Attributes
    ----------
    coef_ : ndarray of shape (2 * n_frequencies,) or (n_outputs, 2 * n_frequencies)
        ``a``: for each frequency the coefficient of the cosine, then that of the sine.
    intercept_ : float or ndarray of shape (n_outputs,)
        ``c``; zero without an intercept.
    gamma_ : float
        That was used.
    random_weights_ : ndarray of shape (n_features, n_frequencies)
        Frequencies as columns, as `sklearn.kernel_approximation.RBFSampler` has them:
        ``FourierFeatures(random_weights_.T)`` maps samples to features.
    rank_ : int
        Numerical rank of the centred, weighted features of the distinct samples: singular values above
        ``eps`` times the larger dimension times the largest. The others count as zero.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Rahimi and Recht, "Random features for large-scale kernel machines", NeurIPS 2007. Belkin, Hsu, Ma and
    Mandal, "Reconciling modern machine-learning practice and the classical bias-variance trade-off", PNAS
    2019 (interpolation of least norm).

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import RandomFourierRegressor
    >>> X = np.linspace(-3.0, 3.0, 30)[:, None]
    >>> model = RandomFourierRegressor(50, ridge=1e-6, random_state=0).fit(X, np.sin(X[:, 0]))
    >>> model.predict([[0.5], [2.0]]).round(2), np.sin([0.5, 2.0]).round(2)
    (array([0.48, 0.91]), array([0.48, 0.91]))
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "RandomFourierRegressor":
        """Draw frequencies and solve the least squares.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative, not all zero. A weight k is as good as k copies of the sample.

        Returns
        -------
        RandomFourierRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning.
        """
        coef, intercept = self._fit(training_inputs(self, X, y, sample_weight))
        single = np.asarray(y).ndim == 1
        self.coef_ = coef[:, 0] if single else coef.T
        self.intercept_ = float(intercept[0]) if single else intercept
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Predict targets.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the shape that ``y`` had in `fit`.
        """
        return self._outputs(X)

    def __sklearn_tags__(self) -> Any:
        """Several outputs are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
