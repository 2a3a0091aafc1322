"""Random convolutional networks, degenerate ones included, and images for them."""

import numpy as np
from hypothesis import strategies as st

from convexnn._typing import FloatArray
from convexnn.activations import LINEAR, get_activation
from convexnn.networks import ConvNetwork
from convexnn.patches import PatchGeometry
from network_cases import DEGENERACIES, HIDDEN_BIASES, degrade

POOLINGS = ["average", "max", "weighted", None]
ACTIVATIONS = [get_activation("relu"), get_activation("leaky_relu"), get_activation("absolute_value"), LINEAR]


@st.composite
def geometries(draw: st.DrawFn, largest: int = 6) -> PatchGeometry:
    """Draw the geometry of signals or images with extents up to `largest`."""
    n_axes = draw(st.integers(1, 2))
    axes = [st.integers(1, largest)] * n_axes
    return PatchGeometry.of(
        (*draw(st.tuples(*axes)), draw(st.integers(1, 3))),
        draw(st.tuples(*axes)),
        draw(st.tuples(*[st.integers(1, 3)] * n_axes)),
        draw(st.sampled_from(["valid", "zero", "circular"])),
    )


@st.composite
def conv_networks(draw: st.DrawFn, max_neurons: int = 6) -> ConvNetwork:
    """Draw a network with up to `max_neurons` neurons, some of them degenerate."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    geometry = draw(geometries(largest=4))
    m, q = draw(st.integers(0, max_neurons)), draw(st.integers(1, 3))
    pooling = draw(st.sampled_from(POOLINGS))
    activation = draw(st.sampled_from(ACTIVATIONS[:1] if pooling == "max" else ACTIVATIONS))
    hidden_bias = draw(st.sampled_from(HIDDEN_BIASES))
    positions = (geometry.n_positions,) if pooling == "weighted" else ()
    U, b = rng.normal(size=(geometry.patch_size, m)), rng.normal(size=m)
    A = rng.normal(size=(m, *positions, q))
    for kind in draw(st.lists(st.sampled_from(DEGENERACIES), max_size=4)) if m else []:
        degrade(kind, int(rng.integers(m)), rng, U=U, b=b, A=A)
    return ConvNetwork(
        geometry, U, b * (hidden_bias != "none"), A, rng.normal(size=q), pooling, activation, hidden_bias
    )


def draw_images(network: ConvNetwork, seed: int, n_samples: int) -> FloatArray:
    """Images for a network, with duplicate, opposite and zero ones among them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, *network.geometry.image_shape))
    X[n_samples // 2 :: 3] = X[0]
    X[n_samples // 3 :: 4] = -X[0]
    X[1::7] = 0.0
    return X
