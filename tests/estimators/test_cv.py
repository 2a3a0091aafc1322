"""Cross-validated estimators: scores and choice beside a loop over folds, written out with single fits."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, make_scorer, mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from convexnn import (
    ConvexMLPClassifier,
    ConvexMLPClassifierCV,
    ConvexMLPRegressor,
    ConvexMLPRegressorCV,
    enumerate_patterns,
)
from convexnn.training import listed
from convexnn_solvers import Status, solve

ESTIMATORS = [ConvexMLPRegressorCV, ConvexMLPClassifierCV]
SINGLE = {ConvexMLPRegressorCV: ConvexMLPRegressor, ConvexMLPClassifierCV: ConvexMLPClassifier}
ALPHAS = [3.0, 1.0, 0.3, 0.1]
QUICK = {"alphas": 3, "eps": 0.05, "cv": 2, "patterns": 8, "random_state": 0}


def draw(seed=0, n=18, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, -1] + 0.3 * rng.normal(size=n)


def classes_of(y, n_classes=2):
    labels = np.array(["cold", "mild", "warm"])[:n_classes]
    return labels[np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))]


def data_for(estimator_type, seed=0, **options):
    X, y = draw(seed, **options)
    return X, classes_of(y) if estimator_type is ConvexMLPClassifierCV else y


def fits_of_folds(single, X, y, splits, alphas, weight=None):
    """Single fits of each alpha and fold at the alpha that the fold's share of the weight makes of it."""
    weight = np.ones(len(X)) if weight is None else weight
    for train, test in splits:
        share = weight[train].sum() / weight.sum()
        for alpha in alphas:
            model = clone(single).set_params(alpha=share * alpha)
            yield model.fit(X[train], y[train], sample_weight=weight[train]), test


def scores_of_folds(score, single, X, y, splits, alphas, weight=None):
    fits = fits_of_folds(single, X, y, splits, alphas, weight)
    scores = [score(model, X[test], y[test], test) for model, test in fits]
    return np.reshape(scores, (len(splits), len(alphas))).T


# Beside a loop over folds


@pytest.mark.parametrize("patterns", ["exact", 12])
def test_regressor_is_a_loop_over_folds(patterns, seed):
    X, y = draw(seed)
    options = {"patterns": patterns, "tol": 1e-7, "random_state": seed}
    splits = list(KFold(3).split(X))
    expected = scores_of_folds(
        lambda model, X, y, test: -0.5 * mean_squared_error(y, model.predict(X)),
        ConvexMLPRegressor(**options),
        X,
        y,
        splits,
        ALPHAS,
    )
    model = ConvexMLPRegressorCV(alphas=ALPHAS[::-1], cv=3, **options).fit(X, y)
    np.testing.assert_array_equal(model.alphas_, ALPHAS)
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-3)
    best = expected.mean(axis=1).argmax()
    assert model.alpha_ == ALPHAS[best]
    assert model.best_score_ == model.scores_[best].mean()
    final = ConvexMLPRegressor(ALPHAS[best], **options).fit(X, y)
    assert model.patterns_ == final.patterns_
    assert model.objective_ == pytest.approx(final.objective_, rel=1e-6)
    np.testing.assert_allclose(model.predict(X), final.predict(X), atol=1e-2)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifier_is_a_loop_over_stratified_folds(n_classes, seed):
    X, y = draw(seed)
    y = classes_of(y, n_classes)
    weight = np.random.default_rng(seed).uniform(0.5, 2, len(y))
    options = {"patterns": 12, "tol": 1e-7, "random_state": seed, "class_weight": {"cold": 2.0}}
    # One list of patterns is a program, with one answer, where neurons feed one output each.
    options |= {"multi_output": "separate"}
    splits = list(StratifiedKFold(3).split(X, y))
    counted = weight * np.where(y == "cold", 2.0, 1.0)

    def score(model, X, y, test):
        return -log_loss(y, model.predict_proba(X), labels=model.classes_, sample_weight=weight[test])

    expected = np.empty((len(ALPHAS), 3))
    for fold, (train, test) in enumerate(splits):
        share = counted[train].sum() / counted.sum()
        for position, alpha in enumerate(ALPHAS):
            single = ConvexMLPClassifier(share * alpha, **options).fit(X[train], y[train], weight[train])
            expected[position, fold] = score(single, X[test], y[test], test)
    model = ConvexMLPClassifierCV(alphas=ALPHAS, cv=3, **options).fit(X, y, weight)
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-3)
    assert model.alpha_ == ALPHAS[expected.mean(axis=1).argmax()]
    np.testing.assert_array_equal(model.classes_, np.unique(y))


