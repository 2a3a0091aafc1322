"""Data of any scale and offset: the objective follows its scaling laws."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor

ESTIMATORS = [ConvexMLPRegressor, ConvexMLPClassifier]
BIASES = ["penalized", "free", "none"]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 2))
Y = np.sin(2 * X[:, 0]) + X[:, 1]
LABELS = (Y > 0).astype(int)


def targets_for(estimator):
    return LABELS if isinstance(estimator, ConvexMLPClassifier) else Y


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("hidden_bias", BIASES)
@pytest.mark.parametrize(("loss", "degree"), [("squared_error", 2), ("absolute_error", 1)])
def test_targets_of_any_scale(loss, degree, hidden_bias, scale):
    # F(c y, c^(degree - 1) alpha) = c^degree F(y, alpha)
    options = {"loss": loss, "hidden_bias": hidden_bias, "patterns": "exact", "tol": 1e-6}
    plain = ConvexMLPRegressor(alpha=0.1, **options).fit(X, Y)
    scaled = ConvexMLPRegressor(alpha=0.1 * scale ** (degree - 1), **options).fit(X, scale * Y)
    assert scaled.result_.converged
    assert scaled.objective_ / scale**degree == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("scale", [1e8, pytest.param(1e4, marks=pytest.mark.slow), 1e-4, 1e-8])
@pytest.mark.parametrize("hidden_bias", ["free", "none"])
@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_samples_of_any_scale(estimator_type, hidden_bias, scale):
    # F(c X, c alpha) = F(X, alpha) where no bias is penalised.
    options = {"hidden_bias": hidden_bias, "patterns": "exact", "tol": 1e-6}
    plain, scaled = estimator_type(alpha=0.1, **options), estimator_type(alpha=0.1 * scale, **options)
    plain.fit(X, targets_for(plain))
    scaled.fit(scale * X, targets_for(plain))
    assert scaled.result_.converged
    assert scaled.objective_ == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_weights_of_any_scale(estimator_type, scale):
    # F(c s, c alpha) = c F(s, alpha)
    options = {"patterns": "exact", "tol": 1e-6}
    plain, scaled = estimator_type(alpha=0.1, **options), estimator_type(alpha=0.1 * scale, **options)
    plain.fit(X, targets_for(plain))
    scaled.fit(X, targets_for(plain), sample_weight=np.full(8, scale))
    assert scaled.result_.converged
    assert scaled.objective_ / scale == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("offset", [1e3, 1e6])
def test_targets_of_any_offset(offset):
    options = {"alpha": 0.1, "patterns": "exact", "tol": 1e-6}
    plain, shifted = (ConvexMLPRegressor(**options).fit(X, Y + c) for c in (0.0, offset))
    assert shifted.result_.converged
    assert shifted.objective_ == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("offset", [10.0, pytest.param(1e3, marks=pytest.mark.slow)])
def test_samples_of_any_offset_with_free_bias(offset):
    options = {"alpha": 0.1, "hidden_bias": "free", "patterns": "exact", "tol": 1e-6}
    plain, shifted = (ConvexMLPRegressor(**options).fit(X + c, Y) for c in (0.0, offset))
    assert shifted.result_.converged
    assert shifted.objective_ == pytest.approx(plain.objective_, rel=2e-6)


@pytest.mark.parametrize("scale", [1e8, 1e-8])
@pytest.mark.parametrize("of", ["X", "y", "both"])
def test_default_alpha_at_any_scale_is_honest(of, scale):
    data, y = X * (scale if of != "y" else 1.0), Y * (scale if of != "X" else 1.0)
    model = ConvexMLPRegressor(patterns="exact")
    try:
        model.fit(data, y)
    except ConvergenceWarning as warning:
        assert "The relative duality gap is" in str(warning)  # noqa: PT017 - either outcome is legal
    assert np.isfinite(model.predict(data)).all()
    assert model.dual_objective_ <= model.objective_ * (1 + 1e-12)
    assert model.objective_ <= 0.5 * np.sum((y - y.mean()) ** 2) * (1 + 1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("of_samples", "of_targets"), [(1e200, 1.0), (1.0, 1e200), (1e-200, 1e-200)])
def test_scales_beyond_double_precision_are_not_called_converged(of_samples, of_targets):
    # Squares overflow or underflow, so an error is fine and so is an admitted failure.
    model = ConvexMLPRegressor(0.1)
    try:
        model.fit(of_samples * X, of_targets * Y)
    except ValueError:
        return
    if model.result_.converged:
        assert np.isfinite([model.objective_, model.dual_objective_, model.dual_gap_]).all()
        assert model.dual_gap_ <= model.tol * model.objective_
