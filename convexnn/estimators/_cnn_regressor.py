"""`ConvexCNNRegressor`."""

from numpy.typing import ArrayLike

from convexnn.estimators._cnn import BaseConvexCNN
from convexnn.estimators._regressor import NetworkRegressor

__all__ = ["ConvexCNNRegressor"]


class ConvexCNNRegressor(NetworkRegressor, BaseConvexCNN):
    """Two-layer convolutional network regression, trained to a certified gap by convex optimisation.

    With the patches ``x_1 .. x_K`` that a kernel visits in an image x, ``phi`` the activation and ``u_j .
    x_k`` short for ``u_j . x_k + b_j`` where hidden units have a bias, the networks are::

        pooling="average":   f(x)   = sum_j a_j sum_k phi(u_j . x_k) + c
        pooling="max":       f(x)   = sum_j a_j max_k phi(u_j . x_k) + c
        pooling="weighted":  f(x)   = sum_j sum_k a_jk phi(u_j . x_k) + c
        pooling=None:        f(x)_k = sum_j a_j phi(u_j . x_k) + c        (a target for each position)

    and the objective, with **sums, not means**, is ::

        F = sum_i s_i loss(f(x_i), y_i) + (alpha / 2) * sum_j (|u_j|^2 + |a_j|^2)

    "average" adds the patches up; dividing by K as well would be the same problem at ``alpha / K``. Each is
    solved through an equivalent convex program; the number of filters is an outcome.

    Parameters
    ----------
    alpha : float, default=1.0
        Regularisation strength, ``>= 0``; positive for ``pooling="weighted"``.
    image_shape : tuple of int, default=None
        ``(height, width, channels)`` or ``(length, channels)`` of the samples, which may then be given flat.
        Unless given it is read off X; flat samples are signals of one channel.
    kernel_size : int or tuple of int, default=3
        Extent of the filters along each axis. More than the image's extent is cut to that.
    stride : int or tuple of int, default=1
        Step of the kernel along each axis.
    padding : {"valid", "zero", "circular"}, default="valid"
        "valid" visits positions inside the image only; the others continue it by zeros or periodically, so
        that with stride 1 there are as many positions as pixels.
    pooling : {"auto", "average", "max", "weighted"} or None, default="auto"
        See above. "auto" is "weighted" for linear filters and "average" otherwise. "max" is for ReLU.
    loss : {"squared_error", "huber", "absolute_error"} or Loss, default="squared_error"
        See `ConvexMLPRegressor`.
    activation : {"relu", "leaky_relu", "absolute_value", "linear"} or Activation, default="relu"
        "linear" goes with "weighted": then the program is one over the matrix ``[z_1 .. z_K]`` of ``f(x) =
        sum_k x_k . z_k + c`` with its nuclear norm, and where the kernel covers a whole image with
        ``padding="circular"`` a group lasso over frequencies.
    patterns : {"auto", "exact"}, int or PatternSet, default="auto"
        Activation patterns of the stacked patches, see `ConvexMLPRegressor`. They live in the dimension of
        the filters, which is small, so that ``"exact"`` is within reach for small kernels. It does not
        matter for "weighted" pooling, whose filters are always found by search.
    multi_output : {"shared", "separate"}, default="shared"
        As in `ConvexMLPRegressor`; with ``pooling="weighted"`` and activations that are not linear neurons
        feed one output each in any case.
    hidden_bias : {"penalized", "free", "none"}, default="penalized"
        See `ConvexMLPRegressor`; "free" is not for "max" and "weighted" pooling of non-linear filters.
    fit_intercept, solver, tol, max_iter, time_limit, warm_start, random_state, n_jobs, verbose
        As in `ConvexMLPRegressor`.

    Attributes
    ----------
    network_ : ConvNetwork
        The trained network.
    filters_ : ndarray of shape (n_neurons, ..., channels)
        The filters ``u_j``.
    image_shape_ : tuple of int
        Shape of the samples.
    coefs_, intercepts_ : list of ndarray
        Filters (h, m) and output weights (m, q), for "weighted" (m, K, q); hidden and output biases.
    gap_scope_ : {"patterns", "global"}
        "global" where `dual_objective_` bounds every network of this kind: with "exact" patterns, and always
        for one output with "weighted" pooling and for linear filters. With "weighted" pooling and more
        than 6 weights a filter the bound is a relaxation whose gap stays open; fits do not warn of that where
        searches find no filter that pays (`violation_`).
    patterns_ : PatternSet
        Of the stacked patches of the training data; with "weighted" pooling those of the filters, and none
        of linear ones.
    n_neurons_, objective_, dual_objective_, dual_gap_, violation_, result_, n_iter_, n_features_in_, \
feature_names_in_
        As in `ConvexMLPRegressor`.

    References
    ----------
    Ergen and Pilanci, "Implicit convex regularizers of CNN architectures: convex optimization of two- and
    three-layer networks in polynomial time", ICLR 2021; Pilanci and Ergen, "Neural networks are convex
    regularizers", ICML 2020, sections 4 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn import ConvexCNNRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(20, 8, 1))
    >>> y = np.maximum(X[:, 1:, 0] - X[:, :-1, 0], 0).sum(axis=1)
    >>> model = ConvexCNNRegressor(0.01, kernel_size=2, hidden_bias="none", patterns="exact").fit(X, y)
    >>> model.gap_scope_, bool(model.dual_gap_ <= 1e-4 * model.objective_), bool(model.score(X, y) > 0.99)
    ('global', True, True)
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> "ConvexCNNRegressor":
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            For ``pooling=None`` a target for each position of the kernel, (n_samples, K).
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative, not all zero; the objective sums over samples, so weights are not normalised.

        Returns
        -------
        ConvexCNNRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input or parameters that have no meaning.
        PatternBudgetError
            With ``patterns="exact"``, if too many patterns exist.

        Warns
        -----
        ConvergenceWarning
            If the gap is above `tol`; the best network found is kept.
        """
        self._fit(X, y, sample_weight)
        return self
