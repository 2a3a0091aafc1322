"""What trains for a certificate only suggests; what bounds gains is not tightened where that is of no use."""

import numpy as np
import pytest

from convexnn import ConvexMLPRegressor, TwoLayerNetwork, certify
from convexnn.activations import get_activation
from convexnn.certificates import refining
from convexnn.certificates.bounds import bound_from, gradient_guess
from convexnn.certificates.pricing_methods import Pricing
from convexnn.losses import SquaredError
from convexnn.problem import NetworkKind, Problem, TrainingData
from convexnn_solvers import Clock


def draw(seed=0, n=20, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.abs(X[:, 0]) - X[:, 1] + 0.1 * rng.normal(size=n)
    network = TwoLayerNetwork(rng.normal(size=(d, 3)), rng.normal(size=3), rng.normal(size=(3, 1)), [0.0])
    return X, y, network


def problem_of(X, y, alpha=0.5):
    data = TrainingData(X, y[:, None], np.ones(len(y)), SquaredError())
    return Problem.of(data, NetworkKind(get_activation("relu"), "penalized", True), alpha)


def test_without_anything_that_trains_bounds_of_the_network_itself_remain(monkeypatch):
    X, y, network = draw()
    known = certify(network, X, y, alpha=0.5, refine=False)
    monkeypatch.setattr(refining, "_REGISTERED", {})
    assert certify(network, X, y, alpha=0.5, refine=False).lower_bound == known.lower_bound
    with pytest.raises(RuntimeError, match="refine=False"):
        certify(network, X, y, alpha=0.5)


def test_suggestions_are_proved_and_never_believed(monkeypatch):
    X, y, network = draw()
    optimum = ConvexMLPRegressor(0.5, patterns="exact", tol=1e-8).fit(X, y).objective_
    asked = []

    def suggest(problem, network, ask, *, attained, exact, tol, clock):
        rng = np.random.default_rng(0)
        sizes = (1e-3, 1.0, 1e6, np.nextafter(0.0, 1.0))
        guesses = [size * rng.normal(size=problem.targets.shape) for size in sizes]
        asked.extend(ask(guess, clock).value for guess in guesses)
        assert exact
        assert attained == pytest.approx(problem.objective(network), rel=1e-12)
        return "Only guesses."

    monkeypatch.setattr(refining, "_REGISTERED", {})
    refining.register_refinement(suggest)
    found = certify(network, X, y, alpha=0.5)
    assert max(asked) <= found.lower_bound <= optimum * (1 + 1e-9)
    assert len(asked) == 4
    assert found.message == "Only guesses."


def test_refinement_reaches_the_optimum_that_the_gradient_does_not():
    X, y, network = draw()
    optimum = ConvexMLPRegressor(0.5, patterns="exact", tol=1e-8).fit(X, y).objective_
    plain, found = (certify(network, X, y, alpha=0.5, refine=refine) for refine in (False, True))
    assert plain.lower_bound < 0.9 * optimum
    assert optimum * (1 - 1e-6) <= found.lower_bound <= optimum * (1 + 1e-9)
    assert "training" in found.method


def test_an_interrupt_reaches_the_caller(monkeypatch):
    X, y, network = draw()

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    # The second bound is the first that the training asks for.
    calls = iter([bound_from, interrupted])

    def called(*arguments, **options):
        return next(calls)(*arguments, **options)

    monkeypatch.setattr("convexnn.certificates.certify.bound_from", called)
    with pytest.raises(KeyboardInterrupt):
        certify(network, X, y, alpha=0.5)


def test_useless_dual_points_are_bounded_by_what_costs_little():
    # Of rank eleven, so that "auto" goes on with the semidefinite relaxation.
    X, y, _ = draw(1, 30, 10)
    problem = problem_of(X, y)
    network = TwoLayerNetwork(np.zeros((10, 0)), np.zeros(0), np.zeros((0, 1)), [0.0])
    theta, pricing = gradient_guess(problem, network), Pricing(problem)
    tight = bound_from(problem, pricing, theta, "test", Clock())
    possible = bound_from(problem, pricing, theta, "test", Clock(), wanted=tight.value)
    useless = bound_from(problem, pricing, theta, "test", Clock(), wanted=problem.objective(network))
    assert (tight.price.method, possible.price.method) == ("semidefinite", "semidefinite")
    assert useless.price.method == "closed form"
    assert 0 < useless.value < tight.value == possible.value


def test_branch_and_bound_is_left_out_where_it_cannot_visit_its_first_cones():
    X, y, _ = draw(2, 60, 3)
    problem = problem_of(X, y)
    pricing = Pricing(problem)
    assert pricing.may_be_exact(Clock())
    assert not pricing.may_be_exact(Clock(1e-6))
    assert not Pricing(problem, "semidefinite").may_be_exact(Clock())
    theta = np.random.default_rng(0).normal(size=(60, 1))
    price = pricing(theta - theta.mean(), threshold=0.0, clock=Clock(1e-6))
    assert "branch" not in price.method
    assert price.upper >= price.lower > 0
    exact = pricing(theta - theta.mean(), threshold=0.0, clock=Clock())
    assert exact.complete
    assert exact.upper <= min(price.upper, exact.lower * (1 + 1e-6))


def test_all_time_over_still_gives_a_certificate_and_says_so():
    X, y, network = draw(3, 50, 3)
    found = certify(network, X, y, alpha=0.5, time_limit=0.0)
    assert not found.complete
    assert "limit cut the search" in found.message
    best = certify(network, X, y, alpha=0.5)
    assert found.lower_bound < best.lower_bound
    assert (best.complete, best.message) == (True, "")
    for wrong in (-1.0, np.nan):
        with pytest.raises(ValueError, match="time_limit"):
            certify(network, X, y, alpha=0.5, time_limit=wrong)
    with pytest.raises(ValueError, match="tol"):
        certify(network, X, y, alpha=0.5, tol=-1.0)
