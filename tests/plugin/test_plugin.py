"""A solver of another distribution: found by its entry point, measured like every other."""

from importlib.util import find_spec

import numpy as np
import pytest

from convexnn import ConvexMLPRegressor
from convexnn_solvers import available_solvers

pytestmark = pytest.mark.skipif(
    find_spec("convexnn_fista") is None, reason="needs `python -m pip install tests/plugin`"
)


@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
def test_the_plugin_trains_like_the_native_solver(activation):
    assert "fista" in available_solvers()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3))
    y = np.abs(X[:, 0]) - X[:, 1]
    options = {
        "alpha": 0.5,
        "patterns": 15,
        "activation": activation,
        "fit_intercept": False,
        "random_state": 0,
    }
    native = ConvexMLPRegressor(tol=1e-6, **options).fit(X, y)
    model = ConvexMLPRegressor(tol=1e-4, solver="fista", **options).fit(X, y)
    assert model.result_.solver == "fista"
    assert model.result_.converged
    assert native.dual_objective_ <= model.objective_ <= native.objective_ * (1 + 2e-4)


def test_a_loss_that_it_does_not_take_is_refused():
    with pytest.raises(ValueError, match="does not take the loss"):
        ConvexMLPRegressor(loss="huber", solver="fista", patterns=3).fit([[0.0], [1.0]], [0.0, 1.0])
