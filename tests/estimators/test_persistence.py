"""Fitted estimators are written and read back by skops, with the types that the documentation lists."""

import pathlib
import pickle

import numpy as np
import pytest
import skops.io as sio

import convexnn
from convexnn import (
    ConvexCNNRegressor,
    ConvexMLPClassifier,
    ConvexMLPClassifierCV,
    ConvexMLPRegressor,
    RandomFourierRegressor,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 2))
Y = np.abs(X[:, 0]) - X[:, 1]

PAGE = pathlib.Path(convexnn.__file__).parents[1] / "docs" / "persistence.rst"


def documented_types():
    """Names in the list of the page."""
    lines = PAGE.read_text().splitlines()
    return [line.strip().strip('",') for line in lines if line.strip().startswith('"convexnn')]


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside an installed package")
@pytest.mark.parametrize(
    ("model", "y"),
    [
        (ConvexMLPRegressor(random_state=0), Y),
        (ConvexMLPRegressor(patterns=5, activation="gated_relu", random_state=0), Y),
        (ConvexMLPClassifier(random_state=0), np.where(Y > 0, "high", "low")),
        (ConvexMLPClassifierCV(alphas=2, cv=2, patterns=4, random_state=0), (Y > 0).astype(int)),
        (ConvexCNNRegressor(kernel_size=2, random_state=0), Y),
        (RandomFourierRegressor(n_frequencies=5, random_state=0), Y),
    ],
)
def test_skops_reads_what_it_wrote(model, y):
    model.fit(X, y)
    data = sio.dumps(model)
    unknown = sio.get_untrusted_types(data=data)
    own = {f"{type(model).__module__}.{type(model).__name__}"}
    assert set(unknown) - own <= set(documented_types())
    read = sio.loads(data, trusted=unknown)
    np.testing.assert_array_equal(read.predict(X), model.predict(X))
    if hasattr(model, "result_"):
        assert read.result_.status is model.result_.status
        assert read.network_ == model.network_


def test_results_pickle():
    result = ConvexMLPRegressor(random_state=0).fit(X, Y).result_
    read = pickle.loads(pickle.dumps(result))
    assert read.status is result.status
    np.testing.assert_array_equal(read.blocks, result.blocks)