@pytest.mark.parametrize(
    ("estimator_type", "scoring"), [(ConvexMLPRegressorCV, "r2"), (ConvexMLPClassifierCV, "accuracy")]
)
def test_grid_search_with_folds_of_one_size_makes_the_same_choice(estimator_type, scoring, seed):
    X, y = data_for(estimator_type, seed)
    options = {"patterns": 10, "tol": 1e-7, "random_state": seed}
    model = estimator_type(alphas=ALPHAS, cv=3, scoring=scoring, **options).fit(X, y)
    # Each fold trains on two thirds of the samples.
    grid = {"alpha": [2 / 3 * alpha for alpha in ALPHAS]}
    search = GridSearchCV(SINGLE[estimator_type](**options), grid, cv=3, scoring=scoring).fit(X, y)
    expected = np.column_stack([search.cv_results_[f"split{k}_test_score"] for k in range(3)])
    np.testing.assert_allclose(model.scores_, expected, rtol=1e-3, atol=1e-4)
    assert model.alpha_ == pytest.approx(1.5 * search.best_params_["alpha"])


@pytest.mark.parametrize(
    "scoring", ["neg_mean_squared_error", make_scorer(mean_squared_error, greater_is_better=False)]
)
def test_half_the_mean_squared_error_is_the_default_score(scoring):
    X, y = draw()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    default = ConvexMLPRegressorCV(**QUICK).fit(X, y, weight)
    named = ConvexMLPRegressorCV(scoring=scoring, **QUICK).fit(X, y, weight)
    np.testing.assert_allclose(named.scores_, 2 * default.scores_)
    assert named.alpha_ == default.alpha_


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_mean_hinge_loss_is_the_default_score(loss):
    X, y = data_for(ConvexMLPClassifierCV)

    def mean_loss(model, X, y):
        margin = np.where(y == "mild", 1, -1) * model.decision_function(X)
        return -np.mean(np.maximum(0, 1 - margin) ** (2 if loss == "squared_hinge" else 1))

    default = ConvexMLPClassifierCV(loss=loss, **QUICK).fit(X, y)
    by_hand = ConvexMLPClassifierCV(loss=loss, scoring=mean_loss, **QUICK).fit(X, y)
    np.testing.assert_allclose(default.scores_, by_hand.scores_)


def test_equal_scores_choose_the_largest_alpha():
    X, y = draw()
    model = ConvexMLPRegressorCV(**QUICK).fit(X, np.ones_like(y))
    assert model.alpha_ == model.alphas_[0] == 1.0
    model = ConvexMLPRegressorCV(scoring=lambda *arguments: 0.0, **QUICK).fit(X, y)
    assert model.alpha_ == model.alphas_[0]
    assert model.n_neurons_ == 0


# Alphas of folds, weights, patterns


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_weights_scale_alphas_and_nothing_else(estimator_type):
    X, y = data_for(estimator_type)
    once = estimator_type(**QUICK).fit(X, y)
    thrice = estimator_type(**QUICK).fit(X, y, np.full(len(y), 3.0))
    np.testing.assert_allclose(thrice.alphas_, 3 * once.alphas_)
    np.testing.assert_allclose(thrice.scores_, once.scores_, rtol=1e-6)
    assert thrice.alpha_ == pytest.approx(3 * once.alpha_)
    assert thrice.objective_ == pytest.approx(3 * once.objective_, rel=1e-6)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_weights_are_repetitions(estimator_type):
    X, y = data_for(estimator_type)
    counts = np.random.default_rng(0).integers(0, 4, len(y))
    groups = np.arange(len(y)) % 3
    options = QUICK | {"patterns": 8}
    weighted = estimator_type(**options | {"cv": list(LeaveOneGroupOut().split(X, groups=groups))})
    weighted.fit(X, y, counts)
    many, labels, rows = X.repeat(counts, axis=0), y.repeat(counts), groups.repeat(counts)
    repeated = estimator_type(**options | {"cv": list(LeaveOneGroupOut().split(many, groups=rows))})
    repeated.fit(many, labels)
    np.testing.assert_allclose(weighted.alphas_, repeated.alphas_, rtol=1e-12)
    np.testing.assert_allclose(weighted.scores_, repeated.scores_, rtol=1e-6)
    assert weighted.network_ == repeated.network_


def test_a_fold_of_copies_of_all_samples_has_the_path_of_all_samples():
    X, y = draw(n=9)
    twice, targets = np.tile(X, (2, 1)), np.tile(y, 2)
    halves = [(np.arange(9), np.arange(9, 18)), (np.arange(9, 18), np.arange(9))]
    model = ConvexMLPRegressorCV(alphas=4, cv=halves, patterns=8, tol=1e-8, random_state=0).fit(
        twice, targets
    )
    # Half the samples at half the alpha give the same networks, so the scores are minus the mean loss on
    # the training samples.
    penalties = [a * n.regularizer() for a, n in zip(model.alphas_, model.path_.networks, strict=True)]
    expected = -(model.path_.objectives - penalties) / 18
    np.testing.assert_allclose(model.scores_, np.column_stack([expected, expected]), rtol=1e-4)


