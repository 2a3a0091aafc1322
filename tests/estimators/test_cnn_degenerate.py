"""Degenerate images with a meaning: constant, repeated, opposite or single ones, one patch, any scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv_restatement import loop_objective, loop_patches
from convexnn import ConvexCNNClassifier, ConvexCNNRegressor, ConvexMLPClassifier, ConvexMLPRegressor

KINDS = [
    {"pooling": "average"},
    {"pooling": "average", "activation": "absolute_value", "hidden_bias": "free"},
    {"pooling": "max"},
    {"pooling": "max", "hidden_bias": "none", "fit_intercept": False},
    {"pooling": None},
    {"pooling": "weighted", "hidden_bias": "none"},
    {"activation": "linear"},
    {"activation": "linear", "padding": "circular", "kernel_size": 4, "hidden_bias": "none"},
]
SPOILS = ["constant", "zero", "duplicate", "opposite", "periodic", "multiple", "one image", "zero targets"]


def fit(X, y, sample_weight=None, **options):
    shared = {"alpha": 0.1, "kernel_size": 2, "patterns": "exact", "tol": 1e-6, "random_state": 0}
    return ConvexCNNRegressor(**shared | options).fit(X, y, sample_weight=sample_weight)


def targets(rng, n, options):
    n_positions = 4 if options.get("padding", "valid") != "valid" else 3
    return rng.normal(size=(n, n_positions)) if options.get("pooling", "auto") is None else rng.normal(size=n)


@st.composite
def spoiled(draw):
    """Signals of four entries and what is wrong with them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 4))
    X, y = rng.normal(size=(n, 4, 1)), rng.normal(size=n)
    for kind in draw(st.lists(st.sampled_from(SPOILS), min_size=1, max_size=3)):
        i, j = rng.integers(n, size=2)
        if kind == "constant":
            X[i] = X[i, 0]
        elif kind == "zero":
            X[i] = 0.0
        elif kind == "duplicate":
            X[i] = X[j]
        elif kind == "opposite":
            X[i] = -X[j]
        elif kind == "periodic":
            X[i, 2:] = X[i, :2]
        elif kind == "multiple":
            X[i] = 3.0 * X[j]
        elif kind == "one image":
            X, y = X[:1], y[:1]
            n = 1
        else:
            y = 0.0 * y
    return X, y, int(rng.integers(2**31))


@pytest.mark.parametrize("options", KINDS)
@settings(max_examples=12)
@given(case=spoiled())
def test_degenerate_images(options, case):
    X, y, seed = case
    n_positions = 3 if options.get("padding", "valid") == "valid" else 4
    if options.get("pooling", "auto") is None:
        y = y[:, None] * np.arange(1.0, 1 + n_positions)
    model = fit(X, y, **options)
    assert model.result_.converged
    assert model.gap_scope_ == "global"
    assert model.dual_objective_ <= model.objective_ * (1 + 1e-12)
    geometry = model.network_.geometry
    patches = loop_patches(
        X, geometry.kernel_size, geometry.stride, geometry.padding, bias=model.hidden_bias != "none"
    )
    by_hand = loop_objective(
        model.network_, patches, y, alpha=0.1, loss="squared_error", weight=np.ones(len(y))
    )
    assert model.objective_ == pytest.approx(by_hand, rel=1e-7, abs=1e-15)
    order = np.random.default_rng(seed).permutation(len(y))
    assert fit(X[order], y[order], **options).objective_ == pytest.approx(
        model.objective_, rel=3e-6, abs=1e-12
    )


WHOLE = [
    {"pooling": "average"},
    {"pooling": "max"},
    {"pooling": None},
    {"pooling": "weighted"},
]


@pytest.mark.parametrize("options", WHOLE)
@pytest.mark.parametrize(
    ("hidden_bias", "fit_intercept"), [("penalized", True), ("none", True), ("none", False), ("free", True)]
)
def test_one_patch_is_a_dense_network(options, hidden_bias, fit_intercept, seed):
    if hidden_bias == "free" and options["pooling"] in ("max", "weighted"):
        return
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(7, 2, 1, 1)), rng.normal(size=7)
    modes = {"hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
    wanted = y[:, None] if options["pooling"] is None else y
    model = fit(X, wanted, kernel_size=2, tol=1e-7, **options, **modes)
    dense = ConvexMLPRegressor(0.1, patterns="exact", tol=1e-8, **modes).fit(X.reshape(7, 2), y)
    assert model.network_.geometry.n_positions == 1
    assert model.objective_ == pytest.approx(dense.objective_, rel=2e-7)


@pytest.mark.parametrize("pooling", ["average", "max", "weighted"])
@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge"])
def test_one_patch_is_a_dense_classifier(pooling, loss):
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(7, 2, 1)), np.array([0, 1, 0, 1, 1, 0, 0])
    options = {"alpha": 0.1, "hidden_bias": "none", "loss": loss}
    model = ConvexCNNClassifier(pooling=pooling, patterns="exact", tol=1e-7, random_state=0, **options)
    dense = ConvexMLPClassifier(patterns="exact", tol=1e-8, **options).fit(X.reshape(7, 2), labels)
    assert model.fit(X, labels).objective_ == pytest.approx(dense.objective_, rel=3e-7)


@pytest.mark.parametrize(
    "scale", [1e-6, *(pytest.param(c, marks=pytest.mark.slow) for c in (1e-3, 1e3, 1e6))]
)
@pytest.mark.parametrize("options", KINDS)
def test_scales_change_nothing(options, scale):
    # Without hidden biases |u||a| falls as 1/scale when the images grow; squared errors grow as their square.
    if options.get("hidden_bias") == "free":
        return
    options = options | {"hidden_bias": "none"}
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 4, 1))
    y = targets(rng, 5, options)
    plain = fit(X, y, **options)
    images = fit(scale * X, y, **options | {"alpha": 0.1 * scale})
    assert images.objective_ == pytest.approx(plain.objective_, rel=3e-6)
    both = fit(scale * X, scale * y, **options | {"alpha": 0.1 * scale**2})
    assert both.objective_ == pytest.approx(scale**2 * plain.objective_, rel=3e-6)


@pytest.mark.parametrize("options", KINDS)
def test_all_the_weight_on_one_sample(options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4, 4, 1))
    y = targets(rng, 4, options)
    weight = np.array([0.0, 0.0, 2.5, 0.0])
    lonely = fit(X[2:3], y[2:3], sample_weight=weight[2:3], **options)
    model = fit(X, y, sample_weight=weight, **options)
    assert model.objective_ == pytest.approx(lonely.objective_, rel=3e-6, abs=1e-12)
    # Many orders of magnitude between the weights.
    heavy = fit(X, y, sample_weight=np.array([1.0, 1.0, 1e8, 1.0]), **options)
    assert heavy.result_.converged


@pytest.mark.parametrize("options", KINDS)
def test_enormous_alpha_finds_the_zero_network(options):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 4, 1))
    y = targets(rng, 5, options)
    model = fit(X, y, **options | {"alpha": 1e12})
    assert model.n_neurons_ == 0
    assert model.result_.converged
    constant = y.mean() if options.get("fit_intercept", True) else 0.0
    assert model.objective_ == pytest.approx(np.sum((y - constant) ** 2) / 2, rel=1e-12)
    np.testing.assert_allclose(model.predict(X), np.full(y.shape, constant), atol=1e-12)
