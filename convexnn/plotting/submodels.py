"""Combinations of sub-models as pictures: scores against their number, and the weights."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from convexnn._typing import FloatArray
from convexnn.ensembles import SubModelCurve, submodel_curve
from convexnn.exceptions import import_extra

__all__ = ["CombinationWeightsDisplay", "SubModelCurveDisplay"]


class SubModelCurveDisplay:
    """Score against the number of sub-models, with uniform and with optimised weights.

    Use :meth:`from_estimator` or :meth:`from_curve` to make one.

    Parameters
    ----------
    curve : SubModelCurve

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib Axes
    lines_ : list of matplotlib.lines.Line2D
        Scores of uniform and of optimised weights, and that of the base network where there is one.
    weights_ax_ : matplotlib Axes or None
        Second axis with the number of non-zero weights, where asked for.
    """

    figure_: Any
    ax_: Any
    lines_: list[Any]
    weights_ax_: Any

    def __init__(self, curve: SubModelCurve) -> None:
        self.curve = curve

    @classmethod
    def from_estimator(
        cls, ensemble: Any, X: Any, y: Any, *, sizes: Any = None, scoring: Any = None, **options: Any
    ) -> "SubModelCurveDisplay":
        """Compute the curve of a fitted ensemble on samples and plot it.

        Parameters
        ----------
        ensemble : DropoutEnsembleRegressor or DropoutEnsembleClassifier
            Fitted.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sizes, scoring
            Of `submodel_curve`.
        **options
            Of :meth:`plot`: ax, show_weights.

        Returns
        -------
        SubModelCurveDisplay

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        import_extra("matplotlib.pyplot", "plot", "Plotting")  # before the work
        return cls.from_curve(submodel_curve(ensemble, X, y, sizes=sizes, scoring=scoring), **options)

    @classmethod
    def from_curve(cls, curve: SubModelCurve, **options: Any) -> "SubModelCurveDisplay":
        """Plot a curve.

        Parameters
        ----------
        curve : SubModelCurve
        **options
            Of :meth:`plot`: ax, show_weights.

        Returns
        -------
        SubModelCurveDisplay

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        return cls(curve).plot(**options)

    def plot(self, *, ax: Any = None, show_weights: bool = False) -> "SubModelCurveDisplay":
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure unless given.
        show_weights : bool
            Whether to draw the number of non-zero weights on a second axis.

        Returns
        -------
        SubModelCurveDisplay
            Itself.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        pyplot = import_extra("matplotlib.pyplot", "plot", "Plotting")
        self.ax_ = pyplot.subplots(layout="constrained")[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        curve = self.curve
        self.lines_ = [
            *self.ax_.plot(curve.sizes, curve.uniform_scores, marker=".", label="uniform weights"),
            *self.ax_.plot(curve.sizes, curve.optimised_scores, marker=".", label="optimised weights"),
        ]
        if curve.base_score is not None:
            base = self.ax_.axhline(curve.base_score, color="0.5", linestyle=":", label="base network")
            self.lines_.append(base)
        self.ax_.set_xlabel("Number of sub-models")
        self.ax_.set_ylabel(f"Score ({curve.scoring})")
        self.weights_ax_ = self.ax_.twinx() if show_weights else None
        if self.weights_ax_ is not None:
            self.weights_ax_.plot(curve.sizes, curve.n_active, color="0.7", linestyle="--")
            self.weights_ax_.set_ylabel("Non-zero weights")
        self.ax_.legend()
        return self


class CombinationWeightsDisplay:
    """The weights of a combination, largest first, beside uniform ones.

    The title has the number of non-zero weights and the residual of their optimality conditions.
    Use :meth:`from_estimator` to make one.

    Parameters
    ----------
    weights : ndarray of shape (m,)
    optimality : float
        See `NonnegativeResult`.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    ax_ : matplotlib Axes
    lines_ : list of matplotlib.lines.Line2D
        The weights, and the line at ``1 / m``.
    """

    figure_: Any
    ax_: Any
    lines_: list[Any]

    def __init__(self, weights: FloatArray, *, optimality: float) -> None:
        self.weights = weights
        self.optimality = optimality

    @classmethod
    def from_estimator(cls, estimator: Any, **options: Any) -> "CombinationWeightsDisplay":
        """Plot the weights of a fitted ensemble or stacking estimator.

        Parameters
        ----------
        estimator : estimator with ``weights_`` and ``result_``
            Fitted, of :mod:`convexnn.ensembles`.
        **options
            Of :meth:`plot`: ax.

        Returns
        -------
        CombinationWeightsDisplay

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        check_is_fitted(estimator, ["weights_", "result_"])
        return cls(estimator.weights_, optimality=estimator.result_.optimality).plot(**options)

    def plot(self, *, ax: Any = None) -> "CombinationWeightsDisplay":
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure unless given.

        Returns
        -------
        CombinationWeightsDisplay
            Itself.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        pyplot = import_extra("matplotlib.pyplot", "plot", "Plotting")
        self.ax_ = pyplot.subplots(layout="constrained")[1] if ax is None else ax
        self.figure_ = self.ax_.figure
        n = len(self.weights)
        ranks = np.arange(1, n + 1)
        self.lines_ = [
            *self.ax_.plot(ranks, np.sort(self.weights)[::-1], marker=".", label="optimised"),
            self.ax_.axhline(1.0 / n, color="0.5", linestyle=":", label="uniform"),
        ]
        n_active = int(np.count_nonzero(self.weights))
        self.ax_.set_title(f"{n_active} of {n} weights are not zero, optimality {self.optimality:.1g}")
        self.ax_.set_xlabel("Rank")
        self.ax_.set_ylabel("Weight")
        self.ax_.legend()
        return self
