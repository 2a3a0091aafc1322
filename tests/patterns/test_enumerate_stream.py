from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convexnn.patterns import count_patterns, enumerate_patterns, iterate_patterns
from convexnn.patterns._sweep import Plane, confirmed
from convexnn.patterns._target import Target, adopt
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.witnesses import ScaledData

small_entries = st.integers(-2, 2).map(float)


def contents(batches):
    return [bytes(row) for patterns in batches for row in patterns.bits]


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=small_entries),
    st.integers(1, 60),
)
def test_batches_have_the_patterns_of_the_list(X, batch):
    batches = list(iterate_patterns(X, batch=batch))
    found = contents(batches)
    assert len(found) == len(set(found))
    assert set(found) == set(contents([enumerate_patterns(X)]))
    used = X.any(axis=1)
    for patterns in batches:
        assert 0 < len(patterns) <= max(batch, 4 * len(X))
        dense = patterns.to_dense()
        assert ((patterns.generators @ X.T > 0) == dense)[:, used].all()
        assert dense[:, ~used].all()
        if used.any():
            assert (dense[::2, used] != dense[1::2, used]).all()
            assert (patterns.generators[::2] == -patterns.generators[1::2]).all()


@pytest.mark.parametrize("batch", [1, 500, 10**6])
@pytest.mark.parametrize(("n", "d"), [(1, 3), (70, 2), (40, 3), (15, 5)])
def test_general_position(n, d, batch):
    X = np.random.default_rng(n).standard_normal((n, d))
    found = contents(iterate_patterns(X, batch=batch))
    assert len(set(found)) == len(found) == count_patterns(n, d)
    assert found == contents(iterate_patterns(X, batch=batch))


def test_stopping_early_and_bad_input():
    X = np.random.default_rng(0).standard_normal((60, 4))
    stream = iterate_patterns(X, batch=1000)
    assert len(next(stream)) <= 1000
    stream.close()
    with pytest.raises(ValueError, match="batch must be at least 1"):
        iterate_patterns(X, batch=0)
    with pytest.raises(ValueError, match="X must be"):
        iterate_patterns(np.ones(3))
    twins = np.vstack([X, X + 1e-12 * np.random.default_rng(1).standard_normal(X.shape)])
    with pytest.raises(RuntimeError, match="too nearly"):
        list(iterate_patterns(twins))


def test_subnormal_and_huge_columns():
    rng = np.random.default_rng(0)
    X = np.ldexp(rng.standard_normal((12, 3)), [-1030, 0, 1000])
    patterns = enumerate_patterns(X[:, 1:])
    assert len(patterns) == 24
    plain = enumerate_patterns(np.ldexp(X, [1030, 0, -1000]))
    assert len(plain) == len(enumerate_patterns(np.ldexp(X, [100, 0, -1000]))) == count_patterns(12, 3)


@pytest.mark.parametrize("d", [2, 3, 4, 5, 6, 9])
def test_signs_are_confirmed_only_where_they_are_certain(d):
    rng = np.random.default_rng(d)
    X = np.vstack([rng.standard_normal((67, d)), np.zeros(d)])
    data = ScaledData.of(X)
    target = Target.of(data, Arrangement.of(data))
    weight, values = rng.standard_normal(d), np.zeros(68)
    products = data.rows @ weight
    sides = np.where(products >= 0, 1.0, -1.0)
    on_plane = weight - data.rows[0] * (products[0] / (data.rows[0] @ data.rows[0]))

    def clear(weight):
        padded = np.zeros((1, len(target.rows)))
        padded[0, :d] = weight
        return confirmed(target.rows, target.tolerance, sides, padded, 0, values)

    assert clear(weight)
    assert not clear(np.full(d, np.nan))
    assert not clear(np.full(d, np.inf))
    assert not clear(np.zeros(d))
    for i in range(67):
        sides[i] = -sides[i]
        assert not clear(weight)
        sides[i] = -sides[i]
    for side in (1.0, -1.0):
        sides[0] = side
        assert not clear(on_plane)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_points_are_adopted_with_their_patterns(d):
    rng = np.random.default_rng(d)
    X = np.vstack([rng.standard_normal((67, d)), np.zeros(d)])
    data = ScaledData.of(X)
    arrangement = Arrangement.of(data)
    target, point = Target.of(data, arrangement), rng.standard_normal(d)
    bits, generators, weight = np.zeros((4, 2), dtype=np.uint64), np.zeros((4, d)), np.zeros(d)
    assert adopt(target[:], point, weight, bits, generators, 2)
    np.testing.assert_allclose(weight, arrangement.basis @ point, rtol=1e-13, atol=1e-13)
    assert (bits[2] == data.signs(weight[None])[0][0]).all()
    assert (bits[3] == data.opposite(bits[2:3])[0]).all()
    assert (generators[2] == data.unscaled(weight[None], np.zeros(1, dtype=np.intp))[0]).all()
    assert (generators[3] == -generators[2]).all()
    assert not bits[:2].any()
    assert Plane.of(3, 2, target).words.tolist() == target.fixed.tolist() == data.zero_bits[0].tolist()
    row = arrangement.rows[0]
    assert not adopt(target[:], point - (row @ point) * row, weight, bits, generators, 0)


def test_hyperplanes_of_rows():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((6, 3))
    index, factors = rng.integers(0, 6, 20), rng.choice([-2.0, -0.1, 0.3, 5.0], 20)
    X = np.vstack([factors[:, None] * base[index], np.zeros((2, 3))])
    data = ScaledData.of(X)
    arrangement = Arrangement.of(data)
    target = Target.of(data, arrangement)
    m = len(set(index.tolist()))
    assert arrangement.n_hyperplanes == m
    assert target.owners[20:].tolist() == [m, m]
    normals = target.agreement[:20, None] * arrangement.rows[target.owners[:20]]
    mapped = data.rows[:20] @ arrangement.basis
    np.testing.assert_allclose(normals, mapped / np.linalg.norm(mapped, axis=1)[:, None], atol=1e-12)
    for h in range(m):
        members = target.members[target.starts[h] : target.starts[h + 1]]
        assert members.tolist() == np.flatnonzero(target.owners == h).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(100, 5), (106, 5), (50, 6), (1500, 3), (20, 20)])
def test_counts_up_to_many_million_cells(n, d):
    X = np.random.default_rng(n).standard_normal((n, d))
    assert sum(map(len, iterate_patterns(X))) == count_patterns(n, d)


@pytest.mark.slow
def test_streamed_resonance_arrangement_of_dimension_six():
    X = np.array([row for row in product([0.0, 1.0], repeat=6) if any(row)])
    assert sum(map(len, iterate_patterns(X))) == 1_066_044
