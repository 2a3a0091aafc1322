"""Every point of a path is the optimum of its own program; what a path shares changes nothing but time."""

import pickle

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from convexnn import (
    ConvexMLPClassifier,
    ConvexMLPRegressor,
    PathResult,
    convex_path,
    enumerate_patterns,
    sample_patterns,
)
from convexnn.exceptions import PatternBudgetError
from convexnn.losses import Huber
from convexnn.paths import alpha_max
from convexnn.training import listed
from convexnn_solvers import Status, registry, solve
from convexnn_solvers.backends.clarabel_ import Clarabel
from program_cases import BIASES, LOSSES, draw_case
from restatement import restated_optimum


def draw(seed=0, n=14, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, -1] + 0.2 * rng.normal(size=n)


def classes_of(y, n_classes=2):
    labels = np.array(["cold", "mild", "warm"])[:n_classes]
    return labels[np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))]


def draw_positive(seed, **options):
    """Without samples of weight zero, which a path drops with the cone constraints that they give."""
    case = draw_case(seed, **options)
    return case.but(sample_weight=np.maximum(case.sample_weight, 0.1))


def path_of(case, **options):
    return convex_path(
        case.X,
        case.y,
        case.patterns,
        loss=case.loss,
        activation=case.activation,
        hidden_bias=case.hidden_bias,
        fit_intercept=case.fit_intercept,
        sample_weight=case.sample_weight,
        multi_output="separate",
        **options,
    )


def assert_every_point_is_optimal(case):
    path = path_of(case, alphas=4, eps=1e-2, tol=1e-6)
    assert path.converged
    assert path.networks[0].n_neurons == 0
    for alpha, upper, lower in zip(path.alphas, path.objectives, path.dual_objectives, strict=True):
        optimum = case.but(alpha=alpha).optimum()
        assert lower <= optimum * (1 + 1e-7)
        assert optimum == pytest.approx(upper, rel=2e-6)
    for alpha, upper, network in zip(path.alphas, path.objectives, path.networks, strict=True):
        weights = {"alpha": alpha, "loss": case.loss, "sample_weight": case.sample_weight}
        assert network.objective(case.X, case.y, **weights) == pytest.approx(upper, rel=1e-9)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_each_point_against_a_restatement(loss):
    assert_every_point_is_optimal(draw_positive(0, loss=loss))


