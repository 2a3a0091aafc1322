"""Random networks, degenerate ones included, and data to evaluate them on."""

import numpy as np
from hypothesis import strategies as st

from convexnn._typing import FloatArray
from convexnn.activations import get_activation
from convexnn.networks import TwoLayerNetwork

ACTIVATION_NAMES = ["relu", "leaky_relu", "absolute_value", "gated_relu"]
HIDDEN_BIASES = ["penalized", "free", "none"]
DEGENERACIES = ["zero", "no_output", "no_slope", "duplicate", "collinear", "opposite", "dead"]


def degrade(
    kind: str, j: int, rng: np.random.Generator, *, U: FloatArray, b: FloatArray, A: FloatArray
) -> None:
    other = rng.integers(U.shape[1])
    if kind in {"zero", "no_slope"}:
        U[:, j] = 0.0
        b[j] *= kind == "no_slope"
    elif kind == "no_output":
        A[j] = 0.0
    elif kind == "dead":
        U[:, j], b[j] = 0.0, -1.0
        U[0, j] = 1e-3
    else:
        factor = {"duplicate": 1.0, "collinear": 3.7, "opposite": -1.0}[kind]
        U[:, j], b[j] = factor * U[:, other], factor * b[other]
        A[j] = A[other] if kind == "duplicate" else rng.normal() * A[other]


@st.composite
def networks(draw: st.DrawFn, max_neurons: int = 12, activations: list[str] | None = None) -> TwoLayerNetwork:
    """Draw a network with up to `max_neurons` neurons, some of them degenerate."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d, m, k = draw(st.integers(1, 4)), draw(st.integers(0, max_neurons)), draw(st.integers(1, 3))
    activation = get_activation(draw(st.sampled_from(activations or ACTIVATION_NAMES)))
    hidden_bias = draw(st.sampled_from(HIDDEN_BIASES))
    scale = draw(st.sampled_from([1e-8, 1.0, 1e4]))
    U, b, A = scale * rng.normal(size=(d, m)), rng.normal(size=m), rng.normal(size=(m, k)) / scale
    for kind in draw(st.lists(st.sampled_from(DEGENERACIES), max_size=6)) if m else []:
        degrade(kind, int(rng.integers(m)), rng, U=U, b=b, A=A)
    gates = rng.normal(size=(d + 1, m)) if activation.gated else None
    if gates is not None and m > 1:
        gates[:, 1] = gates[:, 0]
    return TwoLayerNetwork(
        U, b * (hidden_bias != "none"), A, rng.normal(size=k), activation, hidden_bias, gates
    )


def draw_samples(network: TwoLayerNetwork, seed: int, n_samples: int) -> FloatArray:
    """Samples for a network, with duplicate, opposite and zero rows among them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, network.n_features))
    X[n_samples // 2 :: 3] = X[0]
    X[n_samples // 3 :: 4] = -X[0]
    X[1::7] = 0.0
    return X
