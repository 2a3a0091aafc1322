"""Paths whose patterns are searched for: exactly at each strength, or adapted at a few of them."""

import numpy as np
import pytest

from convexnn import ConvexMLPRegressor, ConvexMLPRegressorCV, convex_path, enumerate_patterns
from convexnn.exceptions import PatternBudgetError
from convexnn.paths import alpha_max
from convexnn.problem import augment
from convexnn.programs import two_layer_program


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 3))
    return X, np.maximum(X[:, 0] - X[:, 1], 0) + np.sin(X[:, 2]) + 0.1 * rng.normal(size=90)


def test_an_exact_path_is_certified_at_every_point(samples):
    path = convex_path(*samples, "exact", alphas=4, eps=0.05, tol=1e-5)
    assert path.gap_scope == "global"
    assert path.converged
    assert (path.relative_gaps <= 1e-5).all()
    single = ConvexMLPRegressor(path.alphas[2], patterns="exact", tol=1e-6).fit(*samples)
    assert path.objectives[2] == pytest.approx(single.objective_, rel=2e-5)
    assert path.n_neurons[0] == 0
    assert path.n_neurons[1] > 0


def test_the_largest_strength_is_that_of_all_patterns():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(60, 2)), rng.normal(size=60)
    path = convex_path(X, y, "exact", alphas=1)
    whole = two_layer_program(X, y, enumerate_patterns(augment(X, "penalized")), alpha=1.0)
    assert path.alphas[0] == pytest.approx(alpha_max(whole), rel=1e-5)


def test_an_adaptive_path_is_not_worse_than_a_sampled_one(samples):
    path = convex_path(*samples, "auto", alphas=4, eps=0.01, random_state=0)
    assert path.gap_scope == "patterns"
    sampled = convex_path(*samples, 50, alphas=path.alphas, random_state=0)
    assert (path.objectives <= sampled.objectives * (1 + 1e-4)).all()


def test_cross_validation_with_adaptive_patterns(samples):
    model = ConvexMLPRegressorCV(alphas=[10.0, 1.0], cv=2, random_state=0).fit(*samples)
    assert model.gap_scope_ == "patterns"
    assert model.score(*samples) > 0.8


def test_exact_over_budget():
    rng = np.random.default_rng(1)
    with pytest.raises(PatternBudgetError, match="time_limit"):
        convex_path(rng.normal(size=(200, 20)), rng.normal(size=200), "exact", alphas=3)
