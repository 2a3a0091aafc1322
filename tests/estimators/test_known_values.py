"""Estimators against optima found another way: published values, CVXPY restatements, scikit-learn's MLP."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor
from pattern_oracles import brute_force_patterns

TOY_X = np.array([[-1.0], [-5.0], [2.0], [0.0], [3.0]])
TOY_Y = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
TOY_OPTIMA = {1e-4: 8.7694e-4, 1e-3: 8.7497e-3, 1e-2: 8.5521e-2, 1e-1: 6.5767e-1}

BIAS_MODES = [
    ("penalized", True),
    ("penalized", False),
    ("free", True),
    ("none", True),
    ("none", False),
]


def restated_optimum(X, y, *, alpha, loss, hidden_bias="penalized", fit_intercept=True):
    """Least objective over all networks: the convex program in CVXPY, patterns found by linear programs."""
    cp = pytest.importorskip("cvxpy")
    data = X if hidden_bias == "none" else np.column_stack([X, np.ones(len(X))])
    n_penalized = X.shape[1] + (hidden_bias == "penalized")
    output = cp.Constant(np.zeros(len(y))) + (cp.Variable() if fit_intercept else 0.0)
    norms, cones = [], []
    for pattern in brute_force_patterns(data):
        active = np.array(pattern)
        for sign in (1.0, -1.0):
            weights = cp.Variable(data.shape[1])
            output = output + sign * ((active[:, None] * data) @ weights)
            norms.append(cp.norm(weights[:n_penalized]))
            cones.append(np.where(active, 1.0, -1.0)[:, None] * data @ weights >= 0)
    residual, margin = output - y, cp.multiply(y, output)
    fits = {
        "squared_error": lambda: cp.sum_squares(residual) / 2,
        "absolute_error": lambda: cp.norm1(residual),
        "huber": lambda: cp.sum(cp.huber(residual)) / 2,
        "log_loss": lambda: cp.sum(cp.logistic(-margin)),
        "hinge": lambda: cp.sum(cp.pos(1 - margin)),
        "squared_hinge": lambda: cp.sum_squares(cp.pos(1 - margin)),
    }
    problem = cp.Problem(cp.Minimize(fits[loss]() + alpha * sum(norms)), cones)
    value = problem.solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-10, tol_feas=1e-10, max_iter=500
    )
    assert problem.status in ("optimal", "optimal_inaccurate")
    return value


def exact(estimator_type, **options):
    return estimator_type(patterns="exact", **{"tol": 1e-7, **options})


def small_data(seed, n=7, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, -1] + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize(("alpha", "published"), TOY_OPTIMA.items())
def test_toy_has_the_published_optimum(alpha, published):
    model = exact(ConvexMLPRegressor, alpha=alpha, fit_intercept=False).fit(TOY_X, TOY_Y)
    half_a_digit = 0.5 * 10 ** (np.floor(np.log10(published)) - 4)
    assert abs(model.objective_ - published) <= half_a_digit
    assert len(model.patterns_) == 10
    assert model.gap_scope_ == "global"
    assert 0 <= model.dual_gap_ < 1e-6
    assert model.dual_gap_ == max(0.0, model.objective_ - model.dual_objective_)
    network_objective = model.network_.objective(TOY_X, TOY_Y, alpha=alpha)
    assert model.objective_ == pytest.approx(network_objective, rel=1e-8)
    assert model.objective_ == pytest.approx(model.result_.objective, rel=1e-8)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2, 1e-1])
@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), BIAS_MODES)
def test_toy_agrees_with_cvxpy_in_all_bias_modes(alpha, hidden_bias, fit_intercept):
    bias = {"hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
    model = exact(ConvexMLPRegressor, alpha=alpha, **bias).fit(TOY_X, TOY_Y)
    expected = restated_optimum(TOY_X, TOY_Y, alpha=alpha, loss="squared_error", **bias)
    assert model.objective_ == pytest.approx(expected, rel=1e-6)
    assert model.dual_objective_ <= expected * (1 + 1e-6)
    assert model.objective_ == pytest.approx(model.result_.objective, rel=1e-8)
    assert model.gap_scope_ == "global"


@pytest.mark.parametrize("alpha", [1e-3, 1e-1, 1.0])
def test_more_freedom_of_biases_never_costs(alpha):
    def optimum(hidden_bias, fit_intercept):
        bias = {"hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
        return exact(ConvexMLPRegressor, alpha=alpha, **bias).fit(TOY_X, TOY_Y).objective_

    least = {mode: optimum(*mode) for mode in BIAS_MODES}
    chains = [
        [("free", True), ("penalized", True), ("none", True), ("none", False)],
        [("penalized", True), ("penalized", False), ("none", False)],
    ]
    for chain in chains:
        for freer, tighter in pairwise(chain):
            assert least[freer] <= least[tighter] * (1 + 1e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_penalized_bias_is_a_column_of_ones(fit_intercept, seed):
    X, y = small_data(seed)
    options = {"alpha": 0.2, "fit_intercept": fit_intercept}
    with_bias = exact(ConvexMLPRegressor, **options).fit(X, y)
    ones = np.column_stack([X, np.ones(len(X))])
    with_column = exact(ConvexMLPRegressor, hidden_bias="none", **options).fit(ones, y)
    assert with_bias.objective_ == pytest.approx(with_column.objective_, rel=1e-6)
    np.testing.assert_array_equal(with_bias.patterns_.to_dense(), with_column.patterns_.to_dense())


@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), BIAS_MODES)
@pytest.mark.parametrize("loss", ["huber", "absolute_error", "hinge", "squared_hinge", "log_loss"])
def test_other_losses_agree_with_cvxpy(loss, hidden_bias, fit_intercept):
    X, y = small_data(3, n=6, d=1)
    bias = {"hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
    classes = loss in ("hinge", "squared_hinge", "log_loss")
    y = np.where(y > np.median(y), 1.0, -1.0) if classes else 3 * y
    estimator_type = ConvexMLPClassifier if classes else ConvexMLPRegressor
    model = exact(estimator_type, alpha=0.1, loss=loss, **bias).fit(X, y)
    expected = restated_optimum(X, y, alpha=0.1, loss=loss, **bias)
    assert model.objective_ == pytest.approx(expected, rel=2e-6)
    assert model.result_.converged


def mlp_loss(mlp, model, X, y, sample_weight=None):
    """Loss that scikit-learn reports for the estimator's weights, after a step too short to change them."""
    classes = {"classes": np.unique(y)} if isinstance(mlp, MLPClassifier) else {}
    mlp.set_params(hidden_layer_sizes=(model.n_neurons_,), alpha=model.alpha)
    mlp.set_params(solver="sgd", learning_rate_init=1e-300, momentum=0.0, batch_size=len(X))
    mlp.partial_fit(X, y, **classes)
    converted = model.network_.to_sklearn(model.alpha)
    mlp.coefs_, mlp.intercepts_ = converted.coefs_, converted.intercepts_
    mlp.partial_fit(X, y, sample_weight=sample_weight)
    return mlp.loss_


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [1e-3, 0.3])
def test_objective_is_the_weight_sum_times_the_loss_of_mlp_regressor(alpha, weighted, seed):
    X, y = small_data(seed, n=15)
    weight = np.random.default_rng(seed).uniform(0.1, 2.0, 15) if weighted else None
    model = ConvexMLPRegressor(alpha=alpha, hidden_bias="free").fit(X, y, sample_weight=weight)
    total = 15 if weight is None else weight.sum()
    assert model.objective_ == pytest.approx(total * mlp_loss(MLPRegressor(), model, X, y, weight), rel=1e-9)


