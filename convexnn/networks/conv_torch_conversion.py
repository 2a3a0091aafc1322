"""Conversion between convolutional networks and PyTorch modules; torch is imported on use."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from convexnn._typing import FloatArray
from convexnn.networks._torch_layers import (
    activation_layer,
    as_array,
    biases_of,
    filled,
    import_torch,
    read_activation,
)
from convexnn.patches import Padding, PatchGeometry

if TYPE_CHECKING:
    from convexnn.networks.conv_network import ConvNetwork, Pooling

__all__ = ["read_torch", "to_torch"]

_PADS: dict[Padding, str] = {"zero": "ZeroPad", "circular": "CircularPad"}
_POOLS = ("LPPool", "AvgPool", "AdaptiveAvgPool", "MaxPool", "AdaptiveMaxPool")


def to_torch(network: "ConvNetwork", dtype: Any = None) -> Any:
    """Return a ``torch.nn.Sequential``; see :meth:`ConvNetwork.to_torch`."""
    torch = import_torch()
    dtype = torch.float64 if dtype is None else dtype
    network, activation = activation_layer(torch.nn, network)
    geometry = network.geometry
    n_axes = len(geometry.kernel_size)
    layers = []
    if any(map(any, geometry.margins)):
        # PyTorch lists the margins of the last axis first.
        margins = tuple(size for margin in reversed(geometry.margins) for size in margin)
        layers.append(_of_rank(torch.nn, _PADS[geometry.padding], n_axes)(margins))
    convolution = _of_rank(torch.nn, "Conv", n_axes)
    sizes = (geometry.n_channels, network.n_neurons, geometry.kernel_size, geometry.stride)
    filters = np.moveaxis(network.filters, -1, 1)
    layers.append(filled(convolution(*sizes, dtype=dtype), filters, network.hidden_biases))
    return torch.nn.Sequential(*layers, activation, *_head(torch.nn, network, dtype))


def _of_rank(nn: Any, name: str, n_axes: int) -> Any:
    """Return the class of a layer for signals or for images."""
    return getattr(nn, f"{name}{n_axes}d")


def _head(nn: Any, network: "ConvNetwork", dtype: Any) -> Iterator[Any]:
    """Yield the layers from pooling on."""
    output_shape = network.geometry.output_shape
    n_axes = len(output_shape)
    weights = network.output_weights.reshape(-1, network.n_outputs)
    if network.pooling is None:
        layer = _of_rank(nn, "Conv", n_axes)(*weights.shape, 1, dtype=dtype)
        yield filled(layer, weights.T.reshape(layer.weight.shape), network.output_biases)
        return
    # One-dimensional pooling takes numbers only.
    window = output_shape if n_axes > 1 else output_shape[0]
    if network.pooling == "average":
        yield _of_rank(nn, "LPPool", n_axes)(1, window)
    elif network.pooling == "max":
        yield _of_rank(nn, "MaxPool", n_axes)(window)
    yield nn.Flatten()
    yield filled(nn.Linear(*weights.shape, dtype=dtype), weights.T, network.output_biases)


def read_torch(
    module: Any, image_shape: tuple[int, ...], hidden_bias: Literal["penalized", "free"]
) -> tuple[dict[str, Any], float]:
    """Return the constructor arguments of :class:`ConvNetwork` that reproduce `module`, and the divisor.

    Raises
    ------
    ValueError
        If `module` has other layers than :meth:`ConvNetwork.from_torch` lists.
    MissingExtraError
        If torch is not installed.
    """
    nn = import_torch().nn
    image_shape = PatchGeometry.of(image_shape, 1).image_shape
    pooling: Pooling
    pad, convolution, activation, pool, head = _parts(nn, list(_flattened(nn, module)), len(image_shape) - 1)
    geometry = _read_geometry(convolution, pad, image_shape)
    weight = as_array(convolution.weight)
    pooling, divisor = _read_pool(pool, geometry) if pool is not None else (None, 1.0)
    # The mean divides outputs; half of that goes to each layer, so that their norms stay equal.
    scale = 1.0 / math.sqrt(divisor)
    output_weights = as_array(head.weight).reshape(len(head.weight), -1).T
    if isinstance(head, nn.Linear) and pool is None:
        pooling = "weighted"
        output_weights = _by_position(output_weights, len(weight), geometry)
    return {
        "geometry": geometry,
        "hidden_weights": scale * np.moveaxis(weight, 1, -1).reshape(len(weight), -1).T,
        "hidden_biases": scale * biases_of(convolution),
        "output_weights": scale * output_weights,
        "output_biases": biases_of(head),
        "pooling": pooling,
        "activation": read_activation(nn, activation),
        "hidden_bias": "none" if convolution.bias is None else hidden_bias,
    }, divisor


def _by_position(weights: FloatArray, n_neurons: int, geometry: PatchGeometry) -> FloatArray:
    """Return the weights of a layer behind Flatten as (n_neurons, K, n_outputs)."""
    K = geometry.n_positions
    if len(weights) != n_neurons * K:
        raise ValueError(
            f"The last layer must have {n_neurons} * {K} inputs, filters times positions on images of shape "
            f"{geometry.image_shape}. Got {len(weights)}."
        )
    return weights.reshape(n_neurons, K, weights.shape[1])


def _flattened(nn: Any, module: Any) -> Iterator[Any]:
    """Yield the layers of nested Sequentials in order, identities left out."""
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _flattened(nn, child)
    elif not isinstance(module, nn.Identity):
        yield module


def _parts(nn: Any, layers: list[Any], n_axes: int) -> tuple[Any, Any, Any, Any, Any]:
    """Return padding, convolution, activation, pooling and last layer; None for those that are absent."""

    def is_one_of(layer: Any, names: tuple[str, ...]) -> bool:
        return isinstance(layer, tuple(_of_rank(nn, name, n_axes) for name in names))

    rest = list(layers)
    pad = rest.pop(0) if rest and is_one_of(rest[0], tuple(_PADS.values())) else None
    convolution = rest.pop(0) if rest and is_one_of(rest[0], ("Conv",)) else None
    activation = rest.pop(0) if rest and isinstance(rest[0], nn.ReLU | nn.LeakyReLU) else None
    pool = rest.pop(0) if rest and is_one_of(rest[0], _POOLS) else None
    is_dense = (
        len(rest) == 2
        and isinstance(rest[0], nn.Flatten)
        and (rest[0].start_dim, rest[0].end_dim) == (1, -1)
        and isinstance(rest[1], nn.Linear)
    )
    is_pointwise = (
        len(rest) == 1 and pool is None and is_one_of(rest[0], ("Conv",)) and _is_pointwise(rest[0])
    )
    if convolution is None or not (is_dense or is_pointwise):
        rank = f"{n_axes}d"
        found = ", ".join(type(layer).__name__ for layer in layers)
        raise ValueError(
            f"Wanted torch.nn.Sequential([ZeroPad{rank} or CircularPad{rank}], Conv{rank}, "
            f"[ReLU or LeakyReLU], [pooling], Flatten, Linear), or a Conv{rank} of kernel 1 in place of what "
            f"follows the activation. Got {found} for images with {n_axes} axes."
        )
    return pad, convolution, activation, pool, rest[-1]


def _is_pointwise(convolution: Any) -> bool:
    """Whether it maps every position by itself, all by the same matrix."""
    ones = (1,) * len(convolution.kernel_size)
    is_padded = any(map(any, _margins(convolution)))
    return convolution.kernel_size == convolution.stride == ones and convolution.groups == 1 and not is_padded


def _margins(convolution: Any) -> tuple[tuple[int, int], ...]:
    """Entries that a convolution's own padding adds in front and at the end of each axis."""
    if convolution.padding == "valid":
        return ((0, 0),) * len(convolution.kernel_size)
    if convolution.padding == "same":
        return tuple(((k - 1) // 2, k // 2) for k in convolution.kernel_size)
    return tuple((size, size) for size in convolution.padding)


def _read_geometry(convolution: Any, pad: Any, image_shape: tuple[int, ...]) -> PatchGeometry:
    """Return the positions of a convolution on images of that shape."""
    margins, kind = _margins(convolution), convolution.padding_mode
    if pad is not None and not any(map(any, margins)):
        sizes = tuple(pad.padding)
        margins = tuple(zip(sizes[-2::-2], sizes[::-2], strict=True))
        kind = "zeros" if type(pad).__name__.startswith(_PADS["zero"]) else "circular"
        pad = None
    paddings: dict[str, Padding] = {"zeros": "zero", "circular": "circular"}
    padding = paddings.get(kind) if any(map(any, margins)) else "valid"
    is_plain = pad is None and padding is not None and convolution.groups == 1
    if not is_plain or set(convolution.dilation) != {1} or convolution.in_channels != image_shape[-1]:
        raise ValueError(
            f"The convolution must have {image_shape[-1]} input channels in one group, dilation 1, and zero "
            f"or circular padding, applied once. Got {convolution}."
        )
    geometry = PatchGeometry.of(image_shape, convolution.kernel_size, convolution.stride, padding or "valid")
    if geometry.kernel_size != convolution.kernel_size or geometry.margins != margins:
        raise ValueError(
            "The kernel must fit in the image, and padding must be none or (kernel - 1) in all per axis, "
            f"(kernel - 1) // 2 of it in front. Got kernel {convolution.kernel_size} and margins {margins} "
            f"for image_shape={image_shape}."
        )
    return geometry


def _read_pool(pool: Any, geometry: PatchGeometry) -> tuple[Literal["average", "max"], float]:
    """Return the kind of a pooling and what it divides sums by; it must cover all positions."""
    shape = geometry.output_shape

    def equals(value: Any, wanted: tuple[int, ...]) -> bool:
        return tuple(np.broadcast_to(value, (len(shape),))) == wanted

    if hasattr(pool, "output_size"):
        is_whole = equals(pool.output_size, (1,) * len(shape))
    else:
        is_whole = equals(pool.kernel_size, shape) and equals(getattr(pool, "padding", 0), (0,) * len(shape))
        is_whole = is_whole and equals(getattr(pool, "dilation", 1), (1,) * len(shape))
    if not is_whole or getattr(pool, "return_indices", False) or getattr(pool, "norm_type", 1) != 1:
        raise ValueError(
            f"Pooling must be over all positions, here {shape}, without padding, and LPPool of norm 1. "
            f"Got {pool}."
        )
    name = type(pool).__name__
    if "Max" in name:
        return "max", 1.0
    if name.startswith("LPPool"):
        return "average", 1.0
    return "average", float(getattr(pool, "divisor_override", None) or geometry.n_positions)
