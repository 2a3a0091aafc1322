"""The option `patterns`, and what the reported gap is about."""

import warnings

import numpy as np
import pytest

from convexnn import (
    ConvexMLPClassifier,
    ConvexMLPRegressor,
    PatternSet,
    certify,
    enumerate_patterns,
    sample_patterns,
)
from convexnn.exceptions import PatternCountWarning
from convexnn.patterns.witnesses import ResolutionError
from unresolved_data import UNRESOLVED, intersections, saturated_probabilities


def draw(seed=0, n=10, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, -1] + 0.2 * rng.normal(size=n)


def classes_of(y, n_classes=2):
    labels = np.array(["cold", "mild", "warm", "hot"])[:n_classes]
    return labels[np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))]


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


def test_scope_of_the_gap():
    X, y = draw()
    full = enumerate_patterns(with_ones(X))
    two = np.column_stack([y, y**2])

    def scope(target=y, **options):
        return ConvexMLPRegressor(0.1, **options).fit(X, target).gap_scope_

    assert scope() == "global"
    assert scope(patterns="exact") == "global"
    assert scope(patterns="exact", activation="absolute_value") == "global"
    assert scope(patterns="exact", activation="gated_relu") == "patterns"
    assert scope(patterns="exact", target=two) == "global"
    assert scope(patterns="exact", target=two, multi_output="separate") == "patterns"
    assert scope(patterns=5, random_state=0) == "patterns"
    assert scope(patterns=full) == "patterns"
    with pytest.warns(PatternCountWarning, match=f"Only {len(full)} distinct activation patterns"):
        assert scope(patterns=len(full) + 1, random_state=0) == "global"


def test_scope_of_classifiers():
    X, y = draw()
    assert ConvexMLPClassifier(0.1).fit(X, classes_of(y)).gap_scope_ == "global"
    for multi_output, scope in (("shared", "global"), ("separate", "patterns")):
        model = ConvexMLPClassifier(0.1, patterns="exact", multi_output=multi_output)
        assert model.fit(X[:6], classes_of(y[:6], 3)).gap_scope_ == scope


def test_auto_adapts_where_there_are_too_many():
    X, y = draw(n=40, d=12)
    model = ConvexMLPRegressor(5.0, random_state=0).fit(X, y)
    assert model.gap_scope_ == "patterns"
    assert 0 <= model.violation_ < 0.01
    sampled = ConvexMLPRegressor(5.0, patterns=100, random_state=0).fit(X, y)
    assert model.objective_ < sampled.objective_
    assert np.isnan(sampled.violation_)


@pytest.mark.parametrize("seed", range(3))
def test_auto_adapts_where_cells_cannot_be_told_apart(seed):
    X, y = saturated_probabilities(seed=seed)
    with pytest.raises(ResolutionError):
        enumerate_patterns(with_ones(X))
    model = ConvexMLPClassifier(random_state=0).fit(X, y)
    assert model.gap_scope_ == "patterns"
    certificate = certify(model, X, y)
    assert certificate.objective == pytest.approx(model.objective_, rel=1e-9)
    assert certificate.relative_gap < 1e-3
    searched = ConvexMLPClassifier(patterns="exact", random_state=0).fit(X, y)
    assert searched.gap_scope_ == "global"
    assert model.objective_ >= searched.dual_objective_
    assert model.objective_ == pytest.approx(searched.objective_, rel=1e-3)


@pytest.mark.parametrize("kind", UNRESOLVED)
@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
def test_samples_and_lists_where_cells_cannot_be_told_apart(kind, activation):
    rng = np.random.default_rng(0)
    X = UNRESOLVED[kind](rng)
    y = rng.normal(size=len(X))
    options = {"activation": activation, "hidden_bias": "none", "random_state": 0, "max_iter": 200}
    own = PatternSet.from_weights(X, intersections(X, rng))
    for patterns in (8, own, "auto"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ConvexMLPRegressor(0.1, patterns=patterns, **options).fit(X, y)
        assert model.dual_objective_ <= model.objective_
        empty = 0.5 * np.sum((y - y.mean()) ** 2)
        assert model.objective_ <= empty * (1 + 1e-9)


def test_lists_that_are_asked_for_and_cannot_be_made_are_refused():
    X, y = saturated_probabilities()
    with pytest.raises(ResolutionError, match="Try patterns='auto'"):
        ConvexMLPClassifier(patterns="exact", activation="gated_relu").fit(X, y)


def test_auto_samples_gates_where_there_are_too_many():
    X, y = draw(n=40, d=12)
    model = ConvexMLPRegressor(5.0, activation="gated_relu", random_state=0).fit(X, y)
    assert model.gap_scope_ == "patterns"
    assert 1 <= len(model.patterns_) <= 50


@pytest.mark.parametrize("hidden_bias", ["penalized", "none"])
def test_a_pattern_set_is_used_as_it_is(hidden_bias):
    X, y = draw()
    X = np.vstack([X, X[:2]])  # repeated samples are merged inside, which the patterns must survive
    y = np.append(y, y[:2] + 1)
    data = with_ones(X) if hidden_bias == "penalized" else X
    patterns = sample_patterns(data, 12, random_state=0)
    model = ConvexMLPRegressor(0.1, patterns=patterns, hidden_bias=hidden_bias).fit(X, y)
    np.testing.assert_array_equal(model.patterns_.to_dense(), patterns.to_dense())
    hidden = data @ np.vstack([model.coefs_[0], model.intercepts_[0]])[: data.shape[1]]
    listed = {tuple(p) for p in patterns.to_dense()}
    size = np.abs(hidden).max(axis=0)
    for column, scale in zip(hidden.T, size, strict=True):
        certain = np.abs(column) > 1e-7 * scale
        assert any((np.array(p)[certain] == (column[certain] > 0)).all() for p in listed)


def test_all_patterns_given_are_as_good_as_exact():
    X, y = draw()
    exact = ConvexMLPRegressor(0.1, patterns="exact", tol=1e-7).fit(X, y)
    given = ConvexMLPRegressor(0.1, patterns=enumerate_patterns(with_ones(X)), tol=1e-7).fit(X, y)
    assert given.objective_ == pytest.approx(exact.objective_, rel=1e-6)
    fewer = ConvexMLPRegressor(0.1, patterns=10, random_state=0).fit(X, y)
    assert len(fewer.patterns_) == 10
    assert fewer.objective_ >= exact.dual_objective_


@pytest.mark.parametrize(
    "make", [lambda: 3, lambda: np.random.RandomState(3), lambda: np.random.default_rng(3)]
)
def test_random_state(make):
    X, y = draw(n=20)
    first, again = (ConvexMLPRegressor(0.1, patterns=15, random_state=make()).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    assert first.patterns_ == again.patterns_
    other = ConvexMLPRegressor(0.1, patterns=15, random_state=4).fit(X, y)
    assert other.patterns_ != first.patterns_
