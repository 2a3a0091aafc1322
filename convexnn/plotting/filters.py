"""Filters of convolutional networks as pictures; matplotlib is imported on use."""

import math
from typing import Any

import numpy as np

from convexnn._typing import FloatArray, IntArray
from convexnn.exceptions import import_extra
from convexnn.networks import ConvNetwork
from convexnn.networks.neurons import layer_norms

__all__ = ["FilterDisplay"]

_INCHES_PER_FILTER = 1.6
"""Side of its square in a new figure: eight in a row are a wide screen, and titles are legible."""
_INCHES_OF_TITLE = 0.2


class FilterDisplay:
    """The filters of a convolutional network in a grid, those that contribute most first.

    A filter's contribution is ``|u_j| |a_j|``, its share of the regulariser when balanced. The title of each
    is the sign of its output weights (``±`` where they have both) and its contribution, and, where it feeds
    one of several outputs only, which one. Filters of signals are drawn as curves, one per channel; those of
    images with one channel in grey, with three in colour, zero being mid-grey.

    Use :meth:`from_estimator` or :meth:`from_network` to make one.

    Parameters
    ----------
    filters : ndarray of shape (n_neurons, ..., channels)
    output_weights : ndarray of shape (n_neurons, ..., n_outputs)
    contributions : ndarray of shape (n_neurons,)
    output_names : sequence of str, optional
        One per output; "output 1" and so on unless given.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
    axes_ : ndarray of matplotlib Axes
        One per filter that is shown, in order.
    images_ : list of matplotlib.image.AxesImage
        One per filter that is shown; empty for signals.
    lines_ : list of list of matplotlib.lines.Line2D
        The curves of each filter that is shown; empty for images.
    order_ : ndarray of int
        Neurons that are shown, in order.
    """

    figure_: Any
    axes_: Any
    images_: list[Any]
    lines_: list[list[Any]]
    order_: IntArray

    def __init__(
        self,
        filters: FloatArray,
        *,
        output_weights: FloatArray,
        contributions: FloatArray,
        output_names: tuple[str, ...] | None = None,
    ) -> None:
        self.filters = filters
        self.output_weights = output_weights
        self.contributions = contributions
        self.output_names = output_names

    @classmethod
    def from_estimator(cls, estimator: Any, **options: Any) -> "FilterDisplay":
        """Plot the filters of a fitted convolutional estimator.

        Parameters
        ----------
        estimator : ConvexCNNRegressor or ConvexCNNClassifier
            Fitted.
        **options
            Of :meth:`plot`: ax, n_filters, n_columns, channel, cmap.

        Returns
        -------
        FilterDisplay

        Raises
        ------
        ValueError
            If the estimator has no filters.
        MissingExtraError
            If matplotlib is not installed.
        """
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(estimator)
        return cls.from_network(getattr(estimator, "network_", estimator), **options)

    @classmethod
    def from_network(cls, network: ConvNetwork, **options: Any) -> "FilterDisplay":
        """Plot the filters of a network.

        Parameters
        ----------
        network : ConvNetwork
        **options
            Of :meth:`plot`: ax, n_filters, n_columns, channel, cmap.

        Returns
        -------
        FilterDisplay

        Raises
        ------
        ValueError
            If `network` is not convolutional, or has no filters.
        MissingExtraError
            If matplotlib is not installed.
        """
        if not isinstance(network, ConvNetwork):
            raise ValueError(
                f"Filters are those of convolutional networks. Got {type(network).__name__}; "
                "fit a ConvexCNNRegressor or ConvexCNNClassifier."
            )
        inner, outer = layer_norms(network)
        names = None
        if network.classes is not None and network.n_outputs > 1:
            names = tuple(f"class {label}" for label in network.classes)
        display = cls(
            network.filters,
            output_weights=network.output_weights,
            contributions=inner * outer,
            output_names=names,
        )
        return display.plot(**options)

    def plot(
        self,
        *,
        ax: Any = None,
        n_filters: int | None = None,
        n_columns: int = 8,
        channel: int | None = None,
        cmap: str = "gray",
    ) -> "FilterDisplay":
        """Draw the filters.

        Every filter has a scale of its own, from ``-m`` to ``m`` with m its largest absolute entry.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, optional
            One is divided into a grid; several are filled in their order. A new figure unless given.
        n_filters : int, optional
            How many to show; all unless given.
        n_columns : int
            Of the grid.
        channel : int, optional
            The one to show; all unless given. Images with neither one nor three channels need it.
        cmap : str
            Colour map of images with one channel.

        Returns
        -------
        FilterDisplay
            Itself.

        Raises
        ------
        ValueError
            If there is nothing to show, or options do not fit the filters.
        MissingExtraError
            If matplotlib is not installed.
        """
        pyplot = import_extra("matplotlib.pyplot", "plot", "Plotting")
        filters = self._channels(channel)
        is_signal = filters.ndim == 3
        shown = np.argsort(-self.contributions, kind="stable")[: _count(n_filters, len(filters))]
        self.order_ = shown
        self.axes_ = _grid(pyplot, ax, len(shown), n_columns)
        self.figure_ = self.axes_[0].figure
        self.images_, self.lines_ = [], []
        for axes, j in zip(self.axes_, shown, strict=True):
            axes.set_title(self._title(j), fontsize="small")
            if is_signal:
                self.lines_.append(_draw_curves(axes, filters[j]))
            else:
                self.images_.append(_draw_image(axes, filters[j], cmap))
        return self

    def _channels(self, channel: int | None) -> FloatArray:
        """Return the filters with the channels to show."""
        n_channels = self.filters.shape[-1]
        is_signal = self.filters.ndim == 3
        if channel is None and (is_signal or n_channels in (1, 3)):
            return self.filters
        if channel is None or not 0 <= channel < n_channels:
            raise ValueError(
                f"channel must be one of 0 .. {n_channels - 1} (images with other than one or three channels "
                f"have no colours). Got {channel!r}."
            )
        return self.filters[..., [channel]]

    def _title(self, j: int) -> str:
        """Return sign and size of a neuron's contribution, and the output it feeds where that is one."""
        weights = self.output_weights[j].reshape(-1, self.output_weights.shape[-1])
        signs = {(False, False): "0", (True, False): "+", (False, True): "-", (True, True): "±"}
        sign = signs[bool((weights > 0).any()), bool((weights < 0).any())]
        title = f"{sign} {self.contributions[j]:.2g}"
        fed = np.flatnonzero(weights.any(axis=0))
        if weights.shape[1] == 1 or len(fed) != 1:
            return title
        names = self.output_names
        return f"{title}, {f'output {fed[0] + 1}' if names is None else names[fed[0]]}"


