"""Input of the convolutional estimators: shapes, options that do not fit, weights, starts and limits."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conv_restatement import loop_patches
from convexnn import ConvexCNNClassifier, ConvexCNNRegressor, ConvNetwork, enumerate_patterns

ESTIMATORS = [ConvexCNNRegressor, ConvexCNNClassifier]
KINDS = [
    {"pooling": "average"},
    {"pooling": "max"},
    {"pooling": None},
    {"pooling": "weighted", "hidden_bias": "none"},
    {"activation": "linear"},
    {"activation": "linear", "padding": "circular", "kernel_size": (3, 2)},
]

RNG = np.random.default_rng(0)
SHAPE = (3, 2, 1)
X = RNG.normal(size=(8, *SHAPE))
Y = np.abs(X[:, 1:] - X[:, :-1]).sum(axis=(1, 2, 3)) + 0.1 * RNG.normal(size=8)
LABELS = np.array([1, 1, 0, 0, 1, 0, 1, 0])


def regressor(**options):
    return ConvexCNNRegressor(
        **{"alpha": 0.1, "kernel_size": (2, 1), "tol": 1e-6, "random_state": 0} | options
    )


def targets_for(model):
    """Targets that a model may have: one for each position without pooling, where the images have them."""
    values = LABELS if isinstance(model, ConvexCNNClassifier) else Y
    if model.pooling is not None:
        return values
    n_positions = loop_patches(X, (2, 1), (1, 1), "valid", bias=False).shape[1]
    return np.roll(values[:, None] + np.zeros(n_positions, dtype=values.dtype), 3, axis=0)


# Shapes


@pytest.mark.parametrize("options", KINDS)
def test_images_and_flat_samples_are_the_same(options):
    images = regressor(**options)
    images.fit(X, targets_for(images))
    flat = regressor(image_shape=SHAPE, **options).fit(X.reshape(8, -1), targets_for(images))
    assert flat.objective_ == images.objective_
    assert flat.image_shape_ == images.image_shape_ == SHAPE
    assert flat.n_features_in_ == images.n_features_in_ == 6
    assert flat.network_ == images.network_
    np.testing.assert_array_equal(flat.predict(X), images.predict(X.reshape(8, -1)))
    listed = clone(images).fit(X.tolist(), targets_for(images))
    assert listed.objective_ == images.objective_


def test_flat_samples_are_signals_of_one_channel():
    flat = X.reshape(8, 6)
    plain = ConvexCNNRegressor(0.1).fit(flat, Y)
    assert plain.image_shape_ == (6, 1)
    assert plain.filters_.shape == (plain.n_neurons_, 3, 1)
    assert plain.objective_ == ConvexCNNRegressor(0.1).fit(flat[:, :, None], Y).objective_


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_kernels_larger_than_the_image_are_cut(estimator_type):
    y = LABELS if estimator_type is ConvexCNNClassifier else Y
    large, cut = (estimator_type(0.1, kernel_size=size).fit(X, y) for size in (5, (3, 2)))
    assert large.network_ == cut.network_
    assert large.network_.geometry.n_positions == 1


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(
    ("samples", "shape", "text"),
    [
        (X, (2, 3, 1), r"X must have shape \(n_samples, 2, 3, 1\) or be flat. Got \(8, 3, 2, 1\)"),
        (X[..., 0], SHAPE, r"Got \(8, 3, 2\); give a single channel an axis of its own, X\[..., None\]"),
        (X.reshape(8, 6), (5, 1), r"image_shape must be .* with 6 entries in all.*Got \(5, 1\)"),
        (X.reshape(8, 6), (6,), r"image_shape must be \(height, width, channels\) or \(length, channels\)"),
        (X.reshape(8, 3, 2, 1, 1), None, r"image_shape must be \(height, width, channels\)"),
        (X[:, 0, 0, 0], None, "Expected 2D array, got 1D array"),
        (X[:0], None, r"0 sample\(s\)"),
        (np.where(X > 1, np.inf, X), None, "Input X contains infinity"),
    ],
)
def test_samples_of_wrong_shapes(estimator_type, samples, shape, text):
    model = estimator_type(image_shape=shape, kernel_size=1)
    y = LABELS if estimator_type is ConvexCNNClassifier else Y
    with pytest.raises(ValueError, match=text):
        model.fit(samples, y[: len(samples)])


def test_prediction_wants_the_shape_of_the_fit():
    model = regressor()
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.fit(X, Y)
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 3, 2, 1\) or be flat"):
        model.predict(X.reshape(8, 2, 3, 1))
    with pytest.raises(ValueError, match=r"5 features, but .* is expecting 6"):
        model.predict(X.reshape(8, 6)[:, :5])


@pytest.mark.parametrize("shape", [(8,), (8, 3), (7, 4), (8, 4, 2)])
def test_targets_without_pooling_are_one_for_each_position(shape):
    with pytest.raises(ValueError, match=r"a target for each position|inconsistent|dim"):
        regressor(pooling=None).fit(X, np.ones(shape))


# Options


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pooling": "sum"}, "pooling must be 'auto', 'average', 'max', 'weighted' or None. Got 'sum'"),
        ({"padding": "same"}, r"padding must be one of \['valid', 'zero', 'circular'\]. Got 'same'"),
        ({"kernel_size": 0}, "kernel_size must be an integer >= 1, or 2 of them. Got 0"),
        ({"kernel_size": 1.5}, "kernel_size must be .* Got 1.5"),
        ({"kernel_size": (1, 1, 1)}, r"kernel_size must be .* or 2 of them. Got \(1, 1, 1\)"),
        ({"stride": 0}, "stride must be .* Got 0"),
        ({"activation": "gated_relu"}, "Filters need an activation without gates. Got 'gated_relu'"),
        ({"activation": "tanh"}, "Unknown activation 'tanh'. Choose one of"),
        ({"pooling": "max", "activation": "leaky_relu"}, "pooling='max' is for activation='relu'"),
        ({"pooling": "max", "hidden_bias": "free"}, "hidden_bias='free' is not supported with pooling='max'"),
        ({"pooling": "weighted", "hidden_bias": "free"}, "not supported with pooling='weighted'"),
        ({"pooling": "average", "activation": "linear"}, "activation='linear' is for pooling='weighted'"),
        ({"pooling": "max", "activation": "linear"}, "activation='linear'|activation='relu'"),
        ({"pooling": "weighted", "alpha": 0}, "pooling='weighted' needs regularisation"),
        ({"activation": "linear", "alpha": 0.0}, "pooling='weighted' needs regularisation"),
        ({"alpha": -1.0}, "alpha must be finite and >= 0"),
        ({"hidden_bias": "foo"}, "hidden_bias must be 'penalized', 'free' or 'none'. Got 'foo'"),
        ({"hidden_bias": "free", "fit_intercept": False}, "hidden_bias='free' gives any constant"),
        ({"patterns": "foo"}, "patterns must be 'auto', 'exact', a positive number"),
        ({"solver": "foo"}, "Unknown solver 'foo'"),
        ({"tol": 0.0}, "tol must be positive"),
    ],
)
def test_options_that_do_not_fit(estimator_type, options, text):
    with pytest.raises(ValueError, match=text):
        estimator_type(**options).fit(X, LABELS)


@pytest.mark.parametrize("options", [{"pooling": "weighted"}, {"activation": "linear"}])
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("solver", "foo", "Unknown solver 'foo'"),
        ("tol", -1.0, "tol must be positive"),
        ("max_iter", 0, "max_iter must be None or at least 1"),
        ("time_limit", 0.0, "time_limit must be None or positive"),
    ],
)
def test_solver_options_of_weighted_pooling(options, name, value, text):
    with pytest.raises(ValueError, match=text):
        regressor(**options | {name: value}).fit(X, Y)


def test_patterns_of_other_data():
    rows = loop_patches(X, (2, 1), (1, 1), "valid", bias=True).reshape(-1, 3)
    given = regressor(patterns=enumerate_patterns(rows)).fit(X, Y)
    assert given.objective_ == pytest.approx(regressor(patterns="exact").fit(X, Y).objective_, rel=1e-5)
    with pytest.raises(ValueError, match="patterns are of data of shape"):
        regressor(patterns=enumerate_patterns(rows[:, :2])).fit(X, Y)


# The manner of scikit-learn


@pytest.mark.parametrize("options", KINDS)
def test_pickles_and_clones(options):
    model = regressor(**options)
    model.fit(X, targets_for(model))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    assert copy.network_ == model.network_
    assert isinstance(copy.network_, ConvNetwork)
    again = clone(model)
    assert not hasattr(again, "network_")
    assert again.fit(X, targets_for(model)).network_ == model.network_


def test_pipelines_and_grid_searches():
    flat = np.vstack([X, X + 0.01, X - 0.01]).reshape(24, 6)
    pipeline = make_pipeline(StandardScaler(), regressor(image_shape=SHAPE, tol=1e-3))
    grid = {"convexcnnregressor__alpha": [0.01, 100.0], "convexcnnregressor__pooling": ["average", "max"]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(flat, np.tile(Y, 3))
    assert search.best_params_["convexcnnregressor__alpha"] == 0.01
    assert search.best_estimator_[-1].network_.geometry.image_shape == SHAPE


@pytest.mark.parametrize("loss", ["log_loss", "hinge", "squared_hinge"])
@pytest.mark.parametrize("labels", [LABELS, np.array(list("abcabcab"))])
def test_classifiers(loss, labels):
    model = ConvexCNNClassifier(0.01, kernel_size=2, loss=loss).fit(X, labels)
    assert model.classes_.tolist() == sorted(set(labels.tolist()))
    decision = model.decision_function(X)
    n_classes = len(model.classes_)
    assert decision.shape == ((8,) if n_classes == 2 else (8, n_classes))
    chosen = (decision > 0).astype(int) if n_classes == 2 else decision.argmax(axis=1)
    np.testing.assert_array_equal(model.predict(X), model.classes_[chosen])
    assert model.score(X, labels) == np.mean(model.predict(X) == labels) == 1.0
    if loss == "log_loss":
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), rtol=1e-12)


def test_a_label_for_each_position():
    labels = np.where(X[:, 1:, :, 0] > X[:, :-1, :, 0], "up", "down").reshape(8, 4)
    model = ConvexCNNClassifier(0.01, kernel_size=(2, 1), pooling=None).fit(X, labels)
    assert model.predict(X).shape == (8, 4)
    assert model.decision_function(X).shape == (8, 4)
    assert model.score(X, labels) == 1.0
    weight = np.arange(8.0)
    right = (model.predict(X[::-1]) == labels).mean(axis=1)
    assert model.score(X[::-1], labels, weight) == pytest.approx(right @ weight / weight.sum())


# Weights, starts, limits


@pytest.mark.parametrize("options", KINDS)
def test_weights_are_repetitions(options):
    counts = np.array([1, 2, 0, 1, 3, 1, 0, 1])
    weighted, repeated = regressor(**options), regressor(**options)
    y = targets_for(weighted)
    weighted.fit(X, y, sample_weight=counts)
    repeated.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts, axis=0))
    assert weighted.objective_ == pytest.approx(repeated.objective_, rel=3e-6)


@pytest.mark.parametrize("pooling", ["average", "max", "weighted"])
def test_class_weights_are_sample_weights(pooling):
    options = {"alpha": 0.5, "kernel_size": (2, 1), "pooling": pooling, "hidden_bias": "none", "tol": 1e-6}
    by_class = ConvexCNNClassifier(class_weight={0: 1.0, 1: 3.0}, **options).fit(X, LABELS)
    by_sample = ConvexCNNClassifier(**options).fit(X, LABELS, sample_weight=1.0 + 2.0 * LABELS)
    assert by_class.objective_ == pytest.approx(by_sample.objective_, rel=3e-6)


@pytest.mark.parametrize("options", KINDS)
def test_warm_starts_are_never_worse(options):
    model = regressor(warm_start=True, **options)
    y = targets_for(model)
    model.fit(X, y)
    first, network = model.objective_, model.network_
    model.set_params(tol=1e-2).fit(X, y)
    assert model.objective_ <= first * (1 + 1e-12)
    model.set_params(alpha=0.15).fit(X, y)
    assert model.objective_ <= network.objective(X, y, alpha=0.15) * (1 + 1e-12)
    # Another kind of network does not start from it.
    model.set_params(kernel_size=1, stride=2)
    if options.get("pooling", "auto") is not None:
        cold = clone(model).fit(X, y)
        assert model.fit(X, y).objective_ == pytest.approx(cold.objective_, rel=2e-2)


@pytest.mark.parametrize("options", KINDS)
def test_a_limit_of_time_leaves_a_network_and_a_bound(options):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(12, *SHAPE))
    model = regressor(time_limit=1e-6, tol=1e-9, patterns="exact", **options)
    y = rng.normal(size=(12, 4) if model.pooling is None else 12)
    with pytest.warns(ConvergenceWarning, match="relative duality gap"):
        model.fit(images, y)
    best = regressor(tol=1e-4, patterns="exact", **options).fit(images, y)
    assert model.dual_objective_ <= best.objective_
    assert model.objective_ >= best.dual_objective_
    assert model.objective_ == pytest.approx(model.network_.objective(images, y, alpha=0.1), rel=1e-10)


@pytest.mark.parametrize("options", KINDS)
def test_the_same_seed_gives_the_same_network(options):
    rng = np.random.default_rng(1)
    images = rng.normal(size=(10, *SHAPE))
    y = rng.normal(size=(10, 4) if options.get("pooling", "auto") is None else 10)
    first, second = (regressor(random_state=7, patterns=6, **options).fit(images, y) for _ in range(2))
    assert first.network_ == second.network_


@pytest.mark.parametrize("options", KINDS)
def test_verbose_prints(options, capsys):
    quiet = regressor(**options)
    y = targets_for(quiet)
    quiet.fit(X, y)
    assert capsys.readouterr().out == ""
    regressor(verbose=1, **options).fit(X, y)
    assert "objective" in capsys.readouterr().out
