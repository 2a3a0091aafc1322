"""Losses with a kink at the target, rounded off for descents."""

import numpy as np
import pytest

from convexnn.losses import without_kinks
from convexnn.losses.kinks import RoundedKink
from convexnn_solvers.curvature import Curvature
from program_cases import LOSSES


@pytest.mark.parametrize("name", ["hinge", "absolute_error"])
def test_rounded_losses_are_close_and_have_the_right_derivatives(name: str) -> None:
    rng = np.random.default_rng(8)
    loss, weight = LOSSES[name], np.ones(40)
    targets = rng.choice([-1.0, 1.0], size=(40, 1)) if name == "hinge" else rng.normal(size=(40, 1))
    rounded = without_kinks(loss, targets, weight)
    outputs = rng.normal(size=(40, 1))
    exact, above = loss.value(outputs, targets, weight), rounded.value(outputs, targets, weight)
    assert exact <= above <= exact + 40 * 0.1
    shifted = [rounded.value(outputs + step, targets, weight) for step in (1e-6, -1e-6)]
    slope = float(rounded.gradient(outputs, targets, weight).sum())
    assert (shifted[0] - shifted[1]) / 2e-6 == pytest.approx(slope, abs=1e-5)
    bend = float(Curvature(*rounded.curvature(outputs, targets, weight)).matrices().sum())
    for step in (-2.0, -0.5, 0.1, 1.0, 3.0):
        parabola = above + step * slope + 0.5 * step**2 * bend
        assert rounded.value(outputs + step, targets, weight) <= parabola * (1 + 1e-12)


@pytest.mark.parametrize("name", ["hinge", "absolute_error"])
def test_sharper_losses_lie_between_and_bend_little_where_they_are_straight(name: str) -> None:
    rng = np.random.default_rng(9)
    loss, weight = LOSSES[name], np.ones(40)
    targets = rng.choice([-1.0, 1.0], size=(40, 1)) if name == "hinge" else rng.normal(size=(40, 1))
    rounded = without_kinks(loss, targets, weight)
    assert isinstance(rounded, RoundedKink)
    sharper = rounded.sharpened(0.25)
    outputs = targets + rounded.width * rng.normal(size=(40, 1))
    values = [one.value(outputs, targets, weight) for one in (loss, sharper, rounded)]
    assert values == sorted(values)
    straight = np.abs(outputs - targets).ravel() >= rounded.width
    ours, others = (
        Curvature(*one.curvature(outputs, targets, weight)).matrices().ravel() for one in (sharper, rounded)
    )
    assert (ours[straight] < others[straight]).all()
    assert (ours > 0).all()


def test_smooth_losses_are_left_alone() -> None:
    loss = LOSSES["huber"]
    assert without_kinks(loss, np.zeros((2, 1)), np.ones(2)) is loss