@pytest.mark.slow
@pytest.mark.parametrize(("hidden_bias", "fit_intercept"), BIASES)
@pytest.mark.parametrize("activation", ["relu", "absolute_value", "gated_relu"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_each_point_of_every_kind(loss, activation, hidden_bias, fit_intercept, seed):
    if activation == "gated_relu" and hidden_bias == "free":
        pytest.skip("a gated unit with a free bias has no program")
    options = {"hidden_bias": hidden_bias, "fit_intercept": fit_intercept}
    assert_every_point_is_optimal(draw_positive(seed, loss=loss, activation=activation, **options))


def test_all_patterns_against_a_restatement():
    X, y = draw(n=7)
    path = convex_path(X, y, alphas=3, eps=0.05)
    assert path.gap_scope == "global"
    every = enumerate_patterns(np.column_stack([X, np.ones(7)]))
    assert len(path.patterns) == len(every)
    optima = [restated_optimum(X, y[:, None], every.to_dense(), alpha=alpha) for alpha in path.alphas]
    np.testing.assert_allclose(path.objectives, optima, rtol=1e-4)


@pytest.mark.parametrize("patterns", ["exact", 12])
@pytest.mark.parametrize(
    ("estimator_type", "loss"), [(ConvexMLPRegressor, "huber"), (ConvexMLPClassifier, "log_loss")]
)
def test_warm_and_cold_agree(estimator_type, loss, patterns, seed):
    X, y = draw(seed)
    target = y if estimator_type is ConvexMLPRegressor else classes_of(y, 3 if seed else 2)
    # One list of patterns is a program where neurons feed one output each.
    options = {"loss": loss, "patterns": patterns, "multi_output": "separate", "random_state": seed}
    path = convex_path(X, target, alphas=6, **options)
    assert path.converged
    for alpha, upper, lower in zip(path.alphas, path.objectives, path.dual_objectives, strict=True):
        cold = estimator_type(alpha, **options).fit(X, target)
        assert path.patterns == cold.patterns_
        assert path.gap_scope == cold.gap_scope_
        assert lower <= cold.objective_ * (1 + 1e-12)
        assert cold.dual_objective_ <= upper * (1 + 1e-12)


def test_each_solve_starts_from_the_last_solution_on_one_design(monkeypatch):
    starts, designs, results = [], [], []

    def recording(program, *, start, **options):
        starts.append(start)
        designs.append(program.design)
        results.append(solve(program, start=start, **options))
        return results[-1]

    monkeypatch.setattr(listed, "solve", recording)
    convex_path(*draw(), 10, alphas=4, random_state=0)
    assert starts[0] is None
    for start, result in zip(starts[1:], results, strict=False):
        assert start[0] is result.blocks
        assert start[1] is result.intercept
    assert {id(design) for design in designs} == {id(designs[0])}


def test_optimum_is_a_concave_increasing_function_of_alpha(seed):
    path = convex_path(*draw(seed), 20, alphas=8, eps=1e-2, tol=1e-7, random_state=seed)
    alphas, upper, lower = path.alphas[::-1], path.objectives[::-1], path.dual_objectives[::-1]
    assert (lower[:-1] <= upper[1:]).all()
    chord = ((alphas[2:] - alphas[1:-1]) * lower[:-2] + (alphas[1:-1] - alphas[:-2]) * lower[2:]) / (
        alphas[2:] - alphas[:-2]
    )
    assert (upper[1:-1] >= chord * (1 - 1e-12)).all()


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_first_point_has_no_neurons_and_the_best_constant(loss, seed):
    case = draw_positive(seed, loss=loss)
    path = path_of(case, alphas=3, eps=0.5)
    assert path.alphas[0] == pytest.approx(alpha_max(case.program()), rel=1e-6)
    assert path.n_neurons[0] == 0
    assert not path.results[0].blocks.any()
    assert path.n_neurons[1:].min() > 0
    zero = np.zeros_like(case.y)
    best = case.loss.optimal_intercept(zero, case.y, case.sample_weight)
    constant = case.loss.value(zero + best, case.y, case.sample_weight)
    assert path.objectives[0] == pytest.approx(constant, rel=1e-12)


def test_constant_targets():
    X, y = draw()
    path = convex_path(X, np.full_like(y, 3.0), alphas=3)
    np.testing.assert_allclose(path.alphas, [1, 1e-1**1.5, 1e-3])
    assert path.converged
    assert not path.n_neurons.any()
    assert not path.objectives.any()


def test_result():
    path = convex_path(*draw(), 10, alphas=5, eps=0.1, random_state=0)
    assert isinstance(path, PathResult)
    assert len(path) == len(path.results) == len(path.networks) == 5
    assert (np.diff(path.alphas) < 0).all()
    gaps = (path.objectives - path.dual_objectives) / path.objectives
    np.testing.assert_allclose(path.relative_gaps, np.maximum(gaps, 0), atol=1e-15)
    assert set(path.statuses) == {Status.CONVERGED}
    assert path.alphas_left.size == 0
    assert repr(path).startswith(
        f"PathResult(5 alphas from {path.alphas[0]:.4g} to {path.alphas[-1]:.4g}, 5 conv"
    )
    with pytest.raises(ValueError, match="read-only"):
        path.alphas[0] = 1.0
    copy = pickle.loads(pickle.dumps(path))
    np.testing.assert_array_equal(copy.objectives, path.objectives)
    assert copy.networks == path.networks


# Input


def test_weights_are_repetitions():
    X, y = draw(n=8)
    counts = np.array([1, 2, 0, 3, 1, 1, 2, 1])
    weighted = convex_path(X, y, 10, alphas=4, sample_weight=counts, random_state=0)
    repeated = convex_path(X.repeat(counts, axis=0), y.repeat(counts), 10, alphas=4, random_state=0)
    np.testing.assert_array_equal(weighted.alphas, repeated.alphas)
    np.testing.assert_array_equal(weighted.objectives, repeated.objectives)
    assert weighted.networks == repeated.networks


def test_pattern_set():
    X, y = draw()
    patterns = sample_patterns(np.column_stack([X, np.ones(14)]), 9, random_state=5)
    given = convex_path(X, y, patterns, alphas=3)
    assert {bits.tobytes() for bits in given.patterns.bits} == {bits.tobytes() for bits in patterns.bits}
    with pytest.raises(ValueError, match="The given patterns are of data of shape"):
        convex_path(X[:9], y[:9], patterns)


def test_labels_and_encoded_targets_agree():
    X, y = draw()
    labelled = convex_path(X, classes_of(y), 10, loss="log_loss", alphas=3, random_state=0)
    signs = np.where(classes_of(y) == "mild", 1, -1)[:, None]
    encoded = convex_path(X, signs, 10, loss="log_loss", alphas=3, random_state=0)
    np.testing.assert_array_equal(labelled.objectives, encoded.objectives)
    assert labelled.networks[-1].classes == ("cold", "mild")
    assert encoded.networks[-1].classes is None


def test_several_outputs():
    X, y = draw()
    path = convex_path(X, np.column_stack([y, y**2]), 10, alphas=3, random_state=0)
    assert path.converged
    assert path.gap_scope == "patterns"
    assert path.networks[-1].n_outputs == 2


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"X": [[np.nan]] * 14}, ValueError, "NaN"),
        ({"y": [1.0]}, ValueError, "inconsistent numbers of samples"),
        ({"y": np.full(14, np.inf)}, ValueError, "infinity"),
        ({"patterns": "all"}, ValueError, "patterns must be"),
        ({"patterns": 0}, ValueError, "patterns must be"),
        ({"alphas": -1}, ValueError, "alphas must be"),
        ({"alphas": [1.0, 0.0], "loss": "log_loss", "y": [0, 1] * 7}, ValueError, "alphas must be positive"),
        ({"eps": 0}, ValueError, "eps must be"),
        ({"loss": "squared"}, ValueError, "Unknown loss"),
        ({"loss": "log_loss", "y": np.linspace(0, 1, 14)}, ValueError, "Unknown label type"),
        ({"loss": "log_loss", "y": np.ones(14)}, ValueError, r"at least two classes.*\[1.0\]"),
        (
            {"loss": "hinge", "y": [0, 1, 2] * 4 + [0, 1], "sample_weight": [0, 1, 1] * 4 + [0, 1]},
            ValueError,
            r"\[0, 1, 2\], of these with positive weight \[1, 2\]",
        ),
        ({"sample_weight": -np.ones(14)}, ValueError, "must not be negative"),
        ({"hidden_bias": "free", "fit_intercept": False}, ValueError, "hidden_bias='free'"),
        ({"activation": "tanh"}, ValueError, "Unknown activation"),
        ({"solver": "nothing"}, ValueError, "Unknown solver"),
        ({"tol": 0}, ValueError, "tol must be positive"),
        ({"time_limit": 0}, ValueError, "time_limit must be"),
    ],
)
def test_input_without_a_meaning(changes, error, text):
    X, y = draw()
    arguments = {"X": X, "y": y, "patterns": 5, "random_state": 0} | changes
    with pytest.raises(error, match=text):
        convex_path(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_too_many_patterns():
    X, y = draw(n=60, d=10)
    with pytest.raises(PatternBudgetError, match="patterns='exact'"):
        convex_path(X, y, "exact")


def test_alpha_zero_is_interpolation():
    X, y = draw(n=6)
    path = convex_path(X, y, "exact", alphas=[0.0, 1.0], loss=Huber(0.5))
    assert path.alphas.tolist() == [1.0, 0.0]
    np.testing.assert_allclose(path.networks[1].predict(X), y, atol=1e-3)


# Early ends


def test_one_warning_for_all_points_above_the_tolerance():
    with pytest.warns(ConvergenceWarning) as caught:
        path = convex_path(*draw(), 10, alphas=5, max_iter=1, tol=1e-8, random_state=0)
    assert len(path) == 5
    assert not path.converged
    above = sum(status is Status.ITERATION_LIMIT for status in path.statuses)
    assert above == 4
    (warning,) = caught
    assert "4 of 5 points of the path have a relative duality gap above tol=1e-08" in str(warning.message)
    assert f"{path.relative_gaps.max():.2g}, at alpha=" in str(warning.message)
    assert "larger max_iter" in str(warning.message)


def test_time_limit_ends_the_path():
    with pytest.warns(ConvergenceWarning, match="The path ended after 1 of 5 alphas"):
        path = convex_path(*draw(), 10, alphas=5, time_limit=1e-9, random_state=0)
    assert path.n_neurons.tolist() == [0]
    assert path.alphas_left.size == 4
    assert path.alphas[0] > path.alphas_left[0]
    assert path.statuses == (Status.CONVERGED,)
    assert not path.converged


def test_time_limit_within_a_point_keeps_the_best():
    X, y = draw()
    with pytest.warns(ConvergenceWarning, match="TIME_LIMIT"):
        path = convex_path(X, y, 10, alphas=[0.1, 0.2], time_limit=1e-9, random_state=0)
    assert path.statuses == (Status.TIME_LIMIT,)
    assert path.objectives[0] <= 0.5 * np.sum((y - y.mean()) ** 2) * (1 + 1e-12)
    assert path.alphas_left.tolist() == [0.1]


class InterruptedLater(Clarabel):
    """Clarabel until it has been called so many times."""

    name = "interrupted_later"
    calls = 0

    def run(self, program, options, start=None):
        type(self).calls += 1
        if type(self).calls == 3:
            raise KeyboardInterrupt
        return super().run(program, options, start)


def test_interrupt_in_a_solve_keeps_the_points_before(monkeypatch):
    class Entry:
        @staticmethod
        def load():
            return InterruptedLater

    monkeypatch.setattr(registry, "_plugins", lambda: {"interrupted_later": Entry})
    monkeypatch.setattr(InterruptedLater, "calls", 0)
    X, y = draw()
    options = {"alphas": 6, "random_state": 0}
    with pytest.warns(ConvergenceWarning, match=r"INTERRUPTED.*ended after 4 of 6 alphas"):
        path = convex_path(X, y, 5, solver="interrupted_later", **options)
    assert [status.name for status in path.statuses] == 3 * ["CONVERGED"] + ["INTERRUPTED"]
    whole = convex_path(X, y, 5, solver="clarabel", **options)
    np.testing.assert_array_equal(path.objectives[:3], whole.objectives[:3])
    # The network before is a point of the program at hand.
    before = path.networks[2].objective(X, y, alpha=path.alphas[3])
    assert path.objectives[3] <= before * (1 + 1e-9)
    np.testing.assert_array_equal(np.append(path.alphas, path.alphas_left), whole.alphas)


@pytest.mark.parametrize("n_solves", [0, 2])
def test_interrupt_between_solves(monkeypatch, n_solves):
    done = []

    def interrupting(program, **options):
        if len(done) == n_solves:
            raise KeyboardInterrupt
        done.append(solve(program, **options))
        return done[-1]

    monkeypatch.setattr(listed, "solve", interrupting)
    if n_solves == 0:
        with pytest.raises(KeyboardInterrupt):
            convex_path(*draw(), 10, alphas=5, random_state=0)
        return
    with pytest.warns(ConvergenceWarning, match="The path ended after 2 of 5 alphas"):
        path = convex_path(*draw(), 10, alphas=5, random_state=0)
    assert path.results == tuple(done)


def test_verbose_prints_a_line_for_each_point(capsys):
    convex_path(*draw(), 10, alphas=3, random_state=0)
    assert capsys.readouterr().out == ""
    path = convex_path(*draw(), 10, alphas=3, random_state=0, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(f"{alpha:.6g}" in line for alpha, line in zip(path.alphas, lines, strict=True))
