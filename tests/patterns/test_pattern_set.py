import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convexnn.patterns import PatternSet, enumerate_patterns, pack_bits
from unresolved_data import UNRESOLVED, intersections

TOY = np.column_stack([[-1.0, -5.0, 2.0, 0.0, 3.0], np.ones(5)])

small_data = arrays(
    np.float64, st.tuples(st.integers(1, 7), st.integers(1, 4)), elements=st.integers(-2, 2).map(float)
)


def rows_of(patterns):
    return {tuple(row) for row in patterns.to_dense().tolist()}


def assert_witnessed(patterns, X):
    values = patterns.generators @ X.T
    used = X.any(axis=1)
    assert (values[:, used] != 0).all()
    assert ((values > 0) == patterns.to_dense())[:, used].all()
    assert patterns.to_dense()[:, ~used].all()


@pytest.fixture
def patterns():
    return enumerate_patterns(TOY)


def test_attributes(patterns):
    assert len(patterns) == 10
    assert (patterns.n_samples, patterns.n_features) == (5, 2)
    assert patterns.to_dense().shape == (10, 5)
    assert repr(patterns) == "PatternSet(10 patterns, n_samples=5, n_features=2)"


@pytest.mark.parametrize("clone", [lambda p: pickle.loads(pickle.dumps(p)), copy.copy, copy.deepcopy])
def test_immutable_also_after_copying(patterns, clone):
    for each in (patterns, clone(patterns)):
        assert each == patterns
        assert hash(each) == hash(patterns)
        with pytest.raises(ValueError, match="read-only"):
            each.bits[0, 0] = 0
        with pytest.raises(ValueError, match="read-only"):
            each.generators[0, 0] = 0
        with pytest.raises(AttributeError):
            each.n_samples = 4


def test_does_not_alias_the_arrays_given():
    bits, generators = np.array([[1]], dtype=np.uint64), np.ones((1, 2))
    patterns = PatternSet(bits, generators, 1)
    bits[0, 0], generators[0, 0] = 0, -1
    assert patterns.bits[0, 0] == 1
    assert patterns.generators[0, 0] == 1


def test_equality_is_of_contents(patterns):
    assert patterns == enumerate_patterns(TOY)
    assert patterns != patterns.take([0])
    assert patterns != PatternSet(patterns.bits, 2 * patterns.generators, 5)
    assert patterns != "patterns"
    zero, negative = np.zeros((1, 1)), -np.zeros((1, 1))
    ones = np.ones((1, 1), dtype=np.uint64)
    assert hash(PatternSet(ones, zero, 1)) == hash(PatternSet(ones, negative, 1))


@pytest.mark.parametrize(
    ("bits", "generators", "n_samples", "message"),
    [
        (np.zeros((2, 1), dtype=np.int64), np.ones((2, 3)), 5, "uint64"),
        (np.zeros((2, 1), dtype=np.uint64), np.ones((2, 3)), 65, r"\(P, 2\)"),
        (np.zeros((2, 1), dtype=np.uint64), np.ones((3, 3)), 5, "one row per row"),
        (np.zeros((2, 1), dtype=np.uint64), np.ones((2, 3), dtype=np.float32), 5, "float64"),
        (np.zeros((2, 1), dtype=np.uint64), np.full((2, 3), np.nan), 5, "finite"),
        (np.full((2, 1), 32, dtype=np.uint64), np.ones((2, 3)), 5, "beyond sample 4"),
        (np.zeros((2, 1), dtype=np.uint64), np.ones((2, 3)), 0, "at least 1"),
    ],
)
def test_constructor_rejects(bits, generators, n_samples, message):
    with pytest.raises(ValueError, match=message):
        PatternSet(bits, generators, n_samples)


def test_take(patterns):
    assert patterns.take([3, 1]).bits.tolist() == [patterns.bits[3].tolist(), patterns.bits[1].tolist()]
    assert patterns.take(slice(2)) == patterns.take([0, 1]) == patterns.take(np.arange(10) < 2)
    assert len(patterns.take([])) == 0


def test_union_and_positions(patterns):
    left, right = patterns.take([4, 1, 2]), patterns.take([2, 7, 4])
    assert left.union(right) == patterns.take([4, 1, 2, 7])
    assert left.positions(right.bits).tolist() == [2, -1, 0]
    with pytest.raises(ValueError, match="same data"):
        left.union(enumerate_patterns(TOY[:4]))
    with pytest.raises(ValueError, match="uint64"):
        left.positions(np.zeros((1, 2), dtype=np.uint64))


def test_restricted_to_keeps_one_row_per_pattern(patterns):
    seen = patterns.restricted_to([4, 0, 0])
    assert len(seen) == len(patterns)
    assert (seen.to_dense() == patterns.to_dense()[:, [4, 0, 0]]).all()
    assert (seen.generators == patterns.generators).all()
    assert seen == patterns.restricted_to(np.array([4, 0, 0]))
    mask = np.array([True, False, True, False, False])
    assert patterns.restricted_to(mask) == patterns.restricted_to([0, 2])


