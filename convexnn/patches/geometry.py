"""Patches that a kernel visits in signals and images, read by strides and copied at most once."""

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray

__all__ = ["Padding", "PatchGeometry"]

Padding: TypeAlias = Literal["valid", "zero", "circular"]

_CHUNK_ENTRIES = 8_000_000
"""Numbers that the stacked patches of one chunk of samples may hold: 64 MB."""


@dataclass(frozen=True)
class PatchGeometry:
    """The positions of a kernel on images of one shape, ``x_k`` in ``R^h`` for ``k = 1 .. K``.

    Images have channels last, as (n_samples, height, width, channels) or (n_samples, length, channels).
    Positions are ordered as the axes of the image are, the last one fastest, and so are the entries of a
    patch: (kernel axes ..., channel). Sizes of a constructor call are complete; :meth:`of` fills them in.

    Parameters
    ----------
    image_shape : tuple of int
        ``(height, width, channels)`` or ``(length, channels)``.
    kernel_size : tuple of int
        One extent per axis of the image, at most that of the image.
    stride : tuple of int
        One step per axis of the image.
    padding : {"valid", "zero", "circular"}
        "valid" visits positions inside the image only. The others extend every axis by ``kernel - 1``
        entries, ``(kernel - 1) // 2`` of them in front (as PyTorch's ``padding="same"``), by zeros or
        periodically, so that stride 1 gives as many positions as there are pixels.

    Raises
    ------
    ValueError
        If sizes are not positive integers, do not match in number, or exceed the image.
    """

    image_shape: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding

    def __post_init__(self) -> None:
        """Turn sizes into tuples of int and validate them."""
        image = _sizes("image_shape", self.image_shape)
        if len(image) not in (2, 3):
            raise ValueError(
                "image_shape must be (height, width, channels) or (length, channels). "
                f"Got {self.image_shape!r}; give one channel as 1."
            )
        kernel = _sizes("kernel_size", self.kernel_size, len(image) - 1)
        if any(k > size for k, size in zip(kernel, image, strict=False)):
            raise ValueError(
                f"kernel_size must not exceed the image's {image[:-1]}. Got {kernel}; "
                "PatchGeometry.of cuts it to that."
            )
        if self.padding not in get_args(Padding):
            raise ValueError(
                f"padding must be one of {list(get_args(Padding))}. Got {self.padding!r} instead."
            )
        object.__setattr__(self, "image_shape", image)
        object.__setattr__(self, "kernel_size", kernel)
        object.__setattr__(self, "stride", _sizes("stride", self.stride, len(image) - 1))

    @classmethod
    def of(
        cls,
        image_shape: tuple[int, ...],
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: Padding = "valid",
    ) -> "PatchGeometry":
        """Return the geometry of options as users give them.

        Parameters
        ----------
        image_shape : tuple of int
            ``(height, width, channels)`` or ``(length, channels)``.
        kernel_size : int or tuple of int
            One extent for all axes, or one each. Extents larger than the image's are cut to these.
        stride : int or tuple of int
            One step for all axes, or one each.
        padding : {"valid", "zero", "circular"}
            See the class.

        Returns
        -------
        PatchGeometry

        Raises
        ------
        ValueError
            If sizes are not positive integers or do not match in number.
        """
        image = _sizes("image_shape", image_shape)
        n_axes = max(len(image) - 1, 1)
        kernel = _sizes("kernel_size", kernel_size, n_axes)
        cut = tuple(min(k, size) for k, size in zip(kernel, image, strict=False))
        return cls(image, cut, _sizes("stride", stride, n_axes), padding)

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Entries that padding adds in front and at the end of each axis of the image."""
        if self.padding == "valid":
            return ((0, 0),) * len(self.kernel_size)
        return tuple(((k - 1) // 2, k // 2) for k in self.kernel_size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Number of positions per axis of the image."""
        return tuple(
            (size + sum(margin) - k) // step + 1
            for size, margin, k, step in zip(
                self.image_shape[:-1], self.margins, self.kernel_size, self.stride, strict=True
            )
        )

    @property
    def n_positions(self) -> int:
        """Number ``K`` of positions."""
        return math.prod(self.output_shape)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.image_shape[-1]

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Shape (kernel axes ..., channels) of one patch."""
        return (*self.kernel_size, self.n_channels)

    @property
    def patch_size(self) -> int:
        """Number ``h`` of entries of one patch."""
        return math.prod(self.patch_shape)

    @property
    def n_features(self) -> int:
        """Number of entries of one image."""
        return math.prod(self.image_shape)

    def images(self, X: ArrayLike) -> FloatArray:
        """Return samples as images.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)
            Flat samples are images raveled in C order.

        Returns
        -------
        ndarray of shape (n_samples, ...), float64
            A view where X is a float64 array whose memory allows it.

        Raises
        ------
        ValueError
            If X has another shape.
        """
        array = np.asarray(X, dtype=np.float64)
        if array.ndim > 1 and array.shape[1:] in (self.image_shape, (self.n_features,)):
            return array.reshape(len(array), *self.image_shape)
        wanted = ", ".join(map(str, self.image_shape))
        hint = "reshape X or choose another image_shape"
        if self.n_channels == 1 and array.shape[1:] == self.image_shape[:-1]:
            hint = "give the one channel an axis of its own, X[..., None]"
        raise ValueError(
            f"X must have shape (n_samples, {wanted}) or (n_samples, {self.n_features}). "
            f"Got {array.shape} instead; {hint}."
        )

    def channels_first(self, X: ArrayLike) -> FloatArray:
        """Return images in PyTorch's order of axes, (n_samples, channels, height, width).

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, channels, ...), float64
        """
        return np.ascontiguousarray(np.moveaxis(self.images(X), -1, 1))

    def view(self, X: ArrayLike) -> FloatArray:
        """Return the patches without copying them.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, positions ..., kernel axes ..., channels), float64
            Read-only, and overlapping in memory. Only padding copies the images.
        """
        images = self.images(X)
        axes = tuple(range(1, 1 + len(self.kernel_size)))
        if any(map(any, self.margins)):
            mode: Literal["constant", "wrap"] = "constant" if self.padding == "zero" else "wrap"
            images = np.pad(images, ((0, 0), *self.margins, (0, 0)), mode=mode)
        windows = sliding_window_view(images, self.kernel_size, axis=axes)
        steps = tuple(slice(None, None, step) for step in self.stride)
        return np.moveaxis(windows[(slice(None), *steps)], 1 + len(axes), -1)

    def rows(self, X: ArrayLike, *, bias: bool = False) -> FloatArray:
        """Return all patches stacked, sample by sample: row ``i * K + k`` is patch k of sample i.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)
        bias : bool
            Whether to append a column of ones.

        Returns
        -------
        ndarray of shape (n_samples * K, h) or, with a bias, (n_samples * K, h + 1), float64
            New, C-contiguous.
        """
        patches = self.view(X)
        stacked = np.empty((len(patches), *self.output_shape, self.patch_size + bias))
        # An axis can always be split in place, so that this writes to `stacked` itself.
        stacked[..., : self.patch_size].reshape(patches.shape)[...] = patches
        if bias:
            stacked[..., -1] = 1.0
        return stacked.reshape(len(patches) * self.n_positions, self.patch_size + bias)

    def chunks(self, n_samples: int, n_neurons: int = 0) -> Iterator[slice]:
        """Yield consecutive slices of samples whose stacked patches take at most some 64 MB.

        Parameters
        ----------
        n_samples : int
        n_neurons : int
            Values that are held per patch beside the patch itself.

        Yields
        ------
        slice
            Of at least one sample each; together they are all samples.
        """
        size = max(1, _CHUNK_ENTRIES // (self.n_positions * (self.patch_size + n_neurons)))
        for start in range(0, n_samples, size):
            yield slice(start, min(start + size, n_samples))


def _sizes(name: str, value: int | tuple[int, ...], n_axes: int | None = None) -> tuple[int, ...]:
    """Return `value` as a tuple of positive ints, repeated for all axes where it is one number."""
    try:
        sizes = tuple(operator.index(entry) for entry in np.atleast_1d(np.asarray(value)))
    except TypeError:
        sizes = ()
    if n_axes is not None and np.ndim(value) == 0:
        sizes = sizes * n_axes
    if not sizes or min(sizes) < 1 or n_axes not in (None, len(sizes)):
        wanted = "positive integers" if n_axes is None else f"an integer >= 1, or {n_axes} of them"
        raise ValueError(f"{name} must be {wanted}. Got {value!r} instead.")
    return sizes
