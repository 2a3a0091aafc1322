"""Networks trained with dropout: what they learn, what they may not depend on, how training ends."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import train_test_split

from convexnn import certify
from convexnn.ensembles import DropoutMLPClassifier, DropoutMLPRegressor
from convexnn.ensembles.backpropagation import Backpropagation, Parameters

ESTIMATORS = [DropoutMLPRegressor, DropoutMLPClassifier]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2
LABELS = np.array(["low", "mid", "top"])[np.digitize(Y, [0.3, 1.2])]
ALL_EPOCHS = {"tol": 0.0, "n_iter_no_change": np.inf}


def targets_for(estimator_type):
    return LABELS if estimator_type is DropoutMLPClassifier else Y


def quick(estimator_type, **options):
    """Return an estimator that runs a few epochs."""
    settings = {"hidden_units": 20, "max_iter": 8, "batch_size": 16, "random_state": 0} | options
    return estimator_type(**settings, **ALL_EPOCHS)


def fitted(model, *samples, **weights):
    """Fit without the warning that all epochs were used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*samples, **weights)


# Masks and penalty


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_masks_are_fresh_and_drop_the_right_share(monkeypatch, dtype):
    masks = []
    compute = Backpropagation.__call__

    def spy(self, data, targets, weight, hidden_draws, input_draws):
        masks.append((hidden_draws >= 0.4, input_draws >= 0.1))
        return compute(self, data, targets, weight, hidden_draws, input_draws)

    monkeypatch.setattr(Backpropagation, "__call__", spy)
    model = quick(DropoutMLPRegressor, hidden_units=50, dropout=0.4, input_dropout=0.1)
    fitted(model, X.astype(dtype), Y)
    assert len(masks) == 8 * 4
    for kept, share in zip(zip(*masks, strict=True), (0.6, 0.9), strict=True):
        entries = np.concatenate([mask.ravel() for mask in kept])
        assert abs(entries.mean() - share) < 5 * np.sqrt(share * (1 - share) / entries.size)
        assert len({mask.tobytes() for mask in kept}) == len(kept)


def test_the_penalty_shrinks_weights_and_no_biases():
    free, held = (
        fitted(quick(DropoutMLPRegressor, alpha=alpha, learning_rate=0.02, max_iter=60), X, Y)
        for alpha in (0.0, 1e4)
    )
    assert np.abs(held.coefs_[0]).max() < 0.2 * np.abs(free.coefs_[0]).max()
    assert held.predict(X).std() < 0.05 * Y.std()
    assert np.abs(held.intercepts_[0]).max() > 0.1


# The objective and the network


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_loss_is_the_objective_of_the_network(alpha):
    # Steps of 1e-14 leave the network where it was.
    options = {"dropout": 0.0, "alpha": alpha, "learning_rate": 1e-14, "max_iter": 1, "batch_size": 60}
    weight = RNG.uniform(0.5, 3, len(X))
    model = fitted(quick(DropoutMLPRegressor, **options), X, 5 * Y, sample_weight=weight)
    total, variance = weight.sum(), np.cov(5 * Y, aweights=weight, ddof=0)
    found = model.network_.objective(X, 5 * Y, alpha=model.alpha_, sample_weight=weight)
    assert found == pytest.approx(total * variance * model.loss_, rel=1e-9)
    assert model.alpha_ == pytest.approx(alpha * np.sqrt(variance))
    assert model.network_.regularizer("penalized") > model.network_.regularizer()
    model = fitted(quick(DropoutMLPClassifier, **options), X, LABELS, sample_weight=weight)
    found = model.network_.objective(X, LABELS, alpha=alpha, loss="log_loss", sample_weight=weight)
    assert found == pytest.approx(total * model.loss_, rel=1e-9)