def test_pattern_set_is_restricted_to_the_folds(seed):
    X, y = draw(seed)
    every = enumerate_patterns(np.column_stack([X, np.ones(len(X))]))
    patterns = every.take(np.random.default_rng(seed).permutation(len(every))[:10])
    splits = list(KFold(3).split(X))
    model = ConvexMLPRegressorCV(alphas=ALPHAS, cv=3, patterns=patterns, tol=1e-7).fit(X, y)
    for fold, (train, test) in enumerate(splits):
        single = ConvexMLPRegressor(ALPHAS[2] * 2 / 3, patterns=patterns.restricted_to(train), tol=1e-7)
        single.fit(X[train], y[train])
        expected = -0.5 * mean_squared_error(y[test], single.predict(X[test]))
        assert model.scores_[2, fold] == pytest.approx(expected, rel=1e-3)
    assert len(model.patterns_) == 10


@pytest.mark.slow
@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_jobs_change_nothing(estimator_type):
    X, y = data_for(estimator_type)
    alone = estimator_type(**QUICK).fit(X, y)
    together = estimator_type(n_jobs=2, **QUICK).fit(X, y)
    np.testing.assert_array_equal(alone.scores_, together.scores_)
    assert alone.network_ == together.network_


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng, int])
def test_random_state(make):
    X, y = draw()
    first, second = (ConvexMLPRegressorCV(**QUICK | {"random_state": make(3)}).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(first.scores_, second.scores_)
    assert first.patterns_ == second.patterns_
    other = ConvexMLPRegressorCV(**QUICK | {"random_state": make(4)}).fit(X, y)
    assert other.patterns_ != first.patterns_


# The fitted estimator


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_fitted_network_is_the_point_of_the_path(estimator_type):
    X, y = data_for(estimator_type)
    model = estimator_type(**QUICK).fit(X, y)
    best = int(np.flatnonzero(model.alphas_ == model.alpha_)[0])
    assert model.scores_.shape == (3, 2)
    assert model.result_ is model.path_.results[best]
    assert model.network_ == model.path_.networks[best]
    assert model.objective_ == pytest.approx(model.path_.objectives[best], rel=1e-9)
    assert model.path_.n_neurons[0] == 0
    assert model.n_iter_ == sum(result.n_iter for result in model.path_.results)
    np.testing.assert_array_equal(model.alphas_, model.path_.alphas)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.scores_, model.scores_)


def test_several_outputs_and_one_as_a_column():
    X, y = draw()
    both = ConvexMLPRegressorCV(**QUICK).fit(X, np.column_stack([y, y**2]))
    assert both.predict(X).shape == (18, 2)
    scored = ConvexMLPRegressorCV(scoring="r2", **QUICK).fit(X, np.column_stack([y, y**2]))
    assert scored.scores_.shape == (3, 2)
    assert ConvexMLPRegressorCV(**QUICK).fit(X, y[:, None]).predict(X).shape == (18, 1)


@pytest.mark.parametrize("scoring", [None, "neg_mean_absolute_error"])
def test_frames_and_pipelines(scoring):
    pandas = pytest.importorskip("pandas")
    X, y = draw()
    frame = pandas.DataFrame(X, columns=["a", "b"])
    model = ConvexMLPRegressorCV(scoring=scoring, **QUICK).fit(frame, pandas.Series(y))
    np.testing.assert_array_equal(model.feature_names_in_, ["a", "b"])
    assert model.predict(frame).shape == (18,)
    pipeline = make_pipeline(StandardScaler(), ConvexMLPRegressorCV(scoring=scoring, **QUICK)).fit(frame, y)
    assert pipeline.score(frame, y) <= 1


def test_probabilities_and_their_scorers():
    X, y = data_for(ConvexMLPClassifierCV)
    model = ConvexMLPClassifierCV(scoring="neg_log_loss", **QUICK).fit(X, y)
    default = ConvexMLPClassifierCV(**QUICK).fit(X, y)
    np.testing.assert_allclose(model.scores_, default.scores_)
    assert model.predict_proba(X).shape == (18, 2)
    assert not hasattr(ConvexMLPClassifierCV(loss="hinge"), "predict_proba")


# Input without a meaning


def test_one_class():
    with pytest.raises(ValueError, match="at least two classes"):
        ConvexMLPClassifierCV().fit(draw()[0], np.zeros(18))


def test_too_few_samples_for_the_folds():
    X, y = draw(n=4)
    with pytest.raises(ValueError, match="n_splits=5 greater than the number of samples"):
        ConvexMLPRegressorCV().fit(X, y)
    with pytest.raises(ValueError, match="n_splits=5 cannot be greater than the number of members in each"):
        ConvexMLPClassifierCV().fit(*data_for(ConvexMLPClassifierCV, n=8))