@pytest.mark.parametrize("alpha", [1e-2, 0.3])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_objective_is_n_samples_times_the_loss_of_mlp_classifier(alpha, n_classes, seed):
    X, y = small_data(seed, n=9)
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    model = ConvexMLPClassifier(alpha=alpha, hidden_bias="free").fit(X, labels)
    assert model.objective_ == pytest.approx(9 * mlp_loss(MLPClassifier(), model, X, labels), rel=1e-9)


def descend(mlp, X, y):
    """The objective F at which scikit-learn's L-BFGS ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mlp.set_params(solver="lbfgs", max_iter=400, tol=1e-9)
        return len(X) * mlp.fit(X, y).loss_


def check_against_descents(model, mlp_type, X, y, n_starts):
    assert model.gap_scope_ == "global"
    assert model.result_.converged
    descents = [
        descend(mlp_type(hidden_layer_sizes=(width,), alpha=model.alpha, random_state=start), X, y)
        for start in range(n_starts)
        for width in (3, 12)
    ]
    assert min(descents) >= model.dual_objective_ * (1 - 1e-9)
    assert model.objective_ <= min(descents) * (1 + model.tol)
    from_optimum = model.network_.to_sklearn(model.alpha).set_params(warm_start=True)
    assert descend(from_optimum, X, y) >= model.dual_objective_ * (1 - 1e-9)
    return min(descents)


@pytest.mark.parametrize("alpha", [1e-2, 0.3])
def test_no_descent_of_mlp_regressor_is_better(alpha, seed):
    X, y = small_data(seed)
    model = exact(ConvexMLPRegressor, alpha=alpha, hidden_bias="free").fit(X, y)
    best = check_against_descents(model, MLPRegressor, X, y, n_starts=3)
    assert best <= 1.5 * model.objective_


@pytest.mark.parametrize("alpha", [1e-2, 0.3])
def test_no_descent_of_mlp_classifier_is_better(alpha, seed):
    X, y = small_data(seed)
    y = np.where(y > np.median(y), "up", "down")
    model = exact(ConvexMLPClassifier, alpha=alpha, hidden_bias="free").fit(X, y)
    best = check_against_descents(model, MLPClassifier, X, y, n_starts=3)
    assert best <= 1.5 * model.objective_


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("classify", [False, True])
def test_no_descent_of_many_is_better(classify, d, seed):
    X, y = small_data(seed, n=10, d=d)
    if classify:
        y = (y > np.median(y)).astype(int)
    estimator_type, mlp_type = (
        (ConvexMLPClassifier, MLPClassifier) if classify else (ConvexMLPRegressor, MLPRegressor)
    )
    model = exact(estimator_type, alpha=0.05, hidden_bias="free").fit(X, y)
    best = check_against_descents(model, mlp_type, X, y, n_starts=15)
    assert best <= 1.05 * model.objective_