@pytest.mark.parametrize("labels", [LABELS, LABELS == "low"])
def test_outputs_of_the_classifier(labels):
    model = fitted(quick(DropoutMLPClassifier), X, labels)
    outputs = model.network_.outputs(X)
    assert model.network_.classes == tuple(np.unique(labels).tolist())
    if outputs.shape[1] == 1:
        outputs = np.hstack([np.zeros_like(outputs), outputs])
        np.testing.assert_allclose(model.decision_function(X), outputs[:, 1], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(model.predict_proba(X)[:, 1], expit(outputs[:, 1]))
    else:
        np.testing.assert_allclose(model.decision_function(X), outputs, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(model.predict_log_proba(X), log_softmax(outputs, axis=1), rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X), model.classes_[outputs.argmax(axis=1)])


def test_log_probabilities_do_not_overflow():
    model = fitted(quick(DropoutMLPClassifier), X, LABELS == "low")
    far = model.predict_log_proba(1e6 * X)
    assert np.isfinite(far).all()
    assert far.min() < -1000


@pytest.mark.parametrize("targets", [Y, np.column_stack([Y, 1e3 * X[:, 2]])])
def test_network_in_the_units_of_the_targets(targets):
    model = fitted(quick(DropoutMLPRegressor), X, targets)
    assert model.predict(X).shape == targets.shape
    np.testing.assert_allclose(model.network_.predict(X), model.predict(X), rtol=1e-12, atol=1e-12)
    assert model.network_.hidden_bias == "free"
    np.testing.assert_array_equal(model.network_.coefs[1], model.coefs_[1])
    np.testing.assert_array_equal(model.network_.intercepts[0], model.intercepts_[0])
    assert np.isnan(model.alpha_) == (targets.ndim == 2)


def test_certificates_and_torch_take_the_network():
    model = fitted(quick(DropoutMLPRegressor, alpha=0.1), X, Y)
    certificate = certify(model, X, Y, time_limit=1)
    assert certificate.objective == pytest.approx(model.network_.objective(X, Y, alpha=model.alpha_))
    assert 0 < certificate.lower_bound < certificate.objective
    torch = pytest.importorskip("torch", reason="to_torch needs it")
    with torch.no_grad():
        outputs = model.network_.to_torch()(torch.from_numpy(X)).numpy()[:, 0]
    np.testing.assert_allclose(outputs, model.predict(X), rtol=1e-10, atol=1e-12)


# What is learned


def test_learns_digits(seed):
    data, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        (data / 16).astype(np.float32), labels, random_state=seed
    )
    model = fitted(
        DropoutMLPClassifier(random_state=seed, learning_rate=3e-3, max_iter=60), train, train_labels
    )
    assert model.score(test, test_labels) > 0.95


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_learns_a_smooth_function(dropout, seed):
    rng = np.random.default_rng(seed)
    data = rng.uniform(-2, 2, (400, 2))
    y = 1e4 + 300 * (np.sin(2 * data[:, 0]) + data[:, 1] ** 2)
    model = DropoutMLPRegressor(200, dropout=dropout, learning_rate=0.01, max_iter=500, random_state=seed)
    model.fit(data[:300], y[:300])
    assert model.n_iter_ < 500
    assert model.score(data[300:], y[300:]) > 0.9


def test_learns_several_outputs_of_different_size():
    rng = np.random.default_rng(0)
    data = rng.uniform(-1, 1, (300, 2))
    y = np.column_stack([1e-3 * np.abs(data[:, 0]), 1e5 * data[:, 1] ** 2, np.full(300, 7.0)])
    model = DropoutMLPRegressor(100, dropout=0.1, learning_rate=0.01, max_iter=500, random_state=0).fit(
        data, y
    )
    errors = ((model.predict(data) - y) ** 2).mean(axis=0)
    assert (errors[:2] < 0.1 * y[:, :2].var(axis=0)).all()
    assert errors[2] < 0.01


def test_dropout_is_noise_in_training_only():
    plain, noisy = (
        fitted(
            quick(DropoutMLPRegressor, hidden_units=100, dropout=rate, max_iter=150, learning_rate=0.01), X, Y
        )
        for rate in (0.0, 0.5)
    )
    assert noisy.loss_ > 2 * plain.loss_
    # The whole network is better than its noisy training loss says.
    assert noisy.network_.objective(X, Y, alpha=0) / (len(X) * Y.var()) < 0.8 * noisy.loss_
    np.testing.assert_array_equal(noisy.predict(X), noisy.predict(X))


