"""Pictures of combinations: lines show the curve's own figures; refusals."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier

from convexnn.ensembles import ConvexStackingClassifier, DropoutEnsembleClassifier, submodel_curve
from convexnn.exceptions import MissingExtraError
from convexnn.plotting import CombinationWeightsDisplay, SubModelCurveDisplay

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib (extra `plot`) is not installed")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")

X, Y = load_iris(return_X_y=True)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def ensemble():
    return DropoutEnsembleClassifier(GaussianNB(), n_submodels=12, random_state=0).fit(X[::2], Y[::2])


def test_the_curve_is_drawn_as_it_is(ensemble):
    curve = submodel_curve(ensemble, X[1::2], Y[1::2], sizes=[1, 4, 12])
    display = SubModelCurveDisplay.from_curve(curve, show_weights=True)
    assert len(display.lines_) == 2  # clones have no base network
    for line, scores in zip(display.lines_, (curve.uniform_scores, curve.optimised_scores), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 4, 12])
        np.testing.assert_array_equal(line.get_ydata(), scores)
    np.testing.assert_array_equal(display.weights_ax_.lines[0].get_ydata(), curve.n_active)
    assert "accuracy" in display.ax_.get_ylabel()
    display.figure_.canvas.draw()


def test_the_curve_of_an_estimator_is_computed_and_drawn_where_asked_for(ensemble):
    figure, axes = pyplot.subplots(1, 2)
    display = SubModelCurveDisplay.from_estimator(
        ensemble, X[1::2], Y[1::2], sizes=[2, 5], scoring="neg_log_loss", ax=axes[1]
    )
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert display.weights_ax_ is None
    wanted = submodel_curve(ensemble, X[1::2], Y[1::2], sizes=[2, 5], scoring="neg_log_loss")
    np.testing.assert_array_equal(display.lines_[1].get_ydata(), wanted.optimised_scores)
    assert "neg_log_loss" in display.ax_.get_ylabel()


def test_the_base_network_is_a_line():
    base = MLPClassifier((5,), solver="lbfgs", alpha=1.0, max_iter=2000, random_state=0)
    model = DropoutEnsembleClassifier(base, n_submodels=5, random_state=0).fit(X, Y)
    display = SubModelCurveDisplay.from_estimator(model, X, Y)
    assert set(display.lines_[2].get_ydata()) == {model.estimator_.score(X, Y)}
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "uniform weights",
        "optimised weights",
        "base network",
    ]


def test_weights_are_drawn_largest_first(ensemble):
    display = CombinationWeightsDisplay.from_estimator(ensemble)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), sorted(ensemble.weights_, reverse=True))
    assert set(display.lines_[1].get_ydata()) == {1 / 12}
    assert f"{ensemble.n_active_} of 12" in display.ax_.get_title()
    display.figure_.canvas.draw()


def test_weights_of_stacking():
    model = ConvexStackingClassifier([("a", GaussianNB()), ("b", GaussianNB(var_smoothing=0.1))]).fit(X, Y)
    _, ax = pyplot.subplots()
    display = CombinationWeightsDisplay.from_estimator(model, ax=ax)
    assert display.ax_ is ax
    assert len(display.lines_[0].get_ydata()) == 2


def test_unfitted_estimators_are_refused():
    with pytest.raises(NotFittedError):
        CombinationWeightsDisplay.from_estimator(DropoutEnsembleClassifier())
    with pytest.raises(NotFittedError):
        SubModelCurveDisplay.from_estimator(DropoutEnsembleClassifier(), X, Y)


def test_missing_matplotlib_gives_the_pip_line(ensemble, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r'pip install "convexnn\[plot\]"'):
        CombinationWeightsDisplay.from_estimator(ensemble)
