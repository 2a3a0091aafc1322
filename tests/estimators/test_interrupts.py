"""One press of Ctrl-C: a single fit keeps its best network and says so; what runs several fits stops."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score

from convexnn import ConvexCNNRegressor, ConvexMLPClassifier, ConvexMLPRegressor, ConvexMLPRegressorCV
from convexnn.training import local_search, proved_search
from convexnn_solvers import Status

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
Y = np.abs(X[:, 0]) - X[:, 1] + 0.3 * RNG.normal(size=120)


@pytest.fixture
def pressed(monkeypatch):
    """Raise KeyboardInterrupt once, in the search after a program that was solved to the tolerance."""
    presses = []
    step = local_search.LocalSearch.step

    def interrupted(self, generation):
        if not presses and generation.n_rounds == 2:
            presses.append(generation.n_rounds)
            raise KeyboardInterrupt
        return step(self, generation)

    monkeypatch.setattr(local_search.LocalSearch, "step", interrupted)
    return presses


@pytest.mark.parametrize(
    "model",
    [
        ConvexMLPRegressor(0.1, random_state=0),
        ConvexMLPClassifier(0.1, random_state=0),
        ConvexCNNRegressor(0.1, kernel_size=4, patterns="auto", random_state=0),
    ],
)
def test_a_single_fit_keeps_its_best_network(model, pressed):
    y = Y > 0 if isinstance(model, ConvexMLPClassifier) else Y
    with pytest.warns(ConvergenceWarning, match="INTERRUPTED"):
        model.fit(X, y)
    assert pressed
    assert model.result_.status is Status.INTERRUPTED
    assert not model.result_.converged
    whole = model.set_params(tol=1e-4).fit(X, y)
    assert whole.result_.converged
    assert model.predict(X).shape == (120,)


def test_an_interrupted_exact_fit_bounds_all_networks(monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(proved_search.ProvedSearch, "_ascents", interrupted)
    with pytest.warns(ConvergenceWarning, match="INTERRUPTED"):
        model = ConvexMLPRegressor(1.0, patterns="exact").fit(X[:, :3], Y)
    monkeypatch.undo()
    optimum = ConvexMLPRegressor(1.0, patterns="exact").fit(X[:, :3], Y)
    assert model.gap_scope_ == "global"
    assert model.dual_objective_ <= optimum.objective_ * (1 + 1e-12)
    assert optimum.dual_objective_ <= model.objective_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_runs_several_fits_stops(pressed):
    fits = []

    class Counting(ConvexMLPRegressor):
        def fit(self, X, y, sample_weight=None):
            fits.append(self.alpha)
            return super().fit(X, y, sample_weight)

    search = GridSearchCV(Counting(random_state=0), {"alpha": [0.1, 0.2, 0.3]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert len(fits) == 1
    pressed.clear()
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(Counting(0.1, random_state=0), X, Y, cv=3)
    assert len(fits) == 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_cross_validated_estimator_stops(pressed):
    with pytest.raises(KeyboardInterrupt):
        ConvexMLPRegressorCV(alphas=[0.1, 0.2], cv=3, random_state=0).fit(X, Y)
    assert len(pressed) == 1
