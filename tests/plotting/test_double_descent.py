"""Pictures of double descent: what the lines are, axes, and refusals."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from convexnn.exceptions import MissingExtraError
from convexnn.fourier import RandomFourierClassifier, RandomFourierRegressor, double_descent_curve
from convexnn.plotting import DoubleDescentDisplay

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib (extra `plot`) is not installed")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(20, 3)), RNG.normal(size=(15, 3))
Y, Y_TEST = X[:, 0] ** 2, X_TEST[:, 0] ** 2
SIZES = [2, 6, 10, 40]
DATA = X, Y, X_TEST, Y_TEST


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


@pytest.fixture
def curve():
    model = RandomFourierClassifier(random_state=0)
    return double_descent_curve(model, X, Y > 1, X_TEST, Y_TEST > 1, n_frequencies=SIZES, n_repeats=3)


def test_lines_are_medians_and_bands_reach_to_the_extremes(curve):
    display = DoubleDescentDisplay.from_curve(curve, norm=True)
    test, train, norm = display.lines_
    for line, figures in ((test, curve.test_error), (train, curve.train_error), (norm, curve.coef_norm)):
        np.testing.assert_array_equal(line.get_xdata(), [4, 12, 20, 80])
        np.testing.assert_array_equal(line.get_ydata(), np.median(figures, axis=1))
    for band, figures in zip(
        display.bands_, (curve.test_error, curve.train_error, curve.coef_norm), strict=True
    ):
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == (figures.min(), figures.max())
    assert list(display.threshold_.get_xdata()) == [20, 20]
    assert (norm.axes, test.axes, train.axes) == (display.norm_ax_, display.ax_, display.ax_)
    assert display.ax_.get_ylabel() == "mean squared error"
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == display.norm_ax_.get_yscale() == "log"
    assert display.ax_.get_ylim()[0] == pytest.approx(0.1 * curve.test_error.min())
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["test", "train", "norm", "20 samples"]
    display.figure_.canvas.draw()


def test_rates_are_on_a_linear_axis(curve):
    display = DoubleDescentDisplay.from_curve(curve, metric="misclassified")
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), np.median(curve.test_misclassified, axis=1))
    assert display.ax_.get_yscale() == "linear"
    assert display.ax_.get_ylabel() == "misclassified"
    assert display.norm_ax_ is None
    assert len(display.lines_) == len(display.bands_) == 2


def test_given_axes_are_used_and_a_display_plots_again(curve):
    figure, axes = pyplot.subplots(2)
    display = DoubleDescentDisplay.from_curve(curve, ax=axes[0])
    assert (display.ax_, display.figure_) == (axes[0], figure)
    assert display.plot(axes[1], yscale="linear") is display
    assert (display.ax_, len(display.lines_)) == (axes[1], 2)
    assert axes[1].get_yscale() == "linear"


def test_estimators_are_measured_first():
    model = RandomFourierRegressor(ridge=0.1)
    display = DoubleDescentDisplay.from_estimator(model, *DATA, n_frequencies=SIZES, random_state=1)
    curve = double_descent_curve(model, *DATA, n_frequencies=SIZES, random_state=1)
    np.testing.assert_array_equal(display.curve.test_error, curve.test_error)
    assert display.bands_ == []


def test_errors_of_zero_are_drawn(curve):
    zero = replace(curve, test_error=np.zeros((4, 3)), train_error=np.zeros((4, 3)))
    zero = replace(zero, coef_norm=np.zeros((4, 3)))
    display = DoubleDescentDisplay.from_curve(zero, norm=True)
    assert display.ax_.get_yscale() == display.norm_ax_.get_yscale() == "linear"
    display.figure_.canvas.draw()


def test_unfit_options_are_refused(curve):
    with pytest.raises(ValueError, match=r"metric must be one of \['misclassified', 'squared_error'\]"):
        DoubleDescentDisplay.from_curve(curve, metric="accuracy")
    without = replace(curve, train_misclassified=None, test_misclassified=None)
    with pytest.raises(ValueError, match="needs the curve of a classifier"):
        DoubleDescentDisplay.from_curve(without, metric="misclassified")
    with pytest.raises(ValueError, match=r"curve must be a DoubleDescentCurve\. Got RandomFourierRegressor"):
        DoubleDescentDisplay.from_curve(RandomFourierRegressor())


def test_missing_matplotlib_gives_the_pip_line(curve, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r'pip install "convexnn\[plot\]"'):
        DoubleDescentDisplay.from_curve(curve)
    with pytest.raises(MissingExtraError, match=r'pip install "convexnn\[plot\]"'):
        DoubleDescentDisplay.from_estimator(RandomFourierRegressor(), *DATA, n_frequencies=SIZES)