# Invariances


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_order_repetition_and_weights(estimator_type, seed):
    rng = np.random.default_rng(seed)
    y = targets_for(estimator_type)
    weight = rng.integers(0, 4, len(X))
    weight[:3] = 1
    weighted = fitted(quick(estimator_type), X, y, sample_weight=weight)
    order = rng.permutation(np.repeat(np.arange(len(X)), weight))
    repeated = fitted(quick(estimator_type), X[order], y[order])
    for one, other in zip(weighted.coefs_, repeated.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    assert weighted.loss_curve_ == repeated.loss_curve_


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("factor", [2.0**-900, 0.5, 2.0**900])
def test_only_the_ratio_of_penalty_and_weights_matters(estimator_type, factor):
    y = targets_for(estimator_type)
    weight = RNG.uniform(0.5, 2, len(X))
    model = fitted(quick(estimator_type, alpha=0.5), X, y, sample_weight=weight)
    scaled = fitted(quick(estimator_type, alpha=0.5 * factor), X, y, sample_weight=factor * weight)
    np.testing.assert_array_equal(scaled.coefs_[0], model.coefs_[0])
    np.testing.assert_array_equal(scaled.predict(X), model.predict(X))


@pytest.mark.parametrize("factor", [2.0**-800, 2.0**-10, 2.0**800])
def test_predictions_follow_the_scale_of_the_targets(factor):
    model, scaled = (fitted(quick(DropoutMLPRegressor), X, y) for y in (Y, factor * Y))
    np.testing.assert_allclose(scaled.predict(X), factor * model.predict(X), rtol=1e-10, atol=1e-12 * factor)
    assert scaled.loss_ == model.loss_


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_random_states(estimator_type):
    y = targets_for(estimator_type)

    def predicted(random_state):
        return fitted(quick(estimator_type, random_state=random_state), X, y).network_.outputs(X)

    np.testing.assert_array_equal(predicted(5), predicted(5))
    np.testing.assert_array_equal(predicted(np.random.default_rng(5)), predicted(np.random.default_rng(5)))
    np.testing.assert_array_equal(predicted(np.random.RandomState(5)), predicted(np.random.RandomState(5)))
    assert not np.array_equal(predicted(5), predicted(6))
    assert not np.array_equal(predicted(None), predicted(None))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_float32_is_kept(estimator_type):
    y = targets_for(estimator_type)
    single = fitted(quick(estimator_type), X.astype(np.float32), y)
    assert all(array.dtype == np.float32 for array in (*single.coefs_, *single.intercepts_))
    outputs = single.predict_proba if estimator_type is DropoutMLPClassifier else single.predict
    assert outputs(X.astype(np.float32)).dtype == np.float32
    assert outputs(X).dtype == np.float64
    double = fitted(quick(estimator_type), X.astype(np.float32).astype(np.float64), y)
    assert all(array.dtype == np.float64 for array in (*double.coefs_, *double.intercepts_))
    np.testing.assert_allclose(single.coefs_[0], double.coefs_[0], atol=1e-4)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_copies(estimator_type):
    model = fitted(quick(estimator_type), X, targets_for(estimator_type))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    again = fitted(clone(model), X, targets_for(estimator_type))
    assert again.network_ == model.network_


# Degenerate data


@pytest.mark.parametrize("value", [0.0, 7.25, -1e-300, 1e300, 0.1])
def test_constant_targets(value):
    model = DropoutMLPRegressor(20, learning_rate=0.02, max_iter=400, random_state=0).fit(
        X, np.full(len(X), value)
    )
    # The network works in units of one, since there is no spread to take one from.
    np.testing.assert_allclose(model.predict(X), value, rtol=1e-9, atol=0.3)


@pytest.mark.parametrize(
    "data", [np.zeros((10, 2)), np.ones((10, 3)), np.tile([[1.0, -1.0], [-1.0, 1.0]], (5, 1))]
)
def test_degenerate_samples(data):
    y = np.arange(10.0)
    model = fitted(quick(DropoutMLPRegressor, dropout=0.0, learning_rate=0.02, max_iter=500), data, y)
    distinct = np.unique(data, axis=0)
    means = [y[(data == row).all(axis=1)].mean() for row in distinct]
    np.testing.assert_allclose(model.predict(distinct), means, atol=0.2)


def test_one_sample():
    model = fitted(
        quick(DropoutMLPRegressor, max_iter=300, dropout=0.0, learning_rate=0.02), [[1.0, 2.0]], [3.0]
    )
    assert model.predict([[1.0, 2.0]])[0] == pytest.approx(3.0, abs=0.05)


def test_batches_larger_than_the_data():
    one = fitted(quick(DropoutMLPRegressor, batch_size=10**9), X, Y)
    other = fitted(quick(DropoutMLPRegressor, batch_size=len(X)), X, Y)
    assert one.network_ == other.network_


# Early ends


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_too_few_epochs(estimator_type):
    y = targets_for(estimator_type)
    with pytest.warns(ConvergenceWarning, match="after max_iter=3 epochs; raise max_iter"):
        model = estimator_type(max_iter=3, random_state=0).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    assert model.loss_ == model.loss_curve_[-1]


def test_training_ends_where_the_loss_stops_falling():
    model = DropoutMLPRegressor(
        20, n_iter_no_change=4, tol=1e-3, learning_rate=0.01, max_iter=1000, random_state=0
    )
    curve = model.fit(X, Y).loss_curve_
    best = np.minimum.accumulate([np.inf, *curve[:-1]])
    idle = np.array(curve) > best - 1e-3
    assert idle[-4:].all()
    assert not any(idle[k : k + 4].all() for k in range(len(curve) - 4))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_time_limit_keeps_the_current_weights(estimator_type):
    y = targets_for(estimator_type)
    with pytest.warns(ConvergenceWarning, match="time_limit=1e-09 s, after 0 whole epochs"):
        model = quick(estimator_type, time_limit=1e-9).fit(X, y)
    assert model.n_iter_ == 0
    assert np.isfinite(model.loss_)
    start = Parameters.glorot(4, 20, len(model.intercepts_[1]), np.float64, np.random.default_rng(0))
    # Adam's first step moves each entry that has a gradient by the learning rate.
    moved = model.intercepts_[1] - start.output_biases
    if estimator_type is DropoutMLPClassifier:
        np.testing.assert_allclose(np.abs(moved), 1e-3, rtol=1e-5)
    assert model.predict(X).shape == (len(X),)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("n_steps", [0, 9])
def test_an_interrupt_keeps_the_current_weights(monkeypatch, estimator_type, n_steps):
    compute = Backpropagation.__call__
    calls = []

    def interrupted(self, *batch):
        calls.append(1)
        if len(calls) > n_steps:
            raise KeyboardInterrupt
        return compute(self, *batch)

    y = targets_for(estimator_type)
    monkeypatch.setattr(Backpropagation, "__call__", interrupted)
    with pytest.warns(ConvergenceWarning, match=f"interrupted after {n_steps // 4} whole epochs"):
        model = quick(estimator_type).fit(X, y)
    assert model.n_iter_ == n_steps // 4
    assert np.isnan(model.loss_) == (n_steps == 0)
    assert model.predict(X).shape == (len(X),)


def test_progress_is_printed(capsys):
    fitted(quick(DropoutMLPRegressor, verbose=1, max_iter=2), X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["epoch", "1", "loss"], ["epoch", "2", "loss"]]


# Bad input


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"hidden_units": 0}, ValueError),
        ({"hidden_units": 2.5}, TypeError),
        ({"dropout": 1.0}, ValueError),
        ({"dropout": -0.1}, ValueError),
        ({"dropout": np.nan}, ValueError),
        ({"dropout": None}, TypeError),
        ({"input_dropout": 1.5}, ValueError),
        ({"alpha": -1.0}, ValueError),
        ({"alpha": np.inf}, ValueError),
        ({"learning_rate": 0.0}, ValueError),
        ({"learning_rate": np.nan}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"batch_size": "all"}, TypeError),
        ({"max_iter": 0}, ValueError),
        ({"tol": -1e-3}, ValueError),
        ({"n_iter_no_change": 0}, ValueError),
        ({"n_iter_no_change": 1.5}, TypeError),
        ({"time_limit": -1.0}, ValueError),
        ({"time_limit": "long"}, TypeError),
    ],
)
def test_parameters_out_of_range(estimator_type, options, error):
    with pytest.raises(error, match=next(iter(options))):
        estimator_type(**options).fit(X, targets_for(estimator_type))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(
    ("samples", "text"),
    [
        (np.full((60, 4), np.nan), "NaN"),
        (np.full((60, 4), np.inf), "infinity"),
        (X[:50], "inconsistent numbers of samples"),
        (X[:, 0], "2D array"),
        (np.empty((60, 0)), "0 feature"),
    ],
)
def test_bad_samples(estimator_type, samples, text):
    with pytest.raises(ValueError, match=text):
        estimator_type().fit(samples, targets_for(estimator_type))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize(
    ("weight", "text"),
    [
        (np.ones(59), r"shape \(60,\)"),
        (np.full(60, -1.0), "must not be negative"),
        (np.full(60, np.nan), "must be finite"),
        (np.zeros(60), "All sample weights are zero"),
    ],
)
def test_bad_weights(estimator_type, weight, text):
    with pytest.raises(ValueError, match=text):
        estimator_type().fit(X, targets_for(estimator_type), sample_weight=weight)


def test_bad_targets():
    with pytest.raises(ValueError, match="NaN"):
        DropoutMLPRegressor().fit(X, np.full(60, np.nan))
    with pytest.raises(ValueError, match=r"one class only: \['low'\]"):
        DropoutMLPClassifier().fit(X, np.full(60, "low"))
    with pytest.raises(ValueError, match=r"Unknown label type"):
        DropoutMLPClassifier().fit(X, Y)
    with pytest.raises(ValueError, match=r"class\(es\) \['top'\] have weight zero"):
        DropoutMLPClassifier().fit(X, LABELS, sample_weight=LABELS != "top")


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_diverging_training(estimator_type):
    with pytest.raises(ValueError, match=r"diverged: .* overflow in epoch \d+. Scale the features"):
        estimator_type().fit(1e300 * X, targets_for(estimator_type))


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_unfitted(estimator_type):
    with pytest.raises(NotFittedError, match="not fitted"):
        estimator_type().predict(X)
