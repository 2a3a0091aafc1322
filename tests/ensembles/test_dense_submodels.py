"""Sub-models of dense networks against networks rebuilt with zeroed weights, which predict by themselves."""

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn import ConvexCNNRegressor, ConvexMLPClassifier, ConvexMLPRegressor
from convexnn.ensembles import dense
from convexnn.ensembles.dense import DenseSubModels, is_dense

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2
LABELS = np.array(["low", "mid", "top"])[np.digitize(Y, [0.3, 1.2])]
NEW = RNG.normal(size=(25, 4))


def targets_for(kind):
    return {
        "one": Y,
        "two": np.column_stack([Y, X[:, 2] - Y]),
        "counts": np.abs(Y),
        "binary": LABELS == "low",
        "classes": LABELS,
    }[kind]


def rebuilt(mlp, submodels, j):
    """Zero what the dropped units feed into, scale what the kept ones do."""
    copy = deepcopy(mlp)
    masks = [submodels.masks[layer][j] for layer in range(len(submodels.masks))]
    for layer, mask in enumerate(masks, start=1):
        copy.coefs_[layer] = mlp.coefs_[layer] * mask[:, None] / (1 - submodels.dropout)
    return copy


def predictions(estimator, data):
    if hasattr(estimator, "classes_"):
        return estimator.predict_proba(data)
    predicted = estimator.predict(data)
    return predicted[:, None] if predicted.ndim == 1 else predicted


@pytest.mark.parametrize("hidden", [(12,), (10, 7), (6, 5, 4)])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("kind", ["one", "two", "binary", "classes"])
def test_sub_models_are_the_network_with_zeroed_weights(hidden, activation, kind):
    network = MLPClassifier if kind in ("binary", "classes") else MLPRegressor
    mlp = network(hidden_layer_sizes=hidden, activation=activation, max_iter=10, random_state=0)
    mlp.fit(X, targets_for(kind))
    rng = np.random.default_rng(1)
    submodels = DenseSubModels.draw(mlp, 9, 0.3, rng)
    outputs = list(submodels.outputs(NEW))
    assert len(outputs) == len(submodels) == 9
    for j, found in enumerate(outputs):
        np.testing.assert_allclose(
            found, predictions(rebuilt(mlp, submodels, j), NEW), rtol=1e-12, atol=1e-13
        )


def test_poisson_regression():
    mlp = MLPRegressor(hidden_layer_sizes=(8,), loss="poisson", max_iter=20, random_state=0)
    mlp.fit(X, targets_for("counts"))
    submodels = DenseSubModels.draw(mlp, 5, 0.5, np.random.default_rng(0))
    for j, found in enumerate(submodels.outputs(NEW)):
        np.testing.assert_allclose(found, predictions(rebuilt(mlp, submodels, j), NEW), rtol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        (ConvexMLPRegressor(0.01, patterns=20, random_state=0), "one"),
        (ConvexMLPRegressor(0.01, patterns=20, activation="leaky_relu", random_state=0), "two"),
        (ConvexMLPRegressor(0.01, patterns=20, activation="absolute_value", random_state=0), "one"),
        (ConvexMLPRegressor(0.01, patterns=20, activation="gated_relu", random_state=0), "one"),
        (ConvexMLPClassifier(0.01, patterns=20, random_state=0), "binary"),
        (ConvexMLPClassifier(0.01, patterns=20, activation="gated_relu", random_state=0), "classes"),
        (ConvexMLPClassifier(0.01, patterns=20, activation="leaky_relu", random_state=0), "classes"),
    ],
)
def test_own_estimators(estimator, kind):
    estimator = deepcopy(estimator).fit(X, targets_for(kind))
    assert is_dense(estimator)
    network = estimator.network_
    rng = np.random.default_rng(1)
    submodels = DenseSubModels.draw(estimator, 6, 0.4, rng)
    for j, found in enumerate(submodels.outputs(NEW)):
        kept = submodels.masks[0][j][:, None]
        cut = replace(network, output_weights=network.output_weights * kept / 0.6)
        outputs = cut.outputs(NEW)
        if kind == "binary":
            outputs = 1 / (1 + np.exp(np.hstack([outputs, -outputs])))
        elif kind == "classes":
            outputs = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found, outputs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hidden", [(12,), (10, 7)])
@pytest.mark.parametrize("kind", ["one", "binary", "classes"])
def test_no_dropout_gives_copies_of_the_whole_network(hidden, kind):
    network = MLPRegressor if kind == "one" else MLPClassifier
    mlp = network(hidden_layer_sizes=hidden, max_iter=10, random_state=0).fit(X, targets_for(kind))
    submodels = DenseSubModels.draw(mlp, 3, 0.0, np.random.default_rng(0))
    assert all(mask.all() for mask in submodels.masks)
    for found in submodels.outputs(NEW):
        np.testing.assert_allclose(found, predictions(mlp, NEW), rtol=1e-12)


