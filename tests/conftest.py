"""Settings and fixtures of the whole suite."""

import os

import pytest
from hypothesis import settings

# The first example compiles kernels, so a deadline per example says nothing about the code. Continuous
# integration draws the same examples each time; elsewhere each run draws new ones.
settings.register_profile("convexnn", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("convexnn")


@pytest.fixture(params=[0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def seed(request: pytest.FixtureRequest) -> int:
    """Seed for random data; a test that uses it must hold for all of them."""
    return int(request.param)
