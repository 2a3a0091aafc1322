"""Two-layer convolutional networks as immutable values."""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from convexnn._typing import FloatArray, HiddenBias
from convexnn.activations import ACTIVATIONS, Activation
from convexnn.networks import conv_torch_conversion
from convexnn.networks._base import BaseNetwork
from convexnn.networks._validation import check_images
from convexnn.networks.network import TwoLayerNetwork
from convexnn.patches import PatchGeometry

__all__ = ["ConvNetwork", "Pooling"]

Pooling: TypeAlias = Literal["average", "max", "weighted"] | None

_POOLINGS = (*get_args(get_args(Pooling)[0]), None)


@dataclass(frozen=True, eq=False, repr=False)
class ConvNetwork(BaseNetwork):
    """A two-layer network whose neurons are filters, applied to every patch ``x_k`` of an image.

    With the patches ``k = 1 .. K`` of :class:`convexnn.patches.PatchGeometry` its outputs are::

        pooling="average":   f(x)   = sum_j a_j sum_k phi(u_j . x_k + b_j) + c
        pooling="max":       f(x)   = sum_j a_j max_k phi(u_j . x_k + b_j) + c
        pooling="weighted":  f(x)   = sum_j sum_k a_jk phi(u_j . x_k + b_j) + c
        pooling=None:        f(x)_k = sum_j a_j phi(u_j . x_k + b_j) + c        (one at each position)

    "average" *sums* over patches: means are the same family of functions, and their problem with alpha is
    this one with ``K * alpha`` (see :meth:`from_torch`). The training objective is a sum over samples (and
    positions, where there are outputs at each), not a mean::

        F = sum_i s_i loss(f(x_i), y_i) + (alpha / 2) * sum_j (|u_j|^2 + [b_j^2] + |a_j|^2)

    with ``b_j^2`` counted when `hidden_bias` is "penalized" only; the output biases ``c`` never are.
    Arrays are copied to float64 and cannot be written to; networks compare and hash by content, and pickle.

    Parameters
    ----------
    geometry : PatchGeometry
        Shape of the images and positions of the patches.
    hidden_weights : array-like of shape (h, n_neurons)
        Column j is the filter ``u_j``, its entries ordered (kernel axes ..., channel).
    hidden_biases : array-like of shape (n_neurons,)
        ``b_j``.
    output_weights : array-like of shape (n_neurons, n_outputs), or (n_neurons, K, n_outputs) if "weighted"
        ``a_j``.
    output_biases : array-like of shape (n_outputs,)
        ``c``.
    pooling : {"average", "max", "weighted"} or None
    activation : Activation
        ``phi``; ReLU only where pooling is "max", and never gated. :data:`convexnn.activations.LINEAR` gives
        linear networks.
    hidden_bias : {"penalized", "free", "none"}
        How the objective counts hidden biases; "none" asks for all of them to be zero.
    classes : tuple, optional
        Sorted class labels of a classifier: two of them with one output (positive means the second),
        otherwise one per output.

    Raises
    ------
    ValueError
        If shapes do not match, entries are not finite, or options contradict one another.

    References
    ----------
    Ergen and Pilanci, "Implicit convex regularizers of CNN architectures: convex optimization of two- and
    three-layer networks in polynomial time", ICLR 2021.
    """

    geometry: PatchGeometry
    hidden_weights: FloatArray
    hidden_biases: FloatArray
    output_weights: FloatArray
    output_biases: FloatArray
    pooling: Pooling = "average"
    activation: Activation = ACTIVATIONS["relu"]
    hidden_bias: HiddenBias = "penalized"
    classes: tuple[Hashable, ...] | None = None

    def _check_shapes(self) -> None:
        """Raise ValueError unless the arrays fit the geometry and one another."""
        if self.pooling not in _POOLINGS:
            raise ValueError(f"pooling must be one of {list(_POOLINGS)}. Got {self.pooling!r} instead.")
        positions = (self.geometry.n_positions,) if self.pooling == "weighted" else ()
        if self.hidden_weights.ndim != 2 or self.output_weights.ndim != 2 + len(positions):
            axes = ", ".join(["n_neurons", *(["n_positions"] if positions else []), "n_outputs"])
            raise ValueError(
                f"hidden_weights must be (patch_size, n_neurons) and, with pooling={self.pooling!r}, "
                f"output_weights ({axes}). Got shapes {self.hidden_weights.shape} and "
                f"{self.output_weights.shape} instead."
            )
        self._check_shape("hidden_weights", (self.geometry.patch_size, self.n_neurons))
        self._check_shape("hidden_biases", (self.n_neurons,))
        self._check_shape("output_weights", (self.n_neurons, *positions, self.n_outputs))
        self._check_shape("output_biases", (self.n_outputs,))
        if self.n_outputs == 0:
            raise ValueError("A network needs at least one output. Got output_weights with none.")

    def _check_options(self) -> None:
        """Raise ValueError if options contradict one another."""
        super()._check_options()
        if self.pooling == "max" and (self.activation.on, self.activation.off) != (1.0, 0.0):
            raise ValueError(
                "pooling='max' is for the activation 'relu'. "
                f"Got {self.activation.name!r}; choose another pooling for it."
            )

    def _description(self) -> dict[str, object]:
        """Return what `repr` shows."""
        shown = {"image_shape": self.geometry.image_shape, "kernel_size": self.geometry.kernel_size}
        sizes = {k: v for k, v in super()._description().items() if k != "n_features"}
        return {**shown, "pooling": self.pooling, **sizes}

    @property
    def n_features(self) -> int:
        """Number of entries of an image."""
        return self.geometry.n_features

    @property
    def filters(self) -> FloatArray:
        """The filters ``u_j`` as small images, shape (n_neurons, ..., channels)."""
        return self.hidden_weights.T.reshape(self.n_neurons, *self.geometry.patch_shape)

    def _checked(self, X: ArrayLike) -> FloatArray:
        """Return `X` as finite images."""
        return check_images(X, self.geometry)

    def _layers(self, images: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        """Yield hidden layers of chunks of samples, shape (samples, K, m), pooled (samples, m)."""
        K, m = self.geometry.n_positions, self.n_neurons
        for chunk in self.geometry.chunks(len(images), m):
            products = self.geometry.rows(images[chunk]) @ self.hidden_weights
            products += self.hidden_biases
            products = products.reshape(chunk.stop - chunk.start, K, m)
            if self.pooling == "max":
                # ReLU is monotone, so that it may follow the maximum.
                yield chunk, self.activation(products.max(axis=1))
            else:
                layer = self.activation(products)
                yield chunk, layer.sum(axis=1) if self.pooling == "average" else layer

    def hidden(self, X: ArrayLike) -> FloatArray:
        """Return the hidden layer, pooled where the output weights are the same for all positions.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_neurons) for "average" and "max", otherwise (n_samples, K, n_neurons)

        Raises
        ------
        ValueError
            If X is not finite or has another shape.
        """
        images = self._checked(X)
        positions = () if self.pooling in ("average", "max") else (self.geometry.n_positions,)
        layers = np.empty((len(images), *positions, self.n_neurons))
        for chunk, layer in self._layers(images):
            layers[chunk] = layer
        return layers

    def outputs(self, X: ArrayLike) -> FloatArray:
        """Return ``f(X)``, of shape (n_samples, n_outputs), without pooling (n_samples, K, n_outputs).

        Parameters
        ----------
        X : array-like of shape (n_samples, ...) or (n_samples, n_features)
            Predictions run in chunks of samples, so that the patches of all need not fit in memory.

        Returns
        -------
        ndarray
        """
        images = self._checked(X)
        positions = (self.geometry.n_positions,) if self.pooling is None else ()
        outputs = np.empty((len(images), *positions, self.n_outputs))
        weights = self.output_weights
        if self.pooling == "weighted":
            weights = weights.transpose(1, 0, 2).reshape(-1, self.n_outputs)
        for chunk, layer in self._layers(images):
            flat = layer.reshape(len(layer), len(weights)) if self.pooling == "weighted" else layer
            outputs[chunk] = flat @ weights + self.output_biases
        return outputs

    def on_patches(self) -> TwoLayerNetwork:
        """Return the dense network that acts on each patch; with ``pooling=None`` it is the same as this one.

        Raises
        ------
        ValueError
            If output weights differ between positions.
        """
        if self.pooling == "weighted":
            raise ValueError(
                "With pooling='weighted' output weights differ between positions, so that no one dense "
                "network acts on all patches. Got such a network; use `hidden` and `output_weights`."
            )
        return TwoLayerNetwork(
            self.hidden_weights,
            self.hidden_biases,
            self.output_weights,
            self.output_biases,
            self.activation,
            self.hidden_bias,
            classes=self.classes,
        )

    def contributions(self, X: ArrayLike) -> FloatArray:
        """Return what each neuron adds to the outputs, flattened; see :meth:`BaseNetwork.contributions`."""
        if self.pooling != "weighted":
            return super().contributions(X)
        per_output: FloatArray = np.einsum("ikm,mko->iom", self.hidden(X), self.output_weights, optimize=True)
        return per_output.reshape(math.prod(per_output.shape[:-1]), self.n_neurons)

    def _stacked(self, y: ArrayLike, n_samples: int | None = None) -> ArrayLike:
        """Return targets per position as rows, shape (n_samples * K,) or (n_samples * K, n_outputs)."""
        values = np.asarray(y)
        if self.pooling is not None or values.ndim == 1:
            return y
        K, q = self.geometry.n_positions, self.n_outputs
        has_outputs = values.ndim == 2 and values.shape[1] == q
        if has_outputs and (n_samples is None or len(values) == n_samples * K):
            return y
        if values.shape[1:] not in ((K,), (K, q)):
            raise ValueError(
                f"y must have shape (n_samples, {K}) or (n_samples, {K}, {q}), a target for each position. "
                f"Got {values.shape} instead."
            )
        return values.reshape(-1) if values.ndim == 2 else values.reshape(-1, q)

    def to_torch(self, dtype: Any = None) -> Any:
        """Return a ``torch.nn.Sequential`` with the same outputs.

        Its layers are ``[ZeroPad or CircularPad], Conv, ReLU or LeakyReLU or Identity``, then ``LPPool`` of
        norm 1 over all positions ("average": that is their sum) or ``MaxPool`` over all ("max"), ``Flatten``
        and ``Linear``; without pooling a ``Conv`` of kernel 1 follows the activation. Absolute values are
        rewritten exactly with two ReLU neurons each.

        Inputs are (n_samples, channels, height, width) or (n_samples, channels, length), as
        ``geometry.channels_first(X)`` gives them. Outputs are (n_samples, n_outputs) or, without pooling,
        (n_samples, n_outputs, height, width) or (n_samples, n_outputs, length).

        Parameters
        ----------
        dtype : torch.dtype, optional
            float64 unless given.

        Returns
        -------
        torch.nn.Sequential

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        return conv_torch_conversion.to_torch(self, dtype)

    @classmethod
    def from_torch(
        cls,
        module: Any,
        image_shape: tuple[int, ...],
        *,
        hidden_bias: Literal["penalized", "free"] = "penalized",
    ) -> tuple["ConvNetwork", float]:
        """Return the network of a ``torch.nn.Sequential``, and the factor that its alpha takes here.

        Layers are those of :meth:`to_torch`; the convolution may pad by itself, and pooling over all
        positions may be ``AvgPool``, ``AdaptiveAvgPool`` or ``AdaptiveMaxPool`` too. A mean of K patches is
        read as a sum with both layers' weights divided by ``sqrt(K)``: outputs are the same, and F of the
        result with ``K * alpha`` is F of the module with alpha, so that optimal ones become optimal ones.

        Parameters
        ----------
        module : torch.nn.Sequential
            Layers may lack their biases.
        image_shape : tuple of int
            ``(height, width, channels)`` or ``(length, channels)``.
        hidden_bias : {"penalized", "free"}
            How the objective counts hidden biases; "none" follows where the convolution has no bias.

        Returns
        -------
        network : ConvNetwork
        factor : float
            K for means, otherwise 1.

        Raises
        ------
        ValueError
            If layers are others, or pooling does not cover all positions.
        MissingExtraError
            If torch is not installed.
        """
        arguments, factor = conv_torch_conversion.read_torch(module, image_shape, hidden_bias)
        return cls(**arguments), factor