@pytest.mark.parametrize("hidden", [(12,), (10, 7)])
def test_blocks_of_samples_and_groups_of_sub_models_change_nothing(monkeypatch, hidden):
    mlp = MLPClassifier(hidden, max_iter=10, random_state=0).fit(X, LABELS)
    rng = np.random.default_rng(0)
    submodels = DenseSubModels.draw(mlp, 11, 0.5, rng)
    at_once = np.array(list(submodels.outputs(NEW)))
    monkeypatch.setattr(dense, "_WIDEST_PRODUCT", 10)
    in_groups = np.array(list(submodels.outputs(NEW)))
    monkeypatch.setattr(dense, "MOST_BYTES", 2000)
    in_blocks = np.array(list(submodels.outputs(NEW)))
    np.testing.assert_allclose(in_groups, at_once, rtol=1e-13)
    np.testing.assert_allclose(in_blocks, at_once, rtol=1e-13)


def test_some_sub_models_in_any_order():
    mlp = MLPRegressor(hidden_layer_sizes=(10, 7), max_iter=10, random_state=0).fit(X, Y)
    submodels = DenseSubModels.draw(mlp, 8, 0.5, np.random.default_rng(0))
    every = np.array(list(submodels.outputs(NEW)))
    np.testing.assert_allclose(
        np.array(list(submodels.outputs(NEW, [5, 2, 5]))), every[[5, 2, 5]], rtol=1e-13
    )
    assert list(submodels.outputs(NEW, [])) == []
    with pytest.raises(IndexError, match="8"):
        submodels.outputs(NEW, [8])


