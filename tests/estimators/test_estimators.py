"""What users of scikit-learn expect of an estimator, and what this package adds to it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, enumerate_patterns, sample_patterns
from convexnn.losses import LogLoss

ACTIVATIONS = ["relu", "leaky_relu", "absolute_value", "gated_relu"]
REGRESSION_LOSSES = ["squared_error", "huber", "absolute_error"]
CLASSIFICATION_LOSSES = ["log_loss", "hinge", "squared_hinge"]
ESTIMATORS = [ConvexMLPRegressor, ConvexMLPClassifier]


def draw(seed=0, n=10, d=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, -1] + 0.2 * rng.normal(size=n)


def classes_of(y, n_classes=2):
    labels = np.array(["cold", "mild", "warm", "hot"])[:n_classes]
    return labels[np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))]


def target_for(estimator, y):
    estimator_type = estimator if isinstance(estimator, type) else type(estimator)
    return classes_of(y) if estimator_type is ConvexMLPClassifier else y


def with_ones(X):
    return np.column_stack([X, np.ones(len(X))])


# Predictions


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "absolute_value"])
@pytest.mark.parametrize("hidden_bias", ["penalized", "free", "none"])
def test_to_sklearn_predicts_the_same(activation, hidden_bias):
    X, y = draw()
    new = draw(9, n=30)[0]
    options = {"activation": activation, "hidden_bias": hidden_bias, "patterns": 20, "random_state": 0}
    regressor = ConvexMLPRegressor(0.1, **options).fit(X, y)
    converted = regressor.network_.to_sklearn()
    np.testing.assert_allclose(converted.predict(new), regressor.predict(new), rtol=1e-9, atol=1e-12)
    if activation == "relu":
        for ours, theirs in zip(regressor.coefs_, converted.coefs_, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for n_classes in (2, 3):
        classifier = ConvexMLPClassifier(0.1, **options).fit(X, classes_of(y, n_classes))
        converted = classifier.network_.to_sklearn()
        np.testing.assert_array_equal(converted.predict(new), classifier.predict(new))
        np.testing.assert_allclose(
            converted.predict_proba(new), classifier.predict_proba(new), rtol=1e-9, atol=1e-15
        )


@pytest.mark.parametrize("shape", [(10,), (10, 1), (10, 3)])
def test_predictions_have_the_shape_of_the_targets(shape):
    X, _ = draw()
    y = np.random.default_rng(1).normal(size=shape)
    model = ConvexMLPRegressor(0.1, patterns=20, random_state=0).fit(X, y)
    new = draw(5, n=4)[0]
    assert model.predict(new).shape == (4, *shape[1:])
    assert model.predict(new).dtype == np.float64
    assert model.coefs_[1].shape[1] == (shape[1] if len(shape) == 2 else 1)
    assert np.isfinite(model.score(X, y))


def test_outputs_of_a_column_and_of_a_vector_are_the_same():
    X, y = draw()
    vector, column = (ConvexMLPRegressor(0.1).fit(X, t) for t in (y, y[:, None]))
    np.testing.assert_array_equal(vector.predict(X), column.predict(X)[:, 0])
    assert vector.objective_ == column.objective_


def test_separate_outputs_add_up():
    # With one output per neuron nothing is shared, so the objective of two outputs is the sum of both.
    X, y = draw()
    options = {"patterns": "exact", "tol": 1e-7}
    targets = np.column_stack([y, y**2])
    both = ConvexMLPRegressor(0.1, multi_output="separate", **options).fit(X, targets)
    alone = [ConvexMLPRegressor(0.1, **options).fit(X, t).objective_ for t in (y, y**2)]
    assert both.result_.objective == pytest.approx(sum(alone), rel=1e-6)
    # Networks whose neurons feed one output are among those whose neurons feed all.
    shared = ConvexMLPRegressor(0.1, **options).fit(X, targets)
    assert shared.objective_ < both.objective_


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_probabilities(n_classes):
    X, y = draw(n=12)
    model = ConvexMLPClassifier(0.05, patterns=10, random_state=0).fit(X, classes_of(y, n_classes))
    new = draw(3, n=40)[0]
    proba, scores = model.predict_proba(new), model.decision_function(new)
    assert proba.shape == (40, n_classes)
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(new), np.log(proba), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(model.predict(new), model.classes_[proba.argmax(axis=1)])
    if n_classes == 2:
        assert scores.shape == (40,)
        np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-scores)), rtol=1e-12)
        np.testing.assert_array_equal(model.predict(new) == model.classes_[1], scores > 0)
    else:
        ratios = np.exp(scores - scores[:, :1])
        np.testing.assert_allclose(proba, ratios / ratios.sum(axis=1, keepdims=True), rtol=1e-9)


def test_log_probabilities_do_not_underflow():
    X = np.array([[-1.0], [1.0]])
    model = ConvexMLPClassifier(0.01).fit(X, [0, 1])
    log_proba = model.predict_log_proba([[1e6]])
    assert np.isfinite(log_proba).all()
    assert log_proba[0, 0] == pytest.approx(-model.decision_function([[1e6]])[0], rel=1e-9)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_hinge_losses_have_no_probabilities(loss):
    X, y = draw()
    model = ConvexMLPClassifier(loss=loss).fit(X, classes_of(y))
    for method in ("predict_proba", "predict_log_proba"):
        assert not hasattr(model, method)
        with pytest.raises(AttributeError, match=method) as caught:
            getattr(model, method)
        assert "Probabilities need loss='log_loss'" in str(caught.value.__cause__)
    assert hasattr(ConvexMLPClassifier(), "predict_proba")
    assert hasattr(ConvexMLPClassifier(loss=LogLoss()), "predict_proba")


@pytest.mark.parametrize("labels", [("no", "yes"), (-1, 1), (5, 3), (False, True), (1.0, 2.0)])
def test_labels_of_any_kind(labels):
    X, y = draw()
    chosen = np.array(labels)[(y > np.median(y)).astype(int)]
    model = ConvexMLPClassifier(0.01).fit(X, chosen)
    np.testing.assert_array_equal(model.classes_, np.unique(chosen))
    assert model.predict(X).dtype == chosen.dtype
    assert model.score(X, chosen) == 1.0
    np.testing.assert_array_equal(model.decision_function(X) > 0, chosen == model.classes_[1])


# Weights


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("patterns", ["exact", 20])
def test_weights_are_repetitions(estimator_type, patterns, seed):
    X, y = draw(seed)
    y = target_for(estimator_type, y)
    counts = np.random.default_rng(seed).integers(1, 4, len(y))
    counts[[0, 1, 2]] = 0, 3, 1
    model = estimator_type(0.2, patterns=patterns, random_state=0)
    weighted = clone(model).fit(X, y, sample_weight=counts)
    repeated = clone(model).fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    dropped = clone(model).fit(X[counts > 0], y[counts > 0], sample_weight=counts[counts > 0])
    new = draw(8, n=20)[0]
    for other in (repeated, dropped):
        assert other.objective_ == pytest.approx(weighted.objective_, rel=1e-12)
        if estimator_type is ConvexMLPRegressor:
            np.testing.assert_allclose(other.predict(new), weighted.predict(new), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_weights_are_sample_weights(n_classes):
    X, y = draw(2, n=11)
    labels = classes_of(y, n_classes)
    classes, counts = np.unique(labels, return_counts=True)
    table = dict(zip(classes.tolist(), [0.5, 2.0, 1.25][:n_classes], strict=True))
    extra = np.random.default_rng(0).uniform(0.5, 1.5, 11)
    balanced = dict(zip(classes.tolist(), 11 / (n_classes * counts), strict=True))
    for class_weight, meaning in ((table, table), ("balanced", balanced)):
        model = ConvexMLPClassifier(0.1, patterns=10, random_state=0, class_weight=class_weight)
        model.fit(X, labels, sample_weight=extra)
        weight = extra * np.array([meaning[label] for label in labels])
        plain = clone(model).set_params(class_weight=None).fit(X, labels, sample_weight=weight)
        assert model.objective_ == pytest.approx(plain.objective_, rel=1e-12)
        np.testing.assert_allclose(model.decision_function(X), plain.decision_function(X), rtol=1e-9)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("patterns", ["exact", 20])
def test_order_of_samples_does_not_matter(estimator_type, patterns, seed):
    X, y = draw(seed)
    y = target_for(estimator_type, y)
    order = np.random.default_rng(seed).permutation(len(y))
    model = estimator_type(0.1, patterns=patterns, random_state=0).fit(X, y)
    permuted = clone(model).fit(X[order], y[order])
    assert permuted.objective_ == pytest.approx(model.objective_, rel=1e-12)
    new = draw(8, n=20)[0]
    np.testing.assert_array_equal(permuted.network_.outputs(new), model.network_.outputs(new))
    np.testing.assert_array_equal(permuted.patterns_.to_dense(), model.patterns_.to_dense()[:, order])


# Inside scikit-learn


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_feature_names(estimator_type):
    X, y = draw()
    frame = pd.DataFrame(X, columns=["height", "width"])
    model = estimator_type(0.1).fit(frame, pd.Series(target_for(estimator_type, y)))
    assert model.n_features_in_ == 2
    assert model.feature_names_in_.tolist() == ["height", "width"]
    plain = estimator_type(0.1).fit(X, target_for(estimator_type, y))
    assert not hasattr(plain, "feature_names_in_")
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["width", "height"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
@pytest.mark.parametrize("activation", ["relu", "gated_relu"])
def test_pickling(estimator_type, activation):
    X, y = draw()
    model = estimator_type(0.1, activation=activation, patterns=12, random_state=0)
    model.fit(X, target_for(estimator_type, y))
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    assert copy.network_ == model.network_
    assert copy.patterns_ == model.patterns_
    assert copy.result_.status is model.result_.status
    assert (copy.objective_, copy.dual_gap_, copy.gap_scope_) == (
        model.objective_,
        model.dual_gap_,
        model.gap_scope_,
    )


@pytest.mark.parametrize("estimator_type", ESTIMATORS)
def test_clone_and_parameters(estimator_type):
    X, y = draw()
    patterns = sample_patterns(with_ones(X), 9, random_state=0)
    model = estimator_type(0.3, patterns=patterns, hidden_bias="penalized", tol=1e-5)
    model.fit(X, target_for(estimator_type, y))
    copy = clone(model)
    assert not hasattr(copy, "network_")
    assert copy.patterns == patterns
    assert {k: v for k, v in copy.get_params().items() if k != "patterns"} == {
        k: v for k, v in model.get_params().items() if k != "patterns"
    }
    np.testing.assert_array_equal(
        copy.fit(X, target_for(estimator_type, y)).network_.outputs(X), model.network_.outputs(X)
    )


def test_repr_is_short():
    assert repr(ConvexMLPRegressor()) == "ConvexMLPRegressor()"
    assert repr(ConvexMLPRegressor(0.5, patterns=7)) == "ConvexMLPRegressor(alpha=0.5, patterns=7)"
    assert repr(ConvexMLPClassifier(loss="hinge")) == "ConvexMLPClassifier(loss='hinge')"
    X, y = draw()
    model = ConvexMLPRegressor(patterns=enumerate_patterns(with_ones(X))).fit(X, y)
    for text in (repr(model), repr(model.result_), repr(model.patterns_), repr(model.network_)):
        assert len(text) < 250


def test_grid_search_over_a_pipeline():
    X, y = draw(n=12)
    pipeline = Pipeline(
        [("scale", StandardScaler()), ("mlp", ConvexMLPRegressor(patterns=10, random_state=0))]
    )
    search = GridSearchCV(pipeline, {"mlp__alpha": [0.01, 1.0, 100.0]}, cv=3).fit(X, y)
    best = clone(pipeline).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict(X), best.predict(X))


def test_metadata_routing():
    X, y = draw(n=12)
    weight = np.random.default_rng(0).uniform(0.1, 3.0, 12)
    with config_context(enable_metadata_routing=True):
        model = ConvexMLPRegressor(patterns=10, random_state=0)
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        grid = {"convexmlpregressor__alpha": [0.1]}
        search = GridSearchCV(pipeline, grid, cv=3).fit(X, y, sample_weight=weight)
        routed = search.best_estimator_[-1]
    by_hand = ConvexMLPRegressor(0.1, patterns=10, random_state=0)
    by_hand.fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    assert routed.objective_ == by_hand.objective_
    unweighted = clone(by_hand).fit(StandardScaler().fit_transform(X), y)
    assert routed.objective_ != pytest.approx(unweighted.objective_, rel=1e-3)


def test_iterations_are_counted():
    X, y = draw()
    model = ConvexMLPRegressor(0.1).fit(X, y)
    assert isinstance(model.n_iter_, int)
    assert model.n_iter_ == model.result_.n_iter > 0
    assert ConvexMLPRegressor(1e9).fit(X, y).n_iter_ == 0


def test_a_smaller_tolerance_is_kept():
    X, y = draw()
    gaps = []
    for tol in (1e-2, 1e-5, 1e-8):
        model = ConvexMLPRegressor(0.1, tol=tol).fit(X, y)
        gaps.append(model.dual_gap_ / model.objective_)
        assert gaps[-1] <= tol
    assert gaps[-1] <= gaps[0]


@pytest.mark.parametrize("verbose", [0, 1])
def test_verbosity(capfd, verbose):
    X, y = draw()
    ConvexMLPRegressor(0.1, verbose=verbose).fit(X, y)
    text = capfd.readouterr().out
    assert bool(text) == bool(verbose)
    if verbose:
        assert "CONVERGED" in text
        assert "relative gap" in text


def test_verbosity_of_the_solver(capfd):
    X, y = draw()
    ConvexMLPRegressor(0.1, solver="clarabel", verbose=2).fit(X, y)
    assert "Clarabel" in capfd.readouterr().out
    ConvexMLPRegressor(0.1, solver="native", verbose=1).fit(X, y)
    assert "Newton steps" in capfd.readouterr().out


@pytest.mark.parametrize("solver", ["native", "clarabel", "ecos", "scs", "cvxpy"])
def test_solvers_agree(solver):
    if solver != "native":
        pytest.importorskip(solver)
    X, y = draw(n=6)
    reference = ConvexMLPRegressor(0.1, solver="clarabel", tol=1e-7).fit(X, y)
    model = ConvexMLPRegressor(0.1, solver=solver).fit(X, y)
    assert model.result_.solver == solver
    assert model.result_.converged
    assert model.objective_ == pytest.approx(reference.objective_, rel=1.01e-4)


def test_n_jobs_limits_the_threads_of_a_fit(monkeypatch):
    import numba

    from convexnn.training import listed

    seen, solve = [], listed.solve

    def counting(*arguments, **options):
        seen.append(numba.get_num_threads())
        return solve(*arguments, **options)

    monkeypatch.setattr(listed, "solve", counting)
    before = numba.get_num_threads()
    X = np.random.default_rng(0).normal(size=(10, 2))
    for n_jobs in (None, 1, -1):
        ConvexMLPRegressor(patterns=4, n_jobs=n_jobs, random_state=0).fit(X, X[:, 0])
    assert seen == [before, 1, before]
    assert numba.get_num_threads() == before