def test_from_weights_keeps_interior_weights():
    weights = np.array([[1.0, 0.5], [2.0, 1.0], [-1e-200, 1e-201], [3e200, -1e200]])
    patterns = PatternSet.from_weights(TOY, weights)
    assert (patterns.generators == weights[[0, 2, 3]]).all()
    assert_witnessed(patterns, TOY)


@settings(deadline=None)
@given(small_data, st.data())
def test_from_weights_on_hyperplanes_gives_an_adjacent_cell(X, data):
    weight = data.draw(arrays(np.float64, X.shape[1], elements=st.integers(-2, 2).map(float)))
    weight[0] += not weight.any()
    patterns = PatternSet.from_weights(X, weight[None, :])
    assert_witnessed(patterns, X)
    # Adjacent: the pattern agrees with every sign that the weight has.
    values = X @ weight
    off = values != 0
    assert ((values > 0) == patterns.to_dense()[0])[off].all()
    assert rows_of(patterns) <= rows_of(enumerate_patterns(X))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_from_weights_with_kinks_within_rounding(scale):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 4)) * np.array([scale, 1.0, 1.0 / scale, 1.0])
    # Neurons of a trained network often sit on kinks: here each is orthogonal to three rows up to rounding.
    rows = rng.permuted(np.tile(np.arange(60), (40, 1)), axis=1)[:, :3]
    weights = np.array([np.linalg.svd(X[r] / np.abs(X).max(axis=0))[2][-1] for r in rows])
    weights *= rng.uniform(0.1, 10.0, size=(40, 1)) / np.abs(X).max(axis=0)
    patterns = PatternSet.from_weights(X, weights)
    assert_witnessed(patterns, X)
    assert len(patterns) == 40
    dense, values = patterns.to_dense(), weights @ X.T
    for i in range(40):
        off = np.setdiff1d(np.arange(60), rows[i])
        assert (dense[i, off] == (values[i, off] > 0)).all()


@pytest.mark.parametrize("kind", UNRESOLVED)
def test_from_weights_where_cells_cannot_be_told_apart(kind):
    rng = np.random.default_rng(0)
    X = UNRESOLVED[kind](rng)
    weights, scale = intersections(X, rng), np.abs(X).max(axis=0)
    for weight in weights:
        patterns = PatternSet.from_weights(X, weight[None])
        assert len(patterns) == 1
        assert patterns.holds_on(X)
        # The weight lies in the cone of the signs up to the rounding error of its products.
        values, sizes = X @ weight, np.linalg.norm(X / scale, axis=1) * np.linalg.norm(weight * scale)
        signed = np.where(patterns.to_dense()[0], values, -values)
        assert (signed >= -1e-10 * sizes).all()
    assert 1 <= len(PatternSet.from_weights(X, weights)) <= len(weights)


@pytest.mark.parametrize(
    ("X", "weight"),
    [
        (np.array([[1e300, 1e-300], [0.0, 1e300], [1e-300, 0.0]]), [1.0, 0.0]),
        (np.array([[1e300, 0.0], [0.0, 1e-300]]), [1.0, 0.0]),
        (np.array([[1e-310, 1.0], [2e-310, -1.0]]), [0.0, 1.0]),
    ],
)
def test_from_weights_of_data_of_all_magnitudes(X, weight):
    patterns = PatternSet.from_weights(X, [weight])
    fractions = [[Fraction(value) for value in row] for row in X.tolist()]
    generator = [Fraction(value) for value in patterns.generators[0].tolist()]
    products = [sum(x * g for x, g in zip(row, generator, strict=True)) for row in fractions]
    assert [product > 0 for product in products] == patterns.to_dense()[0].tolist()
    assert all(product != 0 for product in products)


def test_patterns_hold_on_their_data_only(patterns):
    assert patterns.holds_on(TOY)
    assert not patterns.holds_on(TOY[::-1])


def test_from_weights_on_a_hyperplane_depends_on_the_seed_only():
    weight = np.array([[0.0, 1.0]])
    X = np.array([[1.0, 0.0]])
    first = PatternSet.from_weights(X, weight, random_state=5)
    assert first == PatternSet.from_weights(X, weight, random_state=5)
    found = {bool(PatternSet.from_weights(X, weight, random_state=s).to_dense()[0, 0]) for s in range(20)}
    assert found == {False, True}


@pytest.mark.parametrize(
    ("X", "weights", "message"),
    [
        (TOY, np.zeros((1, 2)), "non-zero"),
        (TOY, np.ones((1, 3)), "shape"),
        (TOY, np.ones(2), "shape"),
        (TOY, np.array([[np.inf, 0.0]]), "finite"),
        (np.array([[np.nan]]), np.ones((1, 1)), "finite"),
        (np.ones(3), np.ones((1, 1)), "two-dimensional"),
    ],
)
def test_from_weights_rejects(X, weights, message):
    with pytest.raises(ValueError, match=message):
        PatternSet.from_weights(X, weights)


def test_from_no_weights_is_empty():
    assert len(PatternSet.from_weights(TOY, np.empty((0, 2)))) == 0


def test_bits_can_be_built_by_hand():
    dense = np.array([[True, False, True]])
    assert (PatternSet(pack_bits(dense), np.ones((1, 2)), 3).to_dense() == dense).all()
