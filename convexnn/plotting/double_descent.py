"""Double descent as a picture; matplotlib is imported on use."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, RandomState
from convexnn.exceptions import import_extra
from convexnn.fourier import DoubleDescentCurve, double_descent_curve

__all__ = ["DoubleDescentDisplay"]

_METRICS = {"squared_error": "mean squared error", "misclassified": "misclassified"}
_AXIS_BEGINS_AT = 0.1
"""Times the least test error, of a logarithmic axis: a decade of room, as training errors go to zero."""


class DoubleDescentDisplay:
    """Training and test error against the number of random Fourier features.

    Lines are medians over the repeats, bands reach from the least to the largest. A vertical line marks as
    many features as distinct samples, where interpolation begins.

    Use :meth:`from_curve` or :meth:`from_estimator` to make one.

    Parameters
    ----------
    curve : DoubleDescentCurve

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the errors.
    norm_ax_ : matplotlib Axes or None
        With the norm of the coefficients, at the right.
    figure_ : matplotlib.figure.Figure
    lines_ : list of matplotlib.lines.Line2D
        Test error, training error and, where it is shown, norm.
    bands_ : list of matplotlib collections
        One for each line; empty for a single repeat.
    threshold_ : matplotlib.lines.Line2D
        The vertical line.
    """

    ax_: Any
    norm_ax_: Any
    figure_: Any
    lines_: list[Any]
    bands_: list[Any]
    threshold_: Any

    def __init__(self, curve: DoubleDescentCurve) -> None:
        self.curve = curve

    @classmethod
    def from_curve(cls, curve: DoubleDescentCurve, **options: Any) -> "DoubleDescentDisplay":
        """Plot a curve.

        Parameters
        ----------
        curve : DoubleDescentCurve
        **options
            Of :meth:`plot`: ax, metric, norm, yscale.

        Returns
        -------
        DoubleDescentDisplay

        Raises
        ------
        ValueError
            If the options do not fit the curve.
        MissingExtraError
            If matplotlib is not installed.
        """
        if not isinstance(curve, DoubleDescentCurve):
            raise ValueError(
                f"curve must be a DoubleDescentCurve. Got {type(curve).__name__}; "
                "make one by double_descent_curve, or use from_estimator."
            )
        return cls(curve).plot(**options)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        X_test: ArrayLike,
        y_test: ArrayLike,
        *,
        n_frequencies: ArrayLike,
        n_repeats: int = 1,
        random_state: RandomState = None,
        time_limit: float | None = None,
        verbose: int = 0,
        **options: Any,
    ) -> "DoubleDescentDisplay":
        """Compute a curve and plot it.

        Parameters
        ----------
        estimator, X, y, X_test, y_test, n_frequencies, n_repeats, random_state, time_limit, verbose
            As in `convexnn.double_descent_curve`.
        **options
            Of :meth:`plot`: ax, metric, norm, yscale.

        Returns
        -------
        DoubleDescentDisplay
            Its `curve` can be plotted again.

        Raises
        ------
        ValueError, TypeError
            For input or options that have no meaning.
        MissingExtraError
            If matplotlib is not installed.
        """
        import_extra("matplotlib.pyplot", "plot", "Plotting")  # before the work
        curve = double_descent_curve(
            estimator,
            X,
            y,
            X_test,
            y_test,
            n_frequencies=n_frequencies,
            n_repeats=n_repeats,
            random_state=random_state,
            time_limit=time_limit,
            verbose=verbose,
        )
        return cls.from_curve(curve, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        metric: str = "squared_error",
        norm: bool = False,
        yscale: str | None = None,
    ) -> "DoubleDescentDisplay":
        """Draw the curve, with a logarithmic axis of features.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure unless given.
        metric : {"squared_error", "misclassified"}
            The rate of wrong labels is there for classifiers only.
        norm : bool
            Whether to show the norm of the coefficients too, on an axis of its own.
        yscale : {"log", "linear"}, optional
            Of the errors; unless given "log" for squared errors, training errors near zero being below.

        Returns
        -------
        DoubleDescentDisplay
            Itself.

        Raises
        ------
        ValueError
            If the metric is unknown or the curve lacks it.
        MissingExtraError
            If matplotlib is not installed.
        """
        pyplot = import_extra("matplotlib.pyplot", "plot", "Plotting")
        train, test = self._figures(metric)
        scale = yscale or (_scale_for(test) if metric == "squared_error" else "linear")
        if ax is None:
            _, ax = pyplot.subplots(layout="constrained")
        self.ax_, self.figure_, self.norm_ax_ = ax, ax.figure, None
        self.lines_, self.bands_ = [], []
        self._draw(ax, test, "test", color="C0")
        self._draw(ax, train, "train", color="C1")
        self.threshold_ = ax.axvline(
            self.curve.n_samples,
            color="0.5",
            linestyle=":",
            zorder=0,
            label=f"{self.curve.n_samples} samples",
        )
        ax.set(xscale="log", yscale=scale, xlabel="number of features", ylabel=_METRICS[metric])
        if scale == "log" and test.any():
            ax.set_ylim(bottom=_AXIS_BEGINS_AT * test[test > 0].min())
        if norm:
            self.norm_ax_ = ax.twinx()
            self._draw(self.norm_ax_, self.curve.coef_norm, "norm", color="C2", linestyle="--")
            self.norm_ax_.set(yscale=_scale_for(self.curve.coef_norm), ylabel="norm of the coefficients")
        ax.legend(handles=[*self.lines_, self.threshold_])
        return self

    def _figures(self, metric: str) -> tuple[FloatArray, FloatArray]:
        """Return training and test errors, (S, R)."""
        if metric not in _METRICS:
            raise ValueError(f"metric must be one of {sorted(_METRICS)}. Got {metric!r} instead.")
        curve = self.curve
        if metric == "squared_error":
            return curve.train_error, curve.test_error
        if curve.train_misclassified is None or curve.test_misclassified is None:
            raise ValueError(
                "metric='misclassified' needs the curve of a classifier. Got that of a regressor; "
                "use metric='squared_error'."
            )
        return curve.train_misclassified, curve.test_misclassified

    def _draw(self, ax: Any, figures: FloatArray, label: str, **style: Any) -> None:
        """Draw the median over the repeats and, if there are several, a band from least to largest."""
        features = self.curve.n_features
        self.lines_ += ax.plot(features, np.median(figures, axis=1), label=label, **style)
        if figures.shape[1] > 1:
            ends = figures.min(axis=1), figures.max(axis=1)
            self.bands_.append(
                ax.fill_between(features, *ends, alpha=0.25, linewidth=0, color=style["color"])
            )


def _scale_for(figures: FloatArray) -> str:
    """Return the logarithmic scale unless all is zero."""
    return "log" if figures.any() else "linear"
