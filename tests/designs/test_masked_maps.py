"""Linear maps of patterns over several rows of a sample against loops over explicit matrices."""

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convexnn.activations import Activation
from convexnn.designs import masked_maps
from convexnn.designs.masked_maps import MaskedMaps
from convexnn.patterns import PatternSet, pack_bits

seeds = st.integers(0, 2**32 - 1)
SLOPES = {
    "relu": Activation("relu"),
    "leaky": Activation("leaky_relu", off=0.25),
    "absolute": Activation("absolute_value", off=-1.0),
}
cases = given(
    seed=seeds,
    n=st.integers(1, 40),
    positions=st.sampled_from([1, 2, 3, 9, 36, 63, 64, 65, 130]),
    d=st.integers(1, 5),
    n_blocks=st.integers(1, 9),
    slopes=st.sampled_from(sorted(SLOPES)),
    dtype=st.sampled_from([np.float64, np.float32]),
)


def draw(seed, n, positions, d, n_blocks, slopes, dtype):
    """Maps of arbitrary patterns and their explicit matrices; bits and rows need not belong together."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n * positions, d)).astype(dtype)
    dense = rng.random((n_blocks, len(X))) < rng.random((n_blocks, 1))
    activation = SLOPES[slopes]
    explicit = np.zeros((n_blocks, n, d))
    for block, pattern in enumerate(dense):
        for row, bit in enumerate(pattern):
            slope = activation.on if bit else activation.off
            explicit[block, row // positions] += slope * X[row].astype(np.float64)
    patterns = PatternSet(pack_bits(dense), np.ones((n_blocks, d)), len(X))
    return MaskedMaps(X, patterns, activation, positions), explicit, rng


def close(got, wanted, positions):
    assert got.shape == wanted.shape
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11 * positions)


@cases
@settings(deadline=None, max_examples=60)
@example(seed=0, n=1, positions=130, d=1, n_blocks=1, slopes="relu", dtype=np.float64)
@example(seed=0, n=40, positions=63, d=2, n_blocks=1, slopes="absolute", dtype=np.float32)
def test_requests_are_products_with_explicit_matrices(seed, n, positions, d, n_blocks, slopes, dtype):
    maps, explicit, rng = draw(seed, n, positions, d, n_blocks, slopes, dtype)
    blocks = rng.integers(n_blocks, size=rng.integers(1, 12))
    weights, dual = rng.normal(size=(len(blocks), d)), rng.normal(size=(n, 3))
    outputs, scales = rng.integers(3, size=len(blocks)), rng.random(len(blocks))
    chosen = explicit[blocks]
    close(maps.outputs(blocks, weights), np.einsum("bnd,bd->bn", chosen, weights), positions)
    wanted = np.einsum("bnd,bn->bd", chosen, dual.T[outputs])
    close(maps.gradients(blocks, dual, outputs), wanted, positions * n)
    close(maps.matrices(blocks), chosen, positions)
    wanted = np.einsum("b,bnd,bmd->nm", scales, chosen, chosen)
    close(maps.gram(blocks, scales), wanted, positions**2)


@pytest.mark.parametrize("positions", [1, 7])
def test_no_blocks_give_empty_answers(positions):
    maps, _, _ = draw(0, 5, positions, 3, 2, "relu", np.float64)
    none = np.empty(0, dtype=np.intp)
    assert maps.outputs(none, np.empty((0, 3))).shape == (0, 5)
    assert maps.gradients(none, np.ones((5, 1)), none).shape == (0, 3)
    assert maps.matrices(none).shape == (0, 5, 3)
    np.testing.assert_array_equal(maps.gram(none, np.empty(0)), np.zeros((5, 5)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("blocks_at_once", "products"), [(2, 1), (3, 100), (256, 1 << 17)])
@pytest.mark.parametrize("positions", [1, pytest.param(5, marks=pytest.mark.slow), 64, 70])
def test_answers_do_not_depend_on_chunks_and_threads(
    monkeypatch, threads, blocks_at_once, products, positions
):
    maps, explicit, rng = draw(1, 60, positions, 6, 5, "leaky", np.float64)
    blocks = np.tile(np.arange(5), 100)
    weights, dual = rng.normal(size=(500, 6)), rng.normal(size=(60, 2))
    outputs = rng.integers(2, size=500)
    monkeypatch.setattr(masked_maps, "_BLOCKS", blocks_at_once)
    monkeypatch.setattr(masked_maps, "_PRODUCTS", products)
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        values, gradients = maps.outputs(blocks, weights), maps.gradients(blocks, dual, outputs)
        again = maps.gradients(blocks, dual, outputs)
        matrices = maps.matrices(blocks[:7])
    finally:
        numba.set_num_threads(before)
    close(values, np.einsum("bnd,bd->bn", explicit[blocks], weights), positions)
    close(gradients, np.einsum("bnd,bn->bd", explicit[blocks], dual.T[outputs]), 60 * positions)
    np.testing.assert_array_equal(gradients, again)
    close(matrices, explicit[blocks[:7]], positions)


@cases
@settings(deadline=None, max_examples=30)
def test_outputs_and_gradients_are_adjoint(seed, n, positions, d, n_blocks, slopes, dtype):
    maps, _, rng = draw(seed, n, positions, d, n_blocks, slopes, dtype)
    blocks = np.arange(n_blocks)
    weights, dual = rng.normal(size=(n_blocks, d)), rng.normal(size=(n, n_blocks))
    there = np.sum(maps.outputs(blocks, weights) * dual.T)
    back = np.sum(maps.gradients(blocks, dual, blocks) * weights)
    assert abs(there - back) <= 1e-10 * positions * n * n_blocks * d
