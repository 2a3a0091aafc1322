import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from convexnn.patterns import apply_patterns, pack_bits, unpack_bits
from convexnn.patterns._bits import match_rows, pack_signs, unique_rows

dense_patterns = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=140))


@settings(deadline=None)
@given(dense_patterns)
def test_packing_round_trip_and_bit_layout(dense):
    n_samples = dense.shape[1]
    bits = pack_bits(dense)
    assert bits.dtype == np.uint64
    assert bits.shape == (len(dense), -(-n_samples // 64))
    assert (unpack_bits(bits, n_samples) == dense).all()
    for row, words in zip(dense, bits, strict=True):
        number = sum(int(bit) << i for i, bit in enumerate(row))
        assert number == sum(int(word) << (64 * w) for w, word in enumerate(words))


@settings(deadline=None)
@given(arrays(np.uint64, st.tuples(st.integers(0, 60), st.integers(1, 3)), elements=st.integers(0, 2)))
def test_unique_rows_and_match_rows_agree_with_a_dictionary(bits):
    first: dict[bytes, int] = {}
    for i, row in enumerate(bits):
        first.setdefault(row.tobytes(), i)
    assert unique_rows(bits).tolist() == list(first.values())
    assert match_rows(bits, bits).tolist() == [first[row.tobytes()] for row in bits]
    other = bits[::-1] + np.uint64(1)
    assert match_rows(bits, other).tolist() == [first.get(row.tobytes(), -1) for row in other]


def test_unique_rows_of_many_random_words():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**63, size=(3000, 2), dtype=np.uint64)[rng.integers(0, 3000, size=20_000)]
    assert len(unique_rows(bits)) == len(np.unique(bits, axis=0))


@pytest.mark.parametrize("n_samples", [1, 63, 64, 65, 130])
def test_pack_signs(n_samples):
    rng = np.random.default_rng(n_samples)
    values = rng.standard_normal((7, n_samples))
    tolerance = np.full(n_samples, 1e-12)
    bits, clear = np.empty_like(pack_bits(values > 0)), np.empty(7, dtype=bool)
    pack_signs(values, tolerance, np.ones(7), bits, clear)
    assert (bits == pack_bits(values > 0)).all()
    assert clear.all()
    values[2, -1] = 1e-6
    pack_signs(values, tolerance, np.full(7, 1e7), bits, clear)
    assert clear.tolist() == [True, True, False] + 4 * [True]
    tolerance[-1] = -1.0
    pack_signs(values, tolerance, np.full(7, 1e7), bits, clear)
    assert clear.all()


@pytest.mark.parametrize(("n_rows", "n_samples"), [(0, 5), (1, 1), (3, 64), (20, 65), (9, 300)])
def test_apply_patterns_multiplies_by_the_slopes_of_each_rows_owner(n_rows, n_samples):
    rng = np.random.default_rng(n_samples)
    dense = rng.random((7, n_samples)) < 0.5
    owners = rng.integers(0, 7, n_rows)
    values = rng.standard_normal((n_rows, n_samples))
    expected = np.where(dense[owners], 1.5, -0.25) * values
    apply_patterns(pack_bits(dense), owners, 1.5, -0.25, values)
    np.testing.assert_array_equal(values, expected)