def test_a_sub_model_is_the_same_function_of_every_sample():
    mlp = MLPRegressor(hidden_layer_sizes=(20,), max_iter=10, random_state=0).fit(X, Y)
    submodels = DenseSubModels.draw(mlp, 4, 0.5, np.random.default_rng(0))
    whole = np.array(list(submodels.outputs(NEW)))
    one_by_one = np.hstack([np.array(list(submodels.outputs(row[None]))) for row in NEW])
    np.testing.assert_allclose(one_by_one, whole, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_masks_keep_the_right_share(dropout, seed):
    mlp = MLPRegressor(hidden_layer_sizes=(50, 40), max_iter=1, random_state=0).fit(X, Y)
    rng = np.random.default_rng(seed)
    submodels = DenseSubModels.draw(mlp, 500, dropout, rng)
    for mask, units in zip(submodels.masks, (50, 40), strict=True):
        assert mask.shape == (500, units)
        assert mask.any(axis=1).all()
        # Forced units, of probability dropout ** units, are far fewer than the noise.
        assert (
            abs(mask.mean() - (1 - dropout)) < 5 * np.sqrt(dropout * (1 - dropout) / mask.size) + dropout**40
        )
    assert len(np.unique(submodels.masks[0], axis=0)) > 100


@pytest.mark.parametrize("units", [1, 2, 5])
def test_every_layer_keeps_a_unit(units, seed):
    mlp = MLPRegressor(hidden_layer_sizes=(units, 3), max_iter=1, random_state=0).fit(X, Y)
    submodels = DenseSubModels.draw(mlp, 300, 0.99, np.random.default_rng(seed))
    for mask in submodels.masks:
        assert mask.any(axis=1).all()
        # Which unit is kept is random, too.
        assert mask.any(axis=0).all()


def test_the_mean_of_many_sub_models_is_the_whole_network(seed):
    mlp = MLPRegressor(hidden_layer_sizes=(30,), max_iter=50, random_state=0).fit(X, Y)
    submodels = DenseSubModels.draw(mlp, 4000, 0.5, np.random.default_rng(seed))
    outputs = np.array(list(submodels.outputs(NEW)))[:, :, 0]
    error = np.abs(outputs.mean(axis=0) - mlp.predict(NEW))
    assert (error < 5.5 * outputs.std(axis=0) / np.sqrt(4000)).all()


def test_a_network_without_neurons():
    model = ConvexMLPRegressor(1e6).fit(X, Y)
    assert model.n_neurons_ == 0
    submodels = DenseSubModels.draw(model, 3, 0.5, np.random.default_rng(0))
    for found in submodels.outputs(NEW):
        np.testing.assert_allclose(found[:, 0], model.predict(NEW))


def test_float32_stays_float32():
    model = MLPClassifier(10, max_iter=3, random_state=0).fit(X.astype(np.float32), LABELS)
    submodels = DenseSubModels.draw(model, 3, 0.0, np.random.default_rng(0))
    single = next(submodels.outputs(NEW.astype(np.float32)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, model.predict_proba(NEW), rtol=1e-4)
    assert next(submodels.outputs(NEW)).dtype == np.float64


def test_draws_repeat_with_the_generator_and_survive_pickling_and_fitting_again():
    mlp = MLPRegressor(hidden_layer_sizes=(10,), max_iter=5, random_state=0, warm_start=True).fit(X, Y)
    submodels = DenseSubModels.draw(mlp, 5, 0.5, np.random.default_rng(3))
    before = np.array(list(submodels.outputs(NEW)))
    again = DenseSubModels.draw(mlp, 5, 0.5, np.random.default_rng(3))
    restored = pickle.loads(pickle.dumps(submodels))
    mlp.fit(X, -Y)
    for same in (submodels, again, restored):
        np.testing.assert_array_equal(np.array(list(same.outputs(NEW))), before)
        assert not same.masks[0].flags.writeable
        assert not same.layers.coefs[0].flags.writeable
    with pytest.raises(AttributeError):
        submodels.dropout = 0.1


def test_frozen_estimators_are_opened():
    mlp = MLPClassifier((10,), max_iter=5, random_state=0).fit(X, LABELS)
    frozen = FrozenEstimator(mlp)
    assert is_dense(frozen)
    found = list(DenseSubModels.draw(frozen, 4, 0.5, np.random.default_rng(0)).outputs(NEW))
    wanted = list(DenseSubModels.draw(mlp, 4, 0.5, np.random.default_rng(0)).outputs(NEW))
    np.testing.assert_array_equal(found, wanted)


def test_what_is_dense():
    assert is_dense(MLPRegressor(hidden_layer_sizes=(5,), max_iter=1).fit(X, Y))
    assert not is_dense(MLPRegressor(hidden_layer_sizes=(5,)))
    assert not is_dense(MLPRegressor(hidden_layer_sizes=(), max_iter=1).fit(X, Y))
    assert not is_dense(LinearRegression().fit(X, Y))
    assert not is_dense(ConvexMLPRegressor())
    assert not is_dense(ConvexCNNRegressor(patterns=4, kernel_size=2, tol=0.1).fit(X, Y))
    assert not is_dense("text")
    assert not is_dense(None)


@pytest.mark.parametrize(
    ("estimator", "error", "text"),
    [
        (MLPRegressor(), NotFittedError, "not fitted"),
        (ConvexMLPRegressor(), ValueError, r"fitted.*Got ConvexMLPRegressor"),
        (LinearRegression().fit(X, Y), ValueError, "Got LinearRegression; drop inputs"),
        (
            ConvexMLPClassifier(1.0, loss="hinge", patterns=5).fit(X, LABELS),
            ValueError,
            "use loss='log_loss'",
        ),
    ],
)
def test_estimators_without_readable_layers(estimator, error, text):
    with pytest.raises(error, match=text):
        DenseSubModels.draw(estimator, 3, 0.5, np.random.default_rng(0))


def test_several_labels_per_sample():
    mlp = MLPClassifier((5,), max_iter=5).fit(X, np.column_stack([Y > 0, Y > 1, Y > 2]))
    with pytest.raises(ValueError, match=r"exclusive classes. Got 3 labels per sample"):
        DenseSubModels.draw(mlp, 3, 0.5, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("n_submodels", "dropout", "error", "text"),
    [
        (0, 0.5, ValueError, "n_submodels must be at least 1. Got 0"),
        (2.0, 0.5, TypeError, "n_submodels must be an integer. Got 2.0"),
        (2, 1.0, ValueError, r"dropout must lie in \[0, 1\). Got 1.0"),
        (2, -0.1, ValueError, r"dropout must lie in \[0, 1\). Got -0.1"),
        (2, np.nan, ValueError, r"dropout must lie in \[0, 1\). Got nan"),
        (2, "0.5", TypeError, "dropout must be a real number. Got '0.5'"),
    ],
)
def test_arguments_out_of_range(n_submodels, dropout, error, text):
    mlp = MLPRegressor(hidden_layer_sizes=(5,), max_iter=1).fit(X, Y)
    with pytest.raises(error, match=text):
        DenseSubModels.draw(mlp, n_submodels, dropout, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("samples", "text"),
    [(NEW[:, :3], r"4 columns.*Got shape"), (NEW[0], "2D array"), (np.full((2, 4), np.nan), "NaN")],
)
def test_bad_samples(samples, text):
    mlp = MLPRegressor(hidden_layer_sizes=(5,), max_iter=1).fit(X, Y)
    with pytest.raises(ValueError, match=text):
        DenseSubModels.draw(mlp, 2, 0.5, np.random.default_rng(0)).outputs(samples)
