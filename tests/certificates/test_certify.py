"""Bounds enclose the optimum of an independent restatement, for every kind of network and problem."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, ConvexMLPRegressorCV, TwoLayerNetwork, certify
from convexnn.activations import ACTIVATIONS, leaky_relu
from convexnn.certificates.pricing_methods import METHODS
from convexnn.losses import Huber
from convexnn.patterns import enumerate_patterns
from convexnn.problem import augment
from program_cases import BIASES, DEGENERACIES, LOSSES, draw_case
from restatement import restated_optimum

ACTIVATION_NAMES = ["relu", "leaky_relu", "absolute_value"]
CASES = [
    (loss, ACTIVATION_NAMES[k % 3], *BIASES[k % len(BIASES)])
    for k, loss in enumerate(
        ["squared_error", "huber", "absolute_error", "log_loss", "hinge", "squared_hinge"] * 2
    )
]


def every_pattern(case):
    return case.but(patterns=enumerate_patterns(augment(case.X, case.hidden_bias)))


def random_network(case, rng, n_neurons=4):
    d = case.X.shape[1]
    return TwoLayerNetwork(
        rng.normal(size=(d, n_neurons)),
        rng.normal(size=n_neurons) * (case.hidden_bias != "none"),
        0.3 * rng.normal(size=(n_neurons, case.y.shape[1])),
        rng.normal(size=case.y.shape[1]) * case.fit_intercept,
        case.activation,
        case.hidden_bias,
    )


def certified(network, case, **options):
    return certify(
        network,
        case.X,
        case.y,
        alpha=case.alpha,
        loss=case.loss,
        fit_intercept=case.fit_intercept,
        sample_weight=case.sample_weight,
        **options,
    )


@pytest.mark.parametrize(("loss", "activation", "hidden_bias", "fit_intercept"), CASES)
def test_bounds_enclose_the_restated_optimum(loss, activation, hidden_bias, fit_intercept):
    seed = len(loss) + 7 * fit_intercept
    case = every_pattern(
        draw_case(
            seed,
            loss=loss,
            activation=activation,
            hidden_bias=hidden_bias,
            fit_intercept=fit_intercept,
            n=7,
            alpha=0.25,
        )
    )
    optimum = case.optimum()
    network = random_network(case, np.random.default_rng(seed))
    found = certified(network, case)
    rounding = 1e-7 * (1 + abs(optimum))
    assert found.lower_bound <= optimum + rounding
    assert found.lower_bound >= optimum * (1 - 1e-5) - rounding
    assert optimum <= found.objective + rounding
    assert found.objective == pytest.approx(
        network.objective(case.X, case.y, alpha=case.alpha, loss=case.loss, sample_weight=case.sample_weight)
    )
    assert (found.scope, found.complete) == ("global", True)
    assert not found.is_optimal(1e-3)
    assert found.witness is not None
    assert optimum - rounding <= found.witness.objective < found.objective
    plain = certified(network, case, refine=False)
    assert plain.lower_bound <= found.lower_bound + rounding


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_every_method_bounds_the_optimum(method, hidden_bias):
    case = every_pattern(draw_case(5, hidden_bias=hidden_bias, n=7, alpha=0.2))
    optimum = case.optimum()
    found = certified(random_network(case, np.random.default_rng(0)), case, method=method)
    assert 0 <= found.lower_bound <= optimum * (1 + 1e-7)
    assert method == "auto" or found.method.startswith(method.replace("_", " "))


def test_several_outputs_are_bounded(seed):
    # A neuron that feeds one output each is a special case, so that this optimum is an upper bound.
    case = every_pattern(draw_case(seed, loss="squared_error", n=6, n_outputs=2, alpha=0.2))
    optimum = case.optimum()
    network = random_network(case, np.random.default_rng(seed))
    found = certified(network, case)
    assert 0 < found.lower_bound <= optimum * (1 + 1e-7)
    assert found.witness.objective < found.objective


def test_two_outputs_in_fixed_proportion_are_one_output():
    # The part of the outputs across the targets' direction costs loss and weights and gains nothing.
    X, y = planted(11, 14)
    direction = np.array([0.6, 0.8])
    scalar = ConvexMLPRegressor(0.5, patterns="exact", tol=1e-8).fit(X, y)
    network = replace(
        scalar.network_,
        output_weights=scalar.network_.output_weights * direction,
        output_biases=scalar.network_.output_biases * direction,
    )
    found = certify(network, X, y[:, None] * direction, alpha=0.5)
    assert found.objective == pytest.approx(scalar.objective_, rel=1e-9)
    assert found.lower_bound <= scalar.objective_
    assert found.is_optimal(0.03)


def test_three_classes_are_nearly_proved_optimal():
    X, y = planted(11, 14)
    labels = np.digitize(y, [-0.5, 1.0])
    mlp = MLPClassifier(hidden_layer_sizes=(12,), alpha=2.0, solver="lbfgs", max_iter=5000, random_state=0)
    found = certify(mlp.fit(X, labels), X, labels, refine=False)
    assert found.objective == pytest.approx(len(X) * mlp.loss_, rel=1e-9)
    assert found.is_optimal(0.01)


def planted(seed=0, n=20):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return X, np.abs(X[:, 0]) - X[:, 1] + 0.1 * rng.normal(size=n)


@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
@pytest.mark.parametrize("activation", ["relu", "absolute_value", leaky_relu(0.2)])
def test_optimal_networks_are_proved_optimal(hidden_bias, activation):
    X, y = planted()
    model = ConvexMLPRegressor(
        0.5, patterns="exact", tol=1e-8, hidden_bias=hidden_bias, activation=activation
    ).fit(X, y)
    for refine in (False, True):
        found = certify(model, X, y, refine=refine)
        assert found.is_optimal(1e-7)
        assert found.objective == pytest.approx(model.objective_, rel=1e-12)
    assert found.lower_bound <= model.objective_
    assert found.lower_bound == pytest.approx(model.dual_objective_, rel=1e-7)


@pytest.mark.parametrize("loss", ["hinge", "absolute_error"])
def test_optimal_networks_at_kinks_of_the_loss_are_proved_optimal(loss):
    X, y = planted(1, 14)
    kind = ConvexMLPClassifier if loss == "hinge" else ConvexMLPRegressor
    targets = np.where(y > 0, "up", "down") if loss == "hinge" else y
    model = kind(0.3, loss=loss, patterns="exact", tol=1e-8).fit(X, targets)
    assert certify(model, X, targets).is_optimal(1e-6)
    assert certify(model.network_, X, targets, alpha=0.3, loss=loss).is_optimal(1e-5)


@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_a_network_without_one_of_its_neurons_is_refuted(hidden_bias):
    X, y = planted()
    network = ConvexMLPRegressor(0.5, patterns="exact", tol=1e-8, hidden_bias=hidden_bias).fit(X, y).network_
    smaller = replace(
        network,
        hidden_weights=network.hidden_weights[:, 1:],
        hidden_biases=network.hidden_biases[1:],
        output_weights=network.output_weights[1:],
    )
    found = certify(smaller, X, y, alpha=0.5)
    witness = found.witness
    assert not found.is_optimal(1e-3)
    assert witness.objective < found.objective
    assert witness.objective == pytest.approx(witness.network.objective(X, y, alpha=0.5))
    assert witness.objective >= found.lower_bound
    assert witness.network.n_neurons == smaller.n_neurons + 1
    np.testing.assert_array_equal(witness.network.hidden_weights[:, -1], witness.weights)
    np.testing.assert_array_equal(witness.network.output_weights[-1], witness.output_weights)
    assert witness.network.hidden_biases[-1] == witness.bias
    assert "\n" not in repr(witness)


def test_repeated_and_weightless_samples_change_nothing():
    X, y = planted(2, 10)
    network = random_network(draw_case(0, n=4), np.random.default_rng(1))
    twice, targets = np.vstack([X, X[:4], [[9.0, 9.0]]]), np.concatenate([y, y[:4], [5.0]])
    weight = np.concatenate([np.ones(4) * 0.5, np.ones(6), np.ones(4) * 0.5, [0.0]])
    plain = certify(network, X, y, alpha=0.3)
    other = certify(network, twice, targets, alpha=0.3, sample_weight=weight)
    assert other.objective == pytest.approx(plain.objective)
    assert other.lower_bound == pytest.approx(plain.lower_bound, rel=1e-5)
    assert other.dual_point.shape == (15, 1)
    assert other.dual_point[-1] == 0


def test_scikit_learn_regressor_has_the_same_objective():
    X, y = planted()
    mlp = MLPRegressor(hidden_layer_sizes=(8,), alpha=0.5, solver="lbfgs", max_iter=4000, random_state=0)
    mlp.fit(X, y)
    found = certify(mlp, X, y)
    assert found.objective == pytest.approx(len(X) * mlp.loss_, rel=1e-9)
    optimum = restated_optimum(
        X,
        y[:, None],
        enumerate_patterns(augment(X, "free")).to_dense(),
        alpha=0.5,
        hidden_bias="free",
    )
    assert found.lower_bound == pytest.approx(optimum, rel=1e-5)
    assert found.lower_bound <= optimum * (1 + 1e-8)


def test_scikit_learn_classifier_takes_its_own_labels():
    X, y = planted(3, 16)
    labels = np.where(y > 0, "b", "a")
    mlp = MLPClassifier(hidden_layer_sizes=(8,), alpha=0.2, solver="lbfgs", max_iter=4000, random_state=0)
    mlp.fit(X, labels)
    found = certify(mlp, X, labels)
    assert found.objective == pytest.approx(len(X) * mlp.loss_, rel=1e-9)
    model = ConvexMLPClassifier(0.2, patterns="exact", hidden_bias="free", tol=1e-7).fit(X, labels)
    assert found.lower_bound == pytest.approx(model.objective_, rel=1e-5)
    assert found.lower_bound <= model.objective_
    assert certify(model, X, labels).is_optimal(1e-6)


def test_class_weights_and_cross_validated_estimators_count():
    X, y = planted(4, 16)
    labels = np.where(y > 0.5, 1, 0)
    model = ConvexMLPClassifier(0.2, patterns="exact", tol=1e-7, class_weight="balanced").fit(X, labels)
    assert certify(model, X, labels).objective == pytest.approx(model.objective_, rel=1e-12)
    search = ConvexMLPRegressorCV(alphas=3, cv=2, patterns=10, random_state=0).fit(X, y)
    assert certify(search, X, y).objective == pytest.approx(search.objective_, rel=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
def test_torch_modules(slope, bias):
    torch = pytest.importorskip("torch", reason="torch (extra `torch`) is not installed")
    torch.manual_seed(0)
    X, y = planted(5, 12)
    middle = torch.nn.LeakyReLU(slope) if slope else torch.nn.ReLU()
    module = torch.nn.Sequential(torch.nn.Linear(2, 5, bias=bias), middle, torch.nn.Linear(5, 1))
    found = certify(module, X, y, alpha=0.3)
    with torch.no_grad():
        residual = module(torch.tensor(X, dtype=torch.float32)).numpy()[:, 0] - y
        squares = sum(float((p.double() ** 2).sum()) for p in [module[0].weight, module[2].weight])
        squares += float((module[0].bias.double() ** 2).sum()) if bias else 0.0
    assert found.objective == pytest.approx(0.5 * residual @ residual + 0.15 * squares, rel=1e-5)
    activation = leaky_relu(slope) if slope else "relu"
    model = ConvexMLPRegressor(
        0.3,
        patterns="exact",
        tol=1e-7,
        activation=activation,
        hidden_bias="penalized" if bias else "none",
    ).fit(X, y)
    assert found.lower_bound == pytest.approx(model.objective_, rel=1e-5)
    assert found.lower_bound <= model.objective_


def test_arrays_in_all_forms():
    X, y = planted(6, 10)
    rng = np.random.default_rng(0)
    U, b, a, c = rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=3), 0.7
    relu = ACTIVATIONS["relu"]
    forms = {
        (U.tobytes(), 2): ((U, a), TwoLayerNetwork(U, 0 * b, a[:, None], [0.0], relu, "none"), False),
        (U.tobytes(), 3): ((U, b, a), TwoLayerNetwork(U, b, a[:, None], [0.0]), False),
        (U.tobytes(), 4): ((U, b, a, c), TwoLayerNetwork(U, b, a[:, None], [c]), True),
        (U.tobytes(), 5): ((U, None, a, [c]), TwoLayerNetwork(U, 0 * b, a[:, None], [c], relu, "none"), True),
    }
    for arrays, network, fit_intercept in forms.values():
        found = certify(arrays, X, y, alpha=0.2, refine=False)
        same = certify(network, X, y, alpha=0.2, refine=False, fit_intercept=fit_intercept)
        assert (found.objective, found.lower_bound) == (same.objective, same.lower_bound)


@pytest.mark.parametrize("time_limit", [0.0, 1e-3])
@pytest.mark.parametrize("hidden_bias", ["penalized", "free"])
def test_a_time_limit_leaves_a_valid_bound(time_limit, hidden_bias):
    X, y = planted(7, 40)
    model = ConvexMLPRegressor(1.0, patterns=20, hidden_bias=hidden_bias, random_state=0).fit(X, y)
    found = certify(model, X, y, time_limit=time_limit, method="semidefinite")
    best = certify(model, X, y)
    assert 0 <= found.lower_bound <= best.objective
    assert best.lower_bound <= best.objective
    assert found.complete == (not found.message)
    assert best.complete


def test_without_regularisation_nothing_but_zero_is_claimed():
    X, y = planted(8, 6)
    found = certify(random_network(draw_case(0, n=4), np.random.default_rng(1)), X, y, alpha=0.0)
    assert found.lower_bound == 0
    assert not found.dual_point.any()


def test_a_zero_network_can_be_optimal():
    X, y = planted(9, 8)
    zero = TwoLayerNetwork(np.zeros((2, 0)), np.zeros(0), np.zeros((0, 1)), [y.mean()])
    found = certify(zero, X, y, alpha=100.0)
    assert found.is_optimal(1e-12)
    assert found.witness is None
    assert certify(zero, X, np.zeros(8), alpha=1.0).lower_bound == 0


def test_repr_says_in_one_line_what_was_proved():
    X, y = planted()
    text = repr(certify((np.zeros((2, 1)), np.zeros(1)), X, y, alpha=0.5))
    assert "\n" not in text
    for words in ("over all networks", "at least", "not optimal", "branch and bound"):
        assert words in text


def test_losses_are_compared_by_value():
    X, y = planted(1, 8)
    model = ConvexMLPRegressor(0.5, loss=Huber(0.4), patterns="exact", tol=1e-7).fit(X, y)
    assert certify(model, X, y, loss=Huber(0.4), alpha=0.5).is_optimal(1e-6)
    with pytest.raises(ValueError, match="loss"):
        certify(model, X, y, loss="huber")


@pytest.mark.filterwarnings("ignore", category=ConvergenceWarning)
def test_what_the_object_says_must_not_be_contradicted():
    X, y = planted()
    mlp = MLPRegressor(hidden_layer_sizes=(3,), max_iter=5, random_state=0).fit(X, y)
    for options in ({"alpha": 1.0}, {"hidden_bias": "none"}, {"fit_intercept": False}, {"loss": "huber"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            certify(mlp, X, y, **options)


def test_what_is_missing_or_meaningless_is_an_error():
    X, y = planted()
    network = TwoLayerNetwork(np.ones((2, 1)), [0.0], [[1.0]], [1.0])
    gated = ConvexMLPRegressor(1.0, activation="gated_relu", patterns=5, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="alpha"):
        certify(network, X, y)
    with pytest.raises(ValueError, match="alpha"):
        certify(network, X, y, alpha=-1.0)
    with pytest.raises(ValueError, match="method"):
        certify(network, X, y, alpha=1.0, method="guess")
    with pytest.raises(ValueError, match="output biases"):
        certify(network, X, y, alpha=1.0, fit_intercept=False)
    with pytest.raises(ValueError, match="shape"):
        certify(network, X[:, :1], y, alpha=1.0)
    with pytest.raises(ValueError, match="as many samples"):
        certify(network, X, y[:-1], alpha=1.0)
    with pytest.raises(ValueError, match="finite"):
        certify(network, np.where(X > 1, np.nan, X), y, alpha=1.0)
    with pytest.raises(ValueError, match="gated"):
        certify(gated, X, y)
    with pytest.raises(ValueError, match="fit first"):
        certify(ConvexMLPRegressor(), X, y)
    with pytest.raises(TypeError, match="Got int"):
        certify(3, X, y, alpha=1.0)
    with pytest.raises(ValueError, match="2, 3 or 4"):
        certify((X,), X, y, alpha=1.0)
    with pytest.raises(ValueError, match="shapes"):
        certify((np.ones(2), np.ones(2)), X, y, alpha=1.0)
    with pytest.raises(ValueError, match="one hidden layer"):
        certify(MLPRegressor(hidden_layer_sizes=(2, 2), solver="lbfgs").fit(X, y), X, y)
    model = ConvexMLPClassifier(patterns=5, random_state=0).fit(X, np.where(y > 0, "a", "b"))
    with pytest.raises(ValueError, match="Labels"):
        certify(model, X, np.where(y > 0, "a", "c"))


@pytest.mark.slow
@pytest.mark.parametrize("index", range(80))
def test_bounds_enclose_the_optimum_on_degenerate_data(index):
    rng = np.random.default_rng(index)
    hidden_bias, fit_intercept = BIASES[rng.integers(len(BIASES))]
    scale = 10.0 ** rng.integers(-3, 4)
    n = int(rng.integers(1, 9))
    case = draw_case(
        index,
        loss=str(rng.choice(sorted(set(LOSSES) - {"softmax"}))),
        activation=str(rng.choice(ACTIVATION_NAMES)),
        hidden_bias=hidden_bias,
        fit_intercept=fit_intercept,
        n=n,
        d=int(rng.integers(1, 3)),
        kinds=[str(kind) for kind in rng.choice(DEGENERACIES, size=rng.integers(0, 3))],
        alpha=float(rng.choice([0.003, 0.05, 0.3, 2.0]) * n),
    )
    optimum = every_pattern(case).optimum()
    # With data and alpha scaled alike the optimum stays, if nothing but slopes is penalised.
    exempt = hidden_bias != "penalized"
    scaled = case.but(X=case.X * scale, alpha=case.alpha * scale) if exempt else case
    network = random_network(scaled, rng)
    for method in METHODS:
        found = certified(network, scaled, method=method)
        rounding = 1e-6 * (1e-3 + abs(optimum))
        assert 0 <= found.lower_bound <= optimum + rounding
        if method not in ("closed_form", "semidefinite"):
            assert found.lower_bound >= optimum - 10 * rounding
