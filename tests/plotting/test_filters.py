"""Pictures of filters: order, titles, scales, where they are drawn, and refusals."""

import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from convexnn.exceptions import MissingExtraError
from convexnn.networks import ConvNetwork, TwoLayerNetwork
from convexnn.patches import PatchGeometry
from convexnn.plotting import FilterDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot.close("all")


def network(shape=(6, 5, 1), kernel=(3, 2), m=5, q=1, pooling="average", **options):
    rng = np.random.default_rng(0)
    geometry = PatchGeometry.of(shape, kernel)
    positions = (geometry.n_positions,) if pooling == "weighted" else ()
    weights = rng.normal(size=(m, *positions, q))
    U = rng.normal(size=(geometry.patch_size, m))
    return ConvNetwork(geometry, U, rng.normal(size=m), weights, np.zeros(q), pooling, **options)


def test_filters_come_by_contribution_with_sign_and_size():
    net = network()
    size = [
        np.sqrt((net.filters[j] ** 2).sum() + net.hidden_biases[j] ** 2) * abs(net.output_weights[j, 0])
        for j in range(5)
    ]
    order = sorted(range(5), key=lambda j: -size[j])
    display = FilterDisplay.from_network(net)
    assert display.order_.tolist() == order
    for j, image, axes in zip(order, display.images_, display.axes_, strict=True):
        np.testing.assert_array_equal(image.get_array(), net.filters[j, ..., 0])
        limit = np.abs(net.filters[j]).max()
        assert image.get_clim() == (-limit, limit)
        sign = "+" if net.output_weights[j, 0] > 0 else "-"
        assert axes.get_title() == f"{sign} {size[j]:.2g}"
    assert display.lines_ == []
    display.figure_.canvas.draw()


def test_biases_count_as_the_objective_counts_them():
    net = network(hidden_bias="free")
    expected = np.linalg.norm(net.hidden_weights, axis=0) * np.abs(net.output_weights[:, 0])
    np.testing.assert_allclose(FilterDisplay.from_network(net).contributions, expected, rtol=1e-14)


def test_three_channels_are_colours_around_grey():
    net = network(shape=(4, 4, 3))
    display = FilterDisplay.from_network(net, n_filters=2)
    assert len(display.images_) == 2
    for j, image in zip(display.order_, display.images_, strict=True):
        kernel = net.filters[j]
        np.testing.assert_allclose(image.get_array(), 0.5 + kernel / np.abs(kernel).max() / 2, rtol=1e-14)
    one = FilterDisplay.from_network(net, channel=1)
    np.testing.assert_array_equal(one.images_[0].get_array(), net.filters[one.order_[0], ..., 1])


def test_signals_are_curves_one_per_channel():
    net = network(shape=(9, 4), kernel=5)
    display = FilterDisplay.from_network(net)
    assert display.images_ == []
    for j, lines, axes in zip(display.order_, display.lines_, display.axes_, strict=True):
        curves = np.array([line.get_ydata() for line in lines])
        np.testing.assert_array_equal(curves, net.filters[j].T)
        bottom, top = axes.get_ylim()
        assert bottom == -top < -np.abs(net.filters[j]).max()
    assert [len(lines) for lines in FilterDisplay.from_network(net, channel=3).lines_] == [1] * 5


def test_titles_name_the_only_output():
    net = network(q=3, m=2, classes=("a", "b", "c"))
    one_each = ConvNetwork(
        net.geometry, net.hidden_weights, net.hidden_biases, [[0, 2.0, 0], [0, 0, -1.0]], [0.0] * 3
    )
    titles = {axes.get_title().split(", ")[1] for axes in FilterDisplay.from_network(one_each).axes_}
    assert titles == {"output 2", "output 3"}
    named = ConvNetwork(**{**vars(one_each), "classes": net.classes})
    titles = {axes.get_title().split(", ")[1] for axes in FilterDisplay.from_network(named).axes_}
    assert titles == {"class b", "class c"}


def test_mixed_signs_have_a_sign_of_their_own():
    display = FilterDisplay.from_network(network(pooling="weighted"))
    assert all(axes.get_title().startswith("± ") for axes in display.axes_)


def test_degenerate_filters_are_drawn():
    geometry = PatchGeometry.of((3, 3, 1), 1)
    display = FilterDisplay.from_network(ConvNetwork(geometry, [[0.0]], [0.0], [[0.0]], [0.0]))
    assert display.axes_[0].get_title() == "0 0"
    signal = ConvNetwork(PatchGeometry.of((3, 1), 1), [[0.0]], [0.0], [[0.0]], [0.0])
    display = FilterDisplay.from_network(signal)
    display.figure_.canvas.draw()


def test_figures_are_grids():
    display = FilterDisplay.from_network(network(m=5), n_columns=2)
    cells = [axes.get_subplotspec() for axes in display.axes_]
    assert [(cell.rowspan.start, cell.colspan.start) for cell in cells] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
    ]


def test_given_axes_are_used():
    figure, axes = pyplot.subplots(2, 3)
    display = FilterDisplay.from_network(network(), ax=axes)
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes.ravel()[:5])
    figure, ax = pyplot.subplots()
    display.plot(ax=ax, n_filters=3)
    assert display.figure_ is figure
    assert len(display.axes_) == 3
    assert not ax.axison
    assert len(figure.axes) == 4


def test_estimators_are_read():
    net = network()
    fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    fitted.network_ = net
    display = FilterDisplay.from_estimator(fitted, n_filters=1)
    assert len(display.images_) == 1
    with pytest.raises(NotFittedError):
        FilterDisplay.from_estimator(LinearRegression())
    del fitted.network_
    with pytest.raises(ValueError, match="Got LinearRegression; fit a ConvexCNNRegressor"):
        FilterDisplay.from_estimator(fitted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_filters": 0}, "n_filters must be at least 1. Got 0"),
        ({"n_columns": 0}, "n_columns must be at least 1"),
        ({"channel": 2}, r"channel must be one of 0 \.\. 1 .*Got 2"),
        ({}, r"have no colours\)\. Got None"),
    ],
)
def test_unfit_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FilterDisplay.from_network(network(shape=(4, 4, 2)), **{"channel": 0, **options} if options else {})


def test_nothing_to_show_is_refused():
    with pytest.raises(ValueError, match=r"no filters to show\. Fit with a smaller alpha"):
        FilterDisplay.from_network(network(m=0))
    with pytest.raises(ValueError, match="Got TwoLayerNetwork"):
        FilterDisplay.from_network(TwoLayerNetwork([[1.0]], [0.0], [[1.0]], [0.0]))
    with pytest.raises(ValueError, match=r"one Axes per filter, 5\. Got 2"):
        FilterDisplay.from_network(network(), ax=pyplot.subplots(2)[1])
    with pytest.raises(ValueError, match="must be part of a grid"):
        FilterDisplay.from_network(network(), ax=pyplot.figure().add_axes([0, 0, 1, 1]))


def test_missing_matplotlib_gives_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r'pip install "convexnn\[plot\]"'):
        FilterDisplay.from_network(network())
