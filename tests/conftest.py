"""Settings and fixtures of the whole suite."""

import pytest
from hypothesis import settings

# The first example compiles kernels, so a deadline per example says nothing about the code.
settings.register_profile("convexnn", deadline=None)
settings.load_profile("convexnn")


@pytest.fixture(params=[0, 1, 2])
def seed(request: pytest.FixtureRequest) -> int:
    """Seed for random data; a test that uses it must hold for all of them."""
    return int(request.param)
