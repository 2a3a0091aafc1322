"""Dropout ensembles of PyTorch modules: what a mask is, and that masks and modules stay what they were."""

import pickle

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.base import clone

from convexnn.ensembles import (
    DropoutEnsembleClassifier,
    DropoutEnsembleRegressor,
    submodel_curve,
    torch_modules,
)
from convexnn.ensembles.torch_modules import TorchSubModels
from ensemble_cases import classification, kkt_residual, least_squares, regression

torch = pytest.importorskip("torch", reason="modules need torch")
nn = torch.nn


@pytest.fixture(autouse=True)
def fixed_weights(seed):
    torch.manual_seed(seed)


def dense(n_outputs=1, p=0.5, d=5):
    return nn.Sequential(
        nn.Linear(d, 32), nn.ReLU(), nn.Dropout(p), nn.Linear(32, 16), nn.Tanh(), nn.Dropout(0.2),
        nn.Linear(16, n_outputs),
    ).eval()  # fmt: skip


def outputs(submodels, X, which=None):
    return np.stack(list(submodels.outputs(X, which)))


@pytest.mark.parametrize("squeeze", [False, True])
def test_regression_weights_are_optimal_for_the_sub_models(squeeze, seed):
    X, y = regression(seed)
    module = nn.Sequential(dense(), nn.Flatten(0)) if squeeze else dense()
    model = DropoutEnsembleRegressor(module, 10, random_state=seed).fit(X, y)
    assert (model.validation_indices_ == np.arange(90)).all()
    A, b = least_squares(model, X, y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8
    assert model.objective_ <= model.uniform_objective_
    np.testing.assert_allclose(model.predict(X), model.weights_ @ model.submodel_predictions(X), atol=1e-12)
    assert model.estimator_ is module


@pytest.mark.parametrize(("classes", "n_outputs"), [(2, 1), (2, 2), (4, 4)])
def test_classifiers_return_logits(classes, n_outputs, seed):
    X, y = classification(seed, classes=classes)
    module = dense(n_outputs)
    model = DropoutEnsembleClassifier(module, 8, random_state=seed).fit(X, y)
    A, b = least_squares(model, X, y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8
    assert model.predict_proba(X).shape == (90, classes)
    assert set(model.predict(X)) <= set(y)
    # Without dropout a sub-model is the module.
    for layer in module:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    logits = module(torch.tensor(X, dtype=torch.float32)).detach().double().numpy()
    p = expit(logits)
    expected = softmax(logits, axis=1) if n_outputs > 1 else np.hstack([1 - p, p])
    np.testing.assert_allclose(model.submodel_predictions(X)[0], expected, atol=1e-6)
    np.testing.assert_allclose(model.submodels_.base_outputs(X), expected, atol=1e-6)


def test_masks_are_the_same_for_all_samples_batches_and_calls(seed):
    X = np.random.default_rng(seed).normal(size=(2100, 5))
    submodels = TorchSubModels(dense().double(), (3, 5, 7))
    whole = outputs(submodels, X)
    assert whole.shape == (3, 2100, 1)
    np.testing.assert_allclose(outputs(submodels, X[1500:1510]), whole[:, 1500:1510], rtol=1e-12)
    np.testing.assert_allclose(outputs(submodels, X[::-1]), whole[:, ::-1], rtol=1e-12)
    np.testing.assert_allclose(outputs(submodels, X, [2, 0]), whole[[2, 0]], rtol=1e-12)
    np.testing.assert_allclose(outputs(TorchSubModels(submodels.module, (5,)), X)[0], whole[1], rtol=1e-12)
    assert abs(whole[0] - whole[1]).max() > 1e-3


def test_batches_of_large_samples_are_small(monkeypatch):
    X = np.random.default_rng(0).normal(size=(40, 5))
    submodels = TorchSubModels(dense().double(), (3, 5))
    whole = outputs(submodels, X)
    monkeypatch.setattr(torch_modules, "_BATCH_BYTES", 3 * X[0].nbytes)
    sizes = []
    hook = submodels.module.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    np.testing.assert_allclose(outputs(submodels, X), whole, rtol=1e-12)
    hook.remove()
    assert sizes == 2 * [*13 * [3], 1]


def test_a_sub_model_is_a_network_with_units_left_out_and_scaled(seed):
    X = np.random.default_rng(seed).normal(size=(200, 5))
    first, last = nn.Linear(5, 12).double(), nn.Linear(12, 1).double()
    submodels = TorchSubModels(nn.Sequential(first, nn.ReLU(), nn.Dropout(0.3), last), tuple(range(20)))
    hidden = np.maximum(X @ first.weight.detach().numpy().T + first.bias.detach().numpy(), 0)
    columns = hidden * last.weight.detach().numpy()
    kept = []
    for result in submodels.outputs(X):
        scale = np.linalg.lstsq(columns, result[:, 0] - last.bias.item(), rcond=None)[0]
        np.testing.assert_allclose(columns @ scale + last.bias.item(), result[:, 0], atol=1e-9)
        active = np.linalg.norm(columns, axis=0) > 1e-2
        is_kept = np.isclose(scale, 1 / 0.7, atol=1e-6)
        assert (is_kept | np.isclose(scale, 0, atol=1e-6))[active].all()
        kept.append(is_kept[active].mean())
    assert np.mean(kept) == pytest.approx(0.7, abs=0.1)


def test_the_mean_of_many_masks_of_a_linear_module_is_its_evaluation(seed):
    X = np.random.default_rng(seed).normal(size=(20, 5))
    module = nn.Sequential(nn.Linear(5, 40), nn.Dropout(0.4), nn.Linear(40, 1)).double()
    each = outputs(TorchSubModels(module, tuple(range(1500))), X)
    with torch.no_grad():
        expected = module.eval()(torch.tensor(X)).numpy()
    error = abs(each.mean(axis=0) - expected)
    assert (error < 5 * each.std(axis=0) / np.sqrt(1500)).all()


class Channels(nn.Module):
    """Gives what its dropout layer makes of ones, flattened."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).flatten(1)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Dropout1d(0.4), (30, 4)), (nn.Dropout2d(0.4), (30, 4, 3)), (nn.Dropout3d(0.4), (30, 4, 3, 2))],
)
def test_channels_are_dropped_whole(layer, shape):
    values = outputs(TorchSubModels(Channels(layer), tuple(range(25))), np.ones((6, *shape)))
    by_channel = values.reshape(25, 6, 30, -1)
    np.testing.assert_array_equal(by_channel, by_channel[:, :1, :, :1] * np.ones_like(by_channel))
    np.testing.assert_allclose(np.unique(by_channel), [0, 1 / 0.6], rtol=1e-6)
    assert (by_channel > 0).mean() == pytest.approx(0.6, abs=0.1)


def test_entries_are_dropped_one_by_one():
    values = outputs(TorchSubModels(Channels(nn.Dropout(0.25)), (0,)), np.ones((3, 5, 40)))[0]
    np.testing.assert_array_equal(values[0], values[2])
    np.testing.assert_allclose(np.unique(values), [0, 4 / 3], rtol=1e-6)
    assert len({tuple(row) for row in values[0].reshape(5, 40)}) == 5


@pytest.mark.parametrize(
    ("layer", "alike"), [(nn.AlphaDropout(0.3), False), (nn.FeatureAlphaDropout(0.3), True)]
)
def test_alpha_dropout_keeps_mean_and_variance(layer, alike):
    X = np.random.default_rng(0).normal(size=(4000, 3, 2))
    values = outputs(TorchSubModels(Channels(layer), tuple(range(60))), X)
    # Over masks, as in training by this layer.
    assert values.mean() == pytest.approx(0, abs=0.1)
    assert values.var() == pytest.approx(1, abs=0.1)
    per_mask = values.reshape(60, 4000, 3, 2)
    dropped = per_mask.std(axis=1) < 1e-6
    assert dropped.mean() == pytest.approx(0.3, abs=0.1)
    assert ((dropped[..., 0] == dropped[..., 1]).all()) == alike
    torch.manual_seed(1)
    reference = layer.train()(torch.full((1, 2000, 1), 0.5))
    ours = outputs(TorchSubModels(Channels(layer), tuple(range(60))), np.full((1, 3, 2), 0.5))
    np.testing.assert_allclose(np.unique(ours.round(5)), np.unique(reference.numpy().round(5)), atol=2e-5)


@pytest.mark.parametrize("layer", [nn.Dropout(1.0), nn.AlphaDropout(1.0)])
def test_dropping_everything_gives_zeros(layer):
    values = outputs(TorchSubModels(Channels(layer), (0, 1)), np.ones((3, 4)))
    np.testing.assert_array_equal(values, np.zeros((2, 3, 4)))


def test_a_layer_used_twice_has_one_mask():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return torch.cat([self.drop(x), self.drop(x)], dim=1)

    values = outputs(TorchSubModels(Twice(), (4,)), np.ones((2, 50)))[0]
    np.testing.assert_array_equal(values[:, :50], values[:, 50:])


def test_layers_have_different_masks():
    module = nn.Sequential(Channels(nn.Dropout(0.5)), Channels(nn.Dropout(0.5)))
    values = outputs(TorchSubModels(module, tuple(range(40))), np.ones((1, 50)))
    assert (values > 0).mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_the_module_stays_what_it_was(training):
    X, y = regression(0)
    module = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)).train(
        training
    )
    module[0].train(not training)
    state = pickle.dumps(module.state_dict())
    flags = [part.training for part in module.modules()]
    model = DropoutEnsembleRegressor(module, 4, random_state=0).fit(X, y)
    model.predict(X)
    next(model.submodels_.outputs(X))
    assert pickle.dumps(module.state_dict()) == state
    assert [part.training for part in module.modules()] == flags
    assert not any(part._forward_hooks for part in module.modules())


def test_the_module_stays_what_it_was_after_an_error():
    module = dense(d=4).train()
    with pytest.raises(RuntimeError):
        outputs(TorchSubModels(module, (0,)), np.ones((3, 5)))
    assert module.training
    assert not any(part._forward_hooks for part in module.modules())


def test_images_and_a_curve(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(60, 3, 8, 8)).astype(np.float32), rng.integers(3, size=60)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Dropout2d(0.3), nn.Flatten(), nn.Dropout(0.3), nn.Linear(216, 3)
    ).eval()
    model = DropoutEnsembleClassifier(module, 6, random_state=seed).fit(X, y)
    A, b = least_squares(model, X, y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8
    curve = submodel_curve(model, X, y, sizes=[2, 6])
    with torch.no_grad():
        assert curve.base_score == np.mean(module(torch.tensor(X)).argmax(1).numpy() == y)
    assert curve.optimised_scores[-1] == model.score(X, y)


def test_clones_and_pickles_have_modules_of_their_own():
    X, y = regression(0)
    model = DropoutEnsembleRegressor(dense(), 5, random_state=2).fit(X, y)
    copy = clone(model)
    assert copy.estimator is not model.estimator
    np.testing.assert_allclose(copy.fit(X, y).predict(X), model.predict(X), atol=1e-6)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X), atol=1e-6)
    with torch.no_grad():
        copy.estimator[0].weight.zero_()
    assert abs(copy.submodel_predictions(X) - model.submodel_predictions(X)).max() > 1e-3


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Linear(5, 1), {}, "The module Linear has no dropout layer"),
        (nn.Sequential(nn.Dropout(), nn.Linear(5, 1)), {"drop": "inputs"}, "drop='inputs' is for estimators"),
        (nn.Sequential(nn.Dropout(), nn.Linear(5, 2)), {}, r"shape \(90, 1\). Sub-model 0 gives \(90, 2\)"),
        (
            nn.Sequential(nn.Dropout(), nn.Linear(5, 1), nn.Flatten(0), nn.Unflatten(0, (2, -1))),
            {},
            "one row for each",
        ),
        (nn.Sequential(nn.Dropout(), nn.LSTM(5, 1)), {}, "Got a tuple"),
    ],
)
def test_modules_that_cannot_be_bases(module, options, message):
    with pytest.raises(ValueError, match=message):
        DropoutEnsembleRegressor(module, 3, **options).fit(*regression(0))


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
def test_as_many_outputs_as_classes(n_outputs):
    with pytest.raises(ValueError, match=rf"y has 3 classes.* Got {n_outputs}; the k-th output belongs to"):
        DropoutEnsembleClassifier(dense(n_outputs)).fit(*classification(0))


def test_weights_of_samples_count():
    X, y = regression(0)
    counts = np.random.default_rng(0).integers(0, 3, 90)
    model = DropoutEnsembleRegressor(dense(), 6, random_state=0)
    weighted = clone(model).fit(X, y, counts)
    listed = clone(model).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    np.testing.assert_allclose(weighted.weights_, listed.weights_, atol=1e-6)
    A, b = least_squares(weighted, X, y, counts)
    assert kkt_residual(A, b, weighted.weights_) <= 1e-8
