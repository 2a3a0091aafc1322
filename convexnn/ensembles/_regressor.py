"""`DropoutEnsembleRegressor`."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin

from convexnn._typing import FloatArray, IntArray
from convexnn.ensembles._base import DEFAULT_BASE, BaseDropoutEnsemble, checked_inputs
from convexnn.ensembles.bases import Fit, fit_base, fit_standardised

__all__ = ["DropoutEnsembleRegressor"]


class DropoutEnsembleRegressor(RegressorMixin, BaseDropoutEnsemble):
    """Sub-models of a regressor by dropout, combined with weights from a convex program.

    A network holds many sub-models that share weights, one for each set of hidden units that dropout keeps,
    and dropout predicts with an approximation of their mean. Here `n_submodels` of them are drawn, and their
    weights minimise, with the predictions ``f_j``::

        sum_i s_i |sum_j w_j f_j(x_i) - y_i|^2 + ridge |w|^2    over w >= 0 [and sum_j w_j = 1]

    over samples that the base was not trained on. With several outputs each sub-model has one weight for all.

    Parameters
    ----------
    estimator : None, estimator or torch.nn.Module, default=None
        The base. None: scikit-learn's MLPRegressor with 200 hidden units, trained without dropout on
        targets of mean 0 and standard deviation 1. An estimator in scikit-learn's manner: see `drop`; a
        `sklearn.frozen.FrozenEstimator` is taken as fitted. A PyTorch module with dropout layers: it is taken
        as trained (with dropout, if that is wanted), and each sub-model is one mask of each dropout layer
        with the layer's own ``p`` (`dropout` does not matter); the module is not copied, runs in evaluation
        mode, and gives outputs of shape (n_samples,) or (n_samples, n_outputs). What is frozen or a module is
        not trained here: all samples given to `fit` choose the weights, so give it samples not seen before.
    n_submodels : int, default=50
        Number of sub-models, the columns of the program.
    dropout : float, default=0.5
        Probability of dropping a hidden unit or an input, in [0, 1).
    drop : {"auto", "hidden", "inputs"}, default="auto"
        "hidden": the base is trained once, and each sub-model keeps a random subset of its hidden units,
        scaled by ``1 / (1 - dropout)``; for scikit-learn's MLPRegressor and this package's networks with one
        dense hidden layer. "inputs": each sub-model is a base trained on inputs of which a random subset, the
        same for all samples, is set to zero, as dropout does; a frozen one only predicts on them. At least
        one input is kept. Centre the inputs, so that zero means little. "auto": "hidden" where the fitted
        base has readable layers, else "inputs".
    validation_fraction : float or None, default=0.2
        Share of the distinct samples that is set aside to choose the weights, by scikit-learn's
        `train_test_split`. None: the weights are chosen on the samples that trained the base, and mostly fit
        them too well.
    ridge : float, default=0.0
        Penalty of ``|w|^2``, ``>= 0``. As the sum over samples is no mean, scale it with their number.
    sum_to_one : bool, default=False
        Whether the weights shall sum to one.
    solver : {"auto", "nnls"}, default="auto"
        Solver of the program, see `convexnn_solvers.solve_nonnegative`.
    tol : float, default=1e-8
        Wanted optimality residual of the weights; see `convexnn_solvers.NonnegativeResult`.
    max_iter : int, default=None
        Iteration limit of the solver; None leaves its own.
    time_limit : float, default=None
        Seconds, of which a tenth is kept for the weights; None means no limit. Estimators with a parameter of
        this name are told; scikit-learn's networks (trained by Adam, without early stopping) end within a
        pass over the data; no further sub-models are trained after it. One sub-model is always trained, and
        weights are always chosen.
    random_state : int, RandomState, Generator or None, default=None
        For the split, the masks, and random states of the base that are None.
    n_jobs : int, default=None
        Number of bases trained at the same time, with "inputs".
    verbose : int, default=0
        1 prints progress, 2 also the solver's own log.

    Attributes
    ----------
    weights_ : ndarray of shape (n_submodels,)
        Non-negative. Fewer than `n_submodels` where training ended early.
    submodels_ : object
        The sub-models: ``len(submodels_)`` and ``submodels_.outputs(X)``.
    estimator_ : object
        The fitted base, or the module; None where every sub-model was trained anew. A default base predicts
        in the units of y; its losses and `alpha` are those of the standardised targets.
    objective_ : float
        The minimum.
    uniform_objective_ : float
        The same function at equal weights that sum to one; never below `objective_`.
    n_active_ : int
        Number of weights that are not zero.
    program_ : NonnegativeProgram
        The program, reduced to at most ``n_submodels + 1`` rows with the same objective.
    result_ : NonnegativeResult
        The solver's answer, with its optimality residuals.
    validation_indices_ : ndarray of int
        The samples given to `fit` that chose the weights.
    n_iter_ : int
        Iterations of the solver, at least 1.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent neural
    networks from overfitting", JMLR 15 (2014). Breiman, "Stacked regressions", Machine Learning 24 (1996).

    Examples
    --------
    >>> import numpy as np
    >>> from convexnn.ensembles import DropoutEnsembleRegressor
    >>> from sklearn.linear_model import Ridge
    >>> X = np.random.default_rng(0).normal(size=(200, 8))
    >>> y = X @ np.arange(8)
    >>> model = DropoutEnsembleRegressor(Ridge(), n_submodels=30, random_state=0).fit(X, y)
    >>> model.objective_ < 0.1 * model.uniform_objective_
    True
    """

    def _default_base(self) -> Any:
        from sklearn.neural_network import MLPRegressor

        return MLPRegressor(**DEFAULT_BASE)

    def _fitting(self) -> Fit:
        return fit_standardised if self.estimator is None else fit_base

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[NDArray[Any], FloatArray]:
        inputs, y = checked_inputs(self, X, y=y, multi_output=True, y_numeric=True)
        targets = np.asarray(y, dtype=np.float64)
        self._single_output = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self._n_outputs = targets.shape[1]
        return inputs, targets

    def _check_weighted(self, targets: FloatArray) -> None:
        pass

    def _labels(self, targets: FloatArray) -> NDArray[Any]:
        return targets[:, 0] if self._single_output else targets

    def _strata(self, targets: FloatArray) -> IntArray:
        return np.zeros(len(targets), dtype=np.intp)

    def _wanted(self, targets: FloatArray) -> FloatArray:
        return targets

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> "DropoutEnsembleRegressor":
        """Train the base, draw sub-models and choose their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More axes for a PyTorch module that wants them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative, not all zero. A base that is trained here must take weights too; equal
            samples are then merged.

        Returns
        -------
        DropoutEnsembleRegressor
            Itself.

        Raises
        ------
        ValueError, TypeError
            For input, a base or parameters that have no meaning.

        Warns
        -----
        ConvergenceWarning
            If fewer sub-models were trained than asked for, or the optimality residual of the weights is
            above `tol`; the best weights found are kept.
        """
        self._fit(X, y, sample_weight)
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Predict targets: the weighted sum of the sub-models' predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the shape that ``y`` had in `fit`.
        """
        inputs = self._inputs(X)
        return self._labels(self._combined(inputs, self.weights_))

    def submodel_predictions(self, X: ArrayLike) -> FloatArray:
        """Predict with each sub-model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_submodels, n_samples) or (n_submodels, n_samples, n_outputs)
        """
        predictions = self._predictions(X)
        return predictions[:, :, 0] if self._single_output else predictions

    def __sklearn_tags__(self) -> Any:
        """Several outputs are accepted."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
