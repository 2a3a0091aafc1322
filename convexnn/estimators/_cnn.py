"""What the convolutional estimators share: images in, a convolutional network with its gap out."""

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from convexnn._typing import FloatArray, HiddenBias, MultiOutput, RandomState
from convexnn.activations import LINEAR, Activation, get_activation
from convexnn.estimators._base import BaseConvexMLP
from convexnn.losses import Loss
from convexnn.networks import ConvNetwork, Pooling
from convexnn.patches import Padding, PatchGeometry
from convexnn.patterns import PatternSet
from convexnn.problem import NetworkKind
from convexnn.training import Fit, check_kind

__all__ = ["BaseConvexCNN"]


class BaseConvexCNN(BaseConvexMLP):
    """Fit of a two-layer convolutional network through its convex program; see the public subclasses."""

    network_: ConvNetwork
    filters_: FloatArray
    image_shape_: tuple[int, ...]

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        image_shape: tuple[int, ...] | None = None,
        kernel_size: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: Padding = "valid",
        pooling: Pooling | str = "auto",
        loss: str | Loss = "squared_error",
        activation: str | Activation = "relu",
        patterns: str | int | PatternSet = "auto",
        multi_output: MultiOutput = "shared",
        hidden_bias: HiddenBias = "penalized",
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int | None = None,
        time_limit: float | None = None,
        warm_start: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            alpha,
            loss=loss,
            activation=activation,
            patterns=patterns,
            multi_output=multi_output,
            hidden_bias=hidden_bias,
            fit_intercept=fit_intercept,
            solver=solver,
            tol=tol,
            max_iter=max_iter,
            time_limit=time_limit,
            warm_start=warm_start,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.image_shape = image_shape
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.pooling = pooling

    def _activation(self) -> Activation:
        return LINEAR if self.activation == "linear" else get_activation(self.activation)

    def _pooling(self) -> Pooling:
        if self.pooling == "auto":
            return "weighted" if self._activation().name == "linear" else "average"
        if self.pooling not in ("average", "max", "weighted", None):
            raise ValueError(
                f"pooling must be 'auto', 'average', 'max', 'weighted' or None. Got {self.pooling!r} instead."
            )
        return cast(Pooling, self.pooling)

    def _geometry(self) -> PatchGeometry:
        return PatchGeometry.of(self.image_shape_, self.kernel_size, self.stride, self.padding)

    def _kind(self) -> NetworkKind:
        return NetworkKind(
            self._activation(),
            self.hidden_bias,
            self.fit_intercept,
            self._geometry(),
            self._pooling(),
            self.multi_output,
        )

    def _flat(self, X: Any, image_shape: tuple[int, ...] | None) -> tuple[Any, tuple[int, ...] | None]:
        """Return samples with one axis for the pixels, as they were given otherwise, and their shape."""
        images = X if hasattr(X, "shape") else np.asarray(X)
        if len(images.shape) <= 2:
            if image_shape is None and len(images.shape) == 2:
                image_shape = (int(images.shape[1]), 1)
            return images, image_shape
        shape = tuple(int(size) for size in images.shape[1:])
        if image_shape is not None and shape != image_shape:
            hint = "give a single channel an axis of its own, X[..., None], or choose another image_shape"
            raise ValueError(
                f"X must have shape (n_samples, {', '.join(map(str, image_shape))}) or be flat. "
                f"Got {tuple(images.shape)}; {hint}."
            )
        return np.asarray(images).reshape(len(images), int(np.prod(shape))), shape

    def _validated_samples(self, X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, NDArray[Any]]:
        """Check images and targets and remember the shape of the images."""
        wanted = None if self.image_shape is None else tuple(self.image_shape)
        flat, shape = self._flat(X, wanted)
        samples, targets = super()._validated_samples(flat, y)
        self.image_shape_ = self._checked_shape(shape, samples)
        return samples, targets

    def _set_fitted(self, fit: Fit) -> None:
        super()._set_fitted(fit)
        self.filters_ = self.network_.filters

    def _checked_shape(self, shape: tuple[int, ...] | None, samples: FloatArray) -> tuple[int, ...]:
        """Return the shape of the images, after checking that the samples are of it."""
        n_features = samples.shape[1]
        if shape is None or int(np.prod(shape)) != n_features:
            raise ValueError(
                f"image_shape must be (height, width, channels) or (length, channels) with {n_features} "
                f"entries in all, as X has columns. Got {shape!r}."
            )
        return shape

    def _check_options(self, loss: Loss) -> None:
        super()._check_options(loss)
        check_kind(self._kind())

    def _separate_rows(self, y: NDArray[Any], weight: FloatArray) -> tuple[NDArray[Any], FloatArray]:
        """Return targets and weights of all positions one below another, where each has its own target."""
        if self._pooling() is not None:
            return y, weight
        n_positions = self._geometry().n_positions
        if y.size != len(weight) * n_positions:
            raise ValueError(
                "pooling=None needs a target for each position of the kernel, y of shape (n_samples, "
                f"{n_positions}). Got {y.shape}."
            )
        return y.reshape(-1), np.repeat(weight, n_positions)

    def _outputs(self, X: Any) -> FloatArray:
        """Raw outputs, shape (n_samples, q), or (n_samples, K, q) without pooling, for new data."""
        check_is_fitted(self)
        flat, _ = self._flat(X, self.image_shape_)
        samples = validate_data(self, flat, dtype=np.float64, reset=False)
        return self.network_.outputs(samples)