def _count(n_filters: int | None, available: int) -> int:
    """Return how many filters to show, at least one."""
    if available == 0:
        raise ValueError("The network has no filters to show. Fit with a smaller alpha.")
    if n_filters is None:
        return available
    if n_filters < 1:
        raise ValueError(f"n_filters must be at least 1. Got {n_filters}.")
    return min(n_filters, available)


def _grid(pyplot: Any, ax: Any, n: int, n_columns: int) -> Any:
    """Return an array of n Axes, given, out of the place of a given one, or of a new figure."""
    if n_columns < 1:
        raise ValueError(f"n_columns must be at least 1. Got {n_columns}.")
    given = np.asarray(ax, dtype=object)
    if given.ndim > 0:
        if given.size < n:
            raise ValueError(f"ax must hold one Axes per filter, {n}. Got {given.size}; set n_filters.")
        return given.ravel()[:n]
    columns = min(n, n_columns)
    rows = math.ceil(n / columns)
    if ax is None:
        size = (_INCHES_PER_FILTER * columns, (_INCHES_PER_FILTER + _INCHES_OF_TITLE) * rows)
        figure = pyplot.figure(figsize=size, layout="constrained")
        cells = figure.add_gridspec(rows, columns)
    else:
        figure, place = ax.figure, ax.get_subplotspec()
        if place is None:
            raise ValueError(
                "ax must be part of a grid, as pyplot.subplots makes them. Got one placed by hand."
            )
        ax.set_axis_off()
        cells = place.subgridspec(rows, columns, hspace=0.5, wspace=0.3)
    return np.array([figure.add_subplot(cells[k // columns, k % columns]) for k in range(n)], dtype=object)


def _draw_image(axes: Any, kernel: FloatArray, cmap: str) -> Any:
    """Draw a filter of shape (height, width, 1 or 3), zero in the middle of the scale."""
    limit = float(np.abs(kernel).max()) or 1.0
    axes.set_xticks([])
    axes.set_yticks([])
    if kernel.shape[-1] == 3:
        return axes.imshow(0.5 + 0.5 * kernel / limit)
    return axes.imshow(kernel[..., 0], cmap=cmap, vmin=-limit, vmax=limit)


def _draw_curves(axes: Any, kernel: FloatArray) -> list[Any]:
    """Draw a filter of shape (length, channels), zero in the middle."""
    limit = 1.1 * float(np.abs(kernel).max()) or 1.0
    axes.axhline(0.0, color="0.8", linewidth=0.8)
    axes.set_ylim(-limit, limit)
    axes.set_xticks([])
    axes.tick_params(labelsize="x-small")
    return list(axes.plot(np.arange(len(kernel)), kernel, marker=".", markersize=3))
