"""Training for certificates: when the bound is asked for, and when there is nothing left to gain."""

from dataclasses import dataclass

import numpy as np
import pytest

from convexnn import ConvNetwork, TwoLayerNetwork
from convexnn.activations import get_activation
from convexnn.certificates.bounds import bound_from
from convexnn.certificates.pricing_methods import Pricing
from convexnn.losses import SquaredError
from convexnn.patches import PatchGeometry
from convexnn.problem import NetworkKind, Problem, TrainingData
from convexnn.training import TrainingOptions, refinement
from convexnn.training.proved_search import prove
from convexnn.training.refinement import CertifiedSearch, refine
from convexnn_solvers import Clock, SolverError


def problem_of(hidden_bias="penalized", n=25, d=2, alpha=0.3):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = np.abs(X[:, 0]) - X[:, -1] + 0.1 * rng.normal(size=n)
    data = TrainingData(X, y[:, None], np.ones(n), SquaredError())
    return Problem.of(data, NetworkKind(get_activation("relu"), hidden_bias, True), alpha)


def empty_network(problem):
    d = problem.data.X.shape[1]
    bias = problem.kind.hidden_bias
    return TwoLayerNetwork(np.zeros((d, 0)), np.zeros(0), np.zeros((0, 1)), [0.0], hidden_bias=bias)


@dataclass
class Asking:
    """A certificate's bounds, counted; prices may be made looser than they are."""

    problem: Problem
    looser: float = 1.0

    def __post_init__(self):
        self.bounds, self.limits = [], []

    def __call__(self, theta, clock):
        pricing = Pricing(self.problem)
        exact = pricing.__call__

        def loose(*arguments, **options):
            price = exact(*arguments, **options)
            return type(price)(
                self.looser * price.upper, price.lower, price.neurons, price.method, price.complete
            )

        self.bounds.append(bound_from(self.problem, loose, self.problem.spread(theta), "test", clock))
        self.limits.append(clock.left)
        return self.bounds[-1]

    def refine(self, network, *, exact=True, clock=None, tol=1e-6):
        return refine(
            self.problem,
            network,
            self,
            attained=self.problem.objective(network),
            exact=exact,
            tol=tol,
            clock=clock or Clock(),
        )


@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_the_bound_reaches_the_optimum_and_is_asked_for_few_times(hidden_bias):
    problem = problem_of(hidden_bias)
    asking = Asking(problem)
    assert asking.refine(empty_network(problem)) == ""
    optimum = prove(problem, TrainingOptions(tol=1e-8), Clock()).objective
    best = max(bound.value for bound in asking.bounds)
    assert optimum * (1 - 1e-6) <= best <= optimum * (1 + 1e-9)
    # Ascents go first: a bound of each round would be ten times as many.
    assert len(asking.bounds) <= 4


def test_loose_prices_end_training_at_once():
    problem = problem_of()
    asking = Asking(problem, looser=2.0)
    asking.refine(empty_network(problem))
    assert len(asking.bounds) == 1
    assert asking.bounds[0].price.lower <= problem.alpha * (1 + 1e-3)


@pytest.mark.parametrize(("looser", "n_asked"), [(100.0, 1), (1.05, 2)])
def test_where_programs_cost_much_a_first_bound_says_whether_to_go_on(monkeypatch, looser, n_asked):
    problem = problem_of(n=40)
    monkeypatch.setattr(CertifiedSearch, "most_constraints", 0)
    asking = Asking(problem, looser)
    asking.refine(empty_network(problem), exact=False)
    assert asking.limits[0] <= 10.0
    assert (len(asking.bounds) == 1) == (n_asked == 1)
    # Where gains may be bounded exactly nothing is given up early.
    exact = Asking(problem, looser)
    exact.refine(empty_network(problem), exact=True)
    assert exact.limits[0] == np.inf


def test_without_a_limit_of_time_rounds_are_limited_by_their_work(monkeypatch):
    problem = problem_of(n=40, d=3, alpha=0.05)
    rounds = []
    step = CertifiedSearch.step
    monkeypatch.setattr(CertifiedSearch, "step", lambda self, run: rounds.append(1) or step(self, run))
    Asking(problem).refine(empty_network(problem))
    whole = len(rounds)
    rounds.clear()
    monkeypatch.setattr(refinement, "_MOST_VISITS", 0)
    asking = Asking(problem)
    asking.refine(empty_network(problem))
    assert len(rounds) == 1 < whole
    assert len(asking.bounds) == 1
    rounds.clear()
    Asking(problem).refine(empty_network(problem), clock=Clock(60.0))
    assert len(rounds) == whole


def test_time_that_is_over_asks_for_one_bound():
    problem = problem_of()
    asking = Asking(problem)
    asking.refine(empty_network(problem), clock=Clock(0.0))
    assert len(asking.bounds) == 1


def test_a_descent_joins_where_programs_cost_much(monkeypatch):
    problem = problem_of(n=40)
    wide = TwoLayerNetwork(*(np.random.default_rng(0).normal(size=s) for s in ((2, 30), 30, (30, 1), 1)))
    search = CertifiedSearch(problem, Asking(problem), np.inf, True, 1e-6, Clock())
    few = search.first_program(wide, Clock())
    monkeypatch.setattr(CertifiedSearch, "most_constraints", 0)
    more = search.first_program(wide, Clock())
    assert len(more.patterns) > len(few.patterns)
    assert more.program.objective(*more.start) < 0.5 * few.program.objective(*few.start)
    monkeypatch.setattr(refinement, "_MOST_FIRST", 3)
    monkeypatch.setattr(CertifiedSearch, "most_constraints", np.inf)
    assert len(search.first_program(wide, Clock()).patterns) <= 3


def test_solvers_that_fail_are_said():
    problem = problem_of()

    def failing(theta, clock):
        raise SolverError("No solver can.")

    said = refine(
        problem, empty_network(problem), failing, attained=np.inf, exact=True, tol=1e-6, clock=Clock()
    )
    assert said == "No better network could be trained: No solver can."


def test_weighted_pooling_is_trained_whole():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 4)), rng.normal(size=12)
    geometry = PatchGeometry.of((4, 1), (2,), (1,), "valid")
    kind = NetworkKind(get_activation("relu"), "penalized", True, geometry, "weighted")
    problem = Problem.of(TrainingData(X, y[:, None], np.ones(12), SquaredError()), kind, 0.5)
    network = ConvNetwork(geometry, np.ones((2, 1)), [0.0], np.ones((1, 3, 1)), [0.0], "weighted")
    asking = Asking(problem)
    asking.refine(network, clock=Clock(20.0), tol=1e-5)
    assert len(asking.bounds) == 1
    assert 0 < asking.bounds[0].value <= problem.objective(network)