def test_a_class_that_a_fold_lacks():
    X, y = data_for(ConvexMLPClassifierCV)
    order = np.argsort(y)
    with pytest.raises(ValueError, match=r"In fold 0 the classes \['cold'\] are not among the training"):
        ConvexMLPClassifierCV(cv=KFold(2)).fit(X[order], y[order])
    weight = np.where((y == "mild") & (np.arange(18) >= 9), 0.0, 1.0)
    with pytest.raises(ValueError, match=r"In fold 0 the classes \['mild'\]"):
        ConvexMLPClassifierCV(cv=KFold(2)).fit(X, y, weight)


def test_a_fold_without_weight():
    X, y = draw()
    with pytest.raises(ValueError, match="In fold 1 no sample for testing has a positive weight"):
        ConvexMLPRegressorCV(cv=3).fit(X, y, np.arange(18) // 6 != 1)
    with pytest.raises(ValueError, match="In fold 0 no sample for training has a positive weight"):
        ConvexMLPRegressorCV(cv=2).fit(X, y, np.arange(18) < 9)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"alphas": 0}, "alphas must be"),
        ({"alphas": [-1.0]}, "alphas must be"),
        ({"eps": 1.0}, "eps must be between 0 and 1"),
        ({"scoring": "excellence"}, "excellence"),
        ({"scoring": 3}, "scoring must be None, a scorer's name or a callable"),
        ({"cv": 1}, "at least one"),
        ({"loss": "hinge"}, "ConvexMLPRegressorCV needs a regression loss"),
        ({"patterns": "all"}, "patterns must be"),
        ({"patterns": enumerate_patterns(np.eye(3))}, "patterns are of 3 samples, but X has 18"),
        ({"patterns": enumerate_patterns(draw()[0])}, "data of shape"),
        ({"solver": "nothing"}, "Unknown solver"),
        ({"scoring": lambda *arguments: np.nan}, "No alpha has a finite score"),
    ],
)
def test_parameters_without_a_meaning(changes, text):
    with pytest.raises(ValueError, match=text):
        ConvexMLPRegressorCV(**QUICK | changes).fit(*draw())


def test_alpha_zero_needs_a_loss_with_a_minimum():
    with pytest.raises(ValueError, match="alphas must be positive with loss='log_loss'"):
        ConvexMLPClassifierCV(alphas=[1.0, 0.0]).fit(*data_for(ConvexMLPClassifierCV))


# Early ends


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_one_warning_for_all_paths(estimator_type):
    X, y = data_for(estimator_type)
    with pytest.warns(ConvergenceWarning) as caught:
        model = estimator_type(**QUICK | {"max_iter": 1, "tol": 1e-9}).fit(X, y)
    (warning,) = caught
    assert warning.filename == __file__
    assert "All samples: 2 of 3 points of the path" in str(warning.message)
    assert "2 other sets of samples" in str(warning.message)
    assert model.predict(X).shape == (18,)


def test_time_limit_leaves_the_alphas_reached():
    X, y = draw()
    with pytest.warns(ConvergenceWarning, match="Only 1 of 3 alphas have scores in every fold"):
        model = ConvexMLPRegressorCV(**QUICK | {"time_limit": 1e-9}).fit(X, y)
    assert model.alphas_.size == 1
    assert model.path_.alphas_left.size == 2
    assert model.alpha_ == model.alphas_[0]


def stopped_after(monkeypatch, n_solves, status):
    """Let all solves after so many end with a status; there are 3 for all samples and 3 for each fold."""
    done = []

    def stopping(program, **options):
        result = solve(program, **options)
        done.append(result)
        object.__setattr__(result, "status", status if len(done) > n_solves else result.status)
        return result

    monkeypatch.setattr(listed, "solve", stopping)


def test_time_limit_of_a_fold(monkeypatch):
    stopped_after(monkeypatch, 4, Status.TIME_LIMIT)
    with pytest.warns(ConvergenceWarning, match=r"Fold 0: 1 of 2 points.*Only 1 of 3 alphas"):
        model = ConvexMLPRegressorCV(**QUICK).fit(*draw())
    np.testing.assert_array_equal(np.isfinite(model.scores_), [[1, 1], [1, 0], [0, 0]])
    assert model.alpha_ == model.alphas_[0]
    assert len(model.path_) == 3


@pytest.mark.parametrize("n_solves", [1, 4])
def test_interrupts_are_passed_on(monkeypatch, n_solves):
    stopped_after(monkeypatch, n_solves, Status.INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        ConvexMLPRegressorCV(**QUICK).fit(*draw())
