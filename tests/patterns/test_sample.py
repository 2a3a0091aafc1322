import warnings

import numpy as np
import pytest

from convexnn.exceptions import PatternCountWarning
from convexnn.patterns import PatternSet, count_patterns, enumerate_patterns, sample_patterns
from convexnn.patterns.arrangement import Arrangement
from convexnn.patterns.sample import _geometric_gates, sample_and_tell
from convexnn.patterns.witnesses import ResolutionError, ScaledData
from unresolved_data import UNRESOLVED

METHODS = ("gaussian", "geometric")


@pytest.fixture
def line():
    positions = np.sort(np.random.default_rng(0).standard_normal(300))
    return np.column_stack([positions, np.ones(300)])


@pytest.fixture
def never_list_all(monkeypatch):
    monkeypatch.setattr("convexnn.patterns.sample._MOST_LISTED_BITS", 0)


def assert_sound(patterns, X):
    values = patterns.generators @ X.T
    used = X.any(axis=1)
    assert (values[:, used] != 0).all()
    dense = patterns.to_dense()
    assert ((values > 0) == dense)[:, used].all()
    assert dense[:, ~used].all()
    assert len(np.unique(dense, axis=0)) == len(patterns)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("n_patterns", [1, 7, 550, 600])
def test_exact_number_of_distinct_patterns_with_thin_cells(line, method, symmetric, n_patterns):
    def draw(seed):
        return sample_patterns(line, n_patterns, method=method, symmetric=symmetric, random_state=seed)

    patterns = draw(0)
    assert len(patterns) == n_patterns
    assert_sound(patterns, line)
    assert patterns == draw(0)
    assert patterns != draw(1)
    if symmetric:
        pairs = n_patterns // 2
        assert (patterns.generators[: 2 * pairs : 2] == -patterns.generators[1::2][:pairs]).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_warns_with_the_exact_count(line, method, symmetric):
    X = line[:20]
    with pytest.warns(PatternCountWarning, match="Only 40 distinct .* 41 were asked for"):
        patterns = sample_patterns(X, 41, method=method, symmetric=symmetric, random_state=0)
    assert set(patterns.bits.ravel().tolist()) == set(enumerate_patterns(X).bits.ravel().tolist())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("X", "count"), [(np.zeros((3, 2)), 1), (np.array([[2.0]]), 2), (np.eye(3), 8)])
def test_all_patterns_of_tiny_data(X, count, method, symmetric):
    with pytest.warns(PatternCountWarning, match=f"Only {count} distinct"):
        patterns = sample_patterns(X, 50, method=method, symmetric=symmetric, random_state=0)
    assert len(patterns) == count
    assert_sound(patterns, X)


@pytest.mark.usefixtures("never_list_all")
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("scales", [[1.0, 1.0, 1.0], [1e8, 1e-8, 1.0]])
def test_great_circles_reach_thin_cells(symmetric, scales):
    X = np.random.default_rng(0).standard_normal((40, 3)) * np.array(scales)
    wanted = int(0.9 * count_patterns(40, 3))
    patterns = sample_patterns(X, wanted, symmetric=symmetric, random_state=0)
    assert len(patterns) == wanted
    assert_sound(patterns, X)


@pytest.mark.usefixtures("never_list_all")
@pytest.mark.parametrize("symmetric", [False, True])
def test_search_order_completes_the_sample_without_a_full_list(symmetric):
    X = np.random.default_rng(0).integers(-2, 3, size=(10, 3)).astype(float)
    total = len(enumerate_patterns(X))
    with pytest.warns(PatternCountWarning, match=f"Only {total} distinct"):
        patterns = sample_patterns(X, 10**6, symmetric=symmetric, random_state=0)
    assert len(patterns) == total
    assert_sound(patterns, X)


def test_gaussian_gates_are_plain_draws_when_none_repeats():
    X = np.random.default_rng(0).standard_normal((200, 30))
    patterns = sample_patterns(X, 80, random_state=4)
    assert (patterns.generators == np.random.default_rng(4).standard_normal((80, 30))).all()
    assert patterns.take(slice(20)) == sample_patterns(X, 20, random_state=4)


@pytest.mark.parametrize("n_patterns", [10, 550])
def test_gaussian_sample_does_not_depend_on_order_or_repetition_of_rows(line, n_patterns):
    index = np.random.default_rng(1).permutation(np.r_[np.arange(300), np.arange(40)])
    patterns = sample_patterns(line, n_patterns, random_state=2)
    assert sample_patterns(line[index], n_patterns, random_state=2) == patterns.restricted_to(index)


@pytest.mark.parametrize("method", METHODS)
def test_kinds_of_random_state(line, method):
    for make in (np.random.default_rng, np.random.RandomState):
        first, second = (sample_patterns(line, 30, method=method, random_state=make(3)) for _ in range(2))
        assert first == second
    assert len(sample_patterns(line, 30, method=method)) == 30


def test_geometric_gates_are_orthogonal_to_rank_minus_one_rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12, 3)) @ rng.standard_normal((3, 5))
    data = ScaledData.of(X)
    gates = _geometric_gates(Arrangement.of(data), 30, rng)
    values = np.sort(np.abs(gates @ data.rows.T), axis=1)
    assert (values[:, 1] < 1e-14).all()
    assert (values[:, 2] > 1e-6).all()
    patterns = sample_patterns(X, count_patterns(12, 3), method="geometric", random_state=0)
    assert_sound(patterns, X)


def test_samples_where_the_full_list_cannot_be_verified():
    X = np.exp(6 * np.random.default_rng(0).standard_normal((60, 4)))
    with pytest.raises(RuntimeError, match="too nearly dependent"):
        enumerate_patterns(X)
    patterns = sample_patterns(X, 5000, random_state=0)
    assert len(patterns) == 5000
    assert_sound(patterns, X)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", UNRESOLVED)
def test_samples_where_cells_cannot_be_told_apart(kind, method):
    X = UNRESOLVED[kind](np.random.default_rng(0))
    with pytest.raises(ResolutionError):
        enumerate_patterns(X)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patterns, complete = sample_and_tell(X, 100_000, method=method, random_state=0)
    assert not complete
    assert [(w.category, "float64 can tell apart" in str(w.message)) for w in caught] == [
        (PatternCountWarning, True)
    ]
    assert 1 <= len(patterns) < 100_000
    assert len(np.unique(patterns.bits, axis=0)) == len(patterns)
    assert patterns.holds_on(X)


def test_completeness_is_told():
    X = np.random.default_rng(0).standard_normal((10, 2))
    with pytest.warns(PatternCountWarning, match="Only 20 distinct activation patterns of X exist"):
        assert sample_and_tell(X, 21, random_state=0)[1]
    assert not sample_and_tell(X, 20, random_state=0)[1]


def test_zero_and_parallel_rows():
    X = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [1.0, 0.0]])
    dense = sample_patterns(X, 4, random_state=0).to_dense()
    assert dense[:, 0].all()
    assert (dense[:, 1] == dense[:, 2]).all()
    assert (dense[:, 1] != dense[:, 3]).all()


def test_patterns_of_generators_are_the_patterns(line):
    patterns = sample_patterns(line, 500, random_state=0)
    assert PatternSet.from_weights(line, patterns.generators) == patterns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": np.ones(3), "n_patterns": 1}, "two-dimensional"),
        ({"X": np.array([[np.inf]]), "n_patterns": 1}, "finite"),
        ({"X": np.ones((0, 2)), "n_patterns": 1}, "at least one row"),
        ({"X": np.eye(2), "n_patterns": 0}, "at least 1"),
        ({"X": np.eye(2), "n_patterns": 1, "method": "uniform"}, "gaussian.*geometric"),
    ],
)
def test_rejects(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_patterns(**arguments)


def test_number_of_patterns_must_be_an_integer():
    with pytest.raises(TypeError):
        sample_patterns(np.eye(2), 2.5)
