"""Dropout ensembles: their weights against restatements, what is trained on what, and invariances."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from convexnn import ConvexMLPRegressor
from convexnn.ensembles import DropoutEnsembleClassifier, DropoutEnsembleRegressor
from convexnn.ensembles.dense import DenseSubModels
from convexnn.ensembles.submodels import FeatureMaskSubModels
from convexnn_solvers import Status
from ensemble_cases import classification, kkt_residual, least_squares, minimum, regression

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

REGRESSORS = [
    MLPRegressor(hidden_layer_sizes=30, max_iter=30, learning_rate_init=0.02, random_state=0),
    MLPRegressor(hidden_layer_sizes=(12, 8), max_iter=40, random_state=0),
    Ridge(),
    DecisionTreeRegressor(max_depth=3, random_state=0),
]
CLASSIFIERS = [
    MLPClassifier(30, max_iter=30, learning_rate_init=0.02, random_state=0),
    MLPClassifier((12,), max_iter=40, random_state=0),
    LogisticRegression(),
    DecisionTreeClassifier(max_depth=3, random_state=0),
]


def case(estimator, seed, **options):
    """A fitted ensemble of the base's kind with the samples that it was fitted on."""
    if isinstance(estimator, RegressorMixin):
        X, y = regression(seed)
        return DropoutEnsembleRegressor(estimator, 12, random_state=seed, **options).fit(X, y), X, y
    X, y = classification(seed)
    return DropoutEnsembleClassifier(estimator, 12, random_state=seed, **options).fit(X, y), X, y


@pytest.mark.parametrize("estimator", REGRESSORS + CLASSIFIERS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("options", [{}, {"ridge": 2.0}, {"sum_to_one": True}, {"validation_fraction": None}])
def test_the_objective_is_the_minimum_of_the_program_restated(estimator, options, seed):
    if options.get("sum_to_one"):
        pytest.importorskip("cvxpy", reason="the restatement with a sum needs cvxpy")
    model, X, y = case(estimator, seed, **options)
    A, b = least_squares(model, X, y)
    w, sum_to_one = model.weights_, model.sum_to_one
    assert w.min() >= 0
    assert model.objective_ == pytest.approx(np.sum((A @ w - b) ** 2), rel=1e-9, abs=1e-12 * (b @ b))
    assert model.objective_ == pytest.approx(
        minimum(A, b, sum_to_one=sum_to_one), rel=1e-7, abs=1e-10 * (b @ b)
    )
    assert kkt_residual(A, b, w, sum_to_one=sum_to_one) <= 1e-8
    uniform = np.sum((A.mean(axis=1) - b) ** 2)
    assert model.uniform_objective_ == pytest.approx(uniform, rel=1e-9)
    assert model.objective_ <= model.uniform_objective_
    assert not sum_to_one or w.sum() == pytest.approx(1, abs=1e-14)
    assert model.n_active_ == np.count_nonzero(w) == model.result_.n_active


@pytest.mark.parametrize("estimator", [LogisticRegression(), Ridge()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("options", [{}, {"ridge": 0.5}, {"sum_to_one": True}])
def test_all_solvers_give_the_same_optimal_weights(estimator, options):
    weights = {}
    for solver in ("auto", "nnls"):
        model, X, y = case(estimator, 0, solver=solver, **options)
        A, b = least_squares(model, X, y)
        assert model.result_.status is Status.CONVERGED
        assert kkt_residual(A, b, model.weights_, sum_to_one=model.sum_to_one) <= 1e-8
        weights[solver] = model.weights_
    np.testing.assert_allclose(weights["auto"], weights["nnls"], atol=1e-7)


@pytest.mark.parametrize("estimator", REGRESSORS + CLASSIFIERS, ids=lambda e: type(e).__name__)
def test_predictions_are_the_weighted_sum_of_the_sub_models(estimator):
    model, X, _ = case(estimator, 1)
    each = model.submodel_predictions(X)
    combined = np.tensordot(model.weights_, each, axes=1)
    if isinstance(estimator, RegressorMixin):
        assert each.shape == (12, 90)
        np.testing.assert_allclose(model.predict(X), combined, rtol=1e-12, atol=1e-12)
        return
    assert each.shape == (12, 90, 3)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities, combined / combined.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), probabilities, rtol=1e-12)
    assert (model.predict(X) == model.classes_[probabilities.argmax(axis=1)]).all()


@pytest.mark.parametrize(
    ("estimator", "kind", "has_base"),
    [
        (None, DenseSubModels, True),
        (MLPRegressor(max_iter=5), DenseSubModels, True),
        (ConvexMLPRegressor(0.1, patterns=8), DenseSubModels, True),
        (Ridge(), FeatureMaskSubModels, False),
        (FrozenEstimator(LinearRegression().fit(*regression(3))), FeatureMaskSubModels, True),
    ],
)
def test_auto_drops_hidden_units_where_there_are_any(estimator, kind, has_base):
    model = DropoutEnsembleRegressor(estimator, 4).fit(*regression(0))
    assert isinstance(model.submodels_, kind)
    assert len(model.submodels_) == 4
    assert (model.estimator_ is not None) == has_base


def test_inputs_can_be_dropped_from_networks():
    base = MLPRegressor(hidden_layer_sizes=(5,), max_iter=5, random_state=0)
    X, y = regression(0)
    model = DropoutEnsembleRegressor(base, 3, drop="inputs", random_state=0).fit(X, y)
    assert isinstance(model.submodels_, FeatureMaskSubModels)
    assert model.estimator_ is None
    each = model.submodel_predictions(X)
    for trained, mask, predictions in zip(model.submodels_.models, model.submodels_.masks, each, strict=True):
        assert mask.any()
        np.testing.assert_allclose(predictions, trained.predict(X * mask))


class Recording(RegressorMixin, BaseEstimator):
    """A mean that remembers what it was fitted on."""

    def fit(self, X, y, sample_weight=None):
        self.X_, self.y_, self.sample_weight_ = X, y, sample_weight
        return self

    def predict(self, X):
        return np.full(len(X), np.average(self.y_, weights=self.sample_weight_)) + X.sum(axis=1)


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_bases_do_not_see_the_samples_that_choose_the_weights(fraction, seed):
    X, y = regression(seed, n=40)
    model = DropoutEnsembleRegressor(Recording(), 3, validation_fraction=fraction, random_state=seed)
    model.fit(X, y)
    chosen = model.validation_indices_
    assert 1 <= len(chosen) <= 39
    assert abs(len(chosen) - 40 * fraction) <= 1
    rest = np.delete(np.arange(40), chosen)
    for base, mask in zip(model.submodels_.models, model.submodels_.masks, strict=True):
        # Samples may come in another order.
        np.testing.assert_array_equal(np.sort(base.y_), np.sort(y[rest]))
        order, given = np.argsort(base.y_), rest[np.argsort(y[rest])]
        np.testing.assert_array_equal(base.X_[order], (X * mask)[given])


def test_without_a_split_all_samples_train_and_choose():
    X, y = regression(0, n=30)
    model = DropoutEnsembleRegressor(Recording(), 3, validation_fraction=None).fit(X, y)
    assert (model.validation_indices_ == np.arange(30)).all()
    assert all(len(base.X_) == 30 for base in model.submodels_.models)


def test_a_perfect_sub_model_gets_all_weight(seed):
    X, y = regression(seed)
    frozen = FrozenEstimator(LinearRegression().fit(X, y))
    model = DropoutEnsembleRegressor(frozen, 6, dropout=0.4, random_state=seed).fit(X, y)
    # Of equal masks any may get the weight.
    _, first = np.unique(model.submodels_.masks, axis=0, return_index=True)
    for j in first:
        target = model.submodel_predictions(X)[j]
        again = clone(model).fit(X, target)
        same = (model.submodels_.masks == model.submodels_.masks[j]).all(axis=1)
        assert again.weights_[same].sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(again.weights_[~same], 0, atol=1e-12)
        np.testing.assert_allclose(again.predict(X), target, atol=1e-10)


def test_a_perfect_classifier_among_others_gets_all_weight():
    X, _ = classification(0, n=120, d=3, classes=2)
    y = np.where(X[:, 0] > 0, "yes", "no")
    base = FrozenEstimator(DecisionTreeClassifier(random_state=0).fit(X, y))
    model = DropoutEnsembleClassifier(base, 10, random_state=0, sum_to_one=True).fit(X, y)
    perfect = model.submodels_.masks[:, 0]
    assert 0 < perfect.sum() < 10
    assert model.weights_[perfect].sum() == pytest.approx(1)
    assert model.objective_ == pytest.approx(0, abs=1e-20)
    assert model.score(X, y) == 1


@pytest.mark.parametrize("sum_to_one", [False, True])
def test_one_sub_model(sum_to_one):
    X, y = regression(0)
    model = DropoutEnsembleRegressor(Ridge(), 1, random_state=0, sum_to_one=sum_to_one).fit(X, y)
    A, b = least_squares(model, X, y)
    p = A[:, 0]
    expected = 1.0 if sum_to_one else p[:-1] @ b[:-1] / (p @ p)
    assert model.weights_ == pytest.approx([expected])


@pytest.mark.parametrize("base", [MLPClassifier((6,), max_iter=20, random_state=0), GaussianNB()])
def test_without_dropout_all_sub_models_are_the_same(base):
    X, y = classification(1)
    model = DropoutEnsembleClassifier(base, 5, dropout=0.0, random_state=0, sum_to_one=True).fit(X, y)
    each = model.submodel_predictions(X)
    np.testing.assert_allclose(each, np.broadcast_to(each[0], each.shape), atol=1e-12)
    assert model.objective_ == pytest.approx(model.uniform_objective_)
    np.testing.assert_allclose(model.predict_proba(X), each[0], atol=1e-12)


def test_zero_weights_fall_back_to_equal_ones():
    class Wrong(ClassifierMixin, BaseEstimator):
        """Certain of the class that never occurs."""

        def fit(self, X, y):
            self.classes_ = np.array([0, 1, 2])
            return self

        def predict_proba(self, X):
            return np.tile([0.0, 0.0, 1.0], (len(X), 1))

        def predict(self, X):
            return np.full(len(X), 2)

    X, _ = classification(0)
    base = FrozenEstimator(Wrong().fit(X, None))
    model = DropoutEnsembleClassifier(base, 3).fit(X, np.arange(90) % 2)
    assert (model.weights_ == 0).all()
    assert model.n_active_ == 0
    np.testing.assert_array_equal(model.predict_proba(X), np.tile([0.0, 0.0, 1.0], (90, 1)))
    assert (model.classes_ == [0, 1, 2]).all()


def test_zero_weights_predict_zero_in_regression():
    X, y = regression(0)
    base = FrozenEstimator(LinearRegression().fit(X, -y))
    model = DropoutEnsembleRegressor(base, 4, dropout=0.0).fit(X, y)
    assert (model.weights_ == 0).all()
    np.testing.assert_array_equal(model.predict(X), np.zeros(90))


@pytest.mark.parametrize("estimator", [REGRESSORS[0], Ridge(), CLASSIFIERS[0], CLASSIFIERS[2]])
def test_repeated_samples_are_weighted_ones_in_any_order(estimator, seed):
    rng = np.random.default_rng(seed)
    kind = DropoutEnsembleRegressor if isinstance(estimator, RegressorMixin) else DropoutEnsembleClassifier
    X, y = (regression if kind is DropoutEnsembleRegressor else classification)(seed)
    counts = rng.integers(0, 4, len(X))
    repeated = rng.permutation(np.repeat(np.arange(len(X)), counts))
    model = kind(estimator, 6, random_state=seed, solver="nnls")
    weighted = clone(model).fit(X, y, sample_weight=counts)
    listed = clone(model).fit(X[repeated], y[repeated])
    np.testing.assert_allclose(weighted.weights_, listed.weights_, atol=1e-9)
    assert weighted.objective_ == pytest.approx(listed.objective_)
    A, b = least_squares(weighted, X, y, counts)
    assert kkt_residual(A, b, weighted.weights_) <= 1e-8
    assert set(weighted.validation_indices_) == set(repeated[listed.validation_indices_])


@pytest.mark.parametrize("base", [FrozenEstimator(LinearRegression().fit(*regression(5))), Ridge()])
def test_several_outputs_share_the_weights(base):
    X, y = regression(0)
    Y = np.column_stack([y, X[:, 0] - y])
    if isinstance(base, FrozenEstimator):
        base = FrozenEstimator(LinearRegression().fit(X, Y))
    model = DropoutEnsembleRegressor(base, 7, random_state=0).fit(X, Y)
    A, b = least_squares(model, X, Y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8
    assert model.submodel_predictions(X).shape == (7, 90, 2)
    np.testing.assert_allclose(
        model.predict(X), np.tensordot(model.weights_, model.submodel_predictions(X), axes=1), atol=1e-12
    )


def test_frozen_networks_are_not_trained():
    X, y = classification(0)
    network = MLPClassifier((8,), max_iter=30, random_state=0).fit(X, y)
    before = pickle.dumps(network)
    model = DropoutEnsembleClassifier(FrozenEstimator(network), 8, random_state=0).fit(X, y)
    assert pickle.dumps(network) == before
    assert (model.validation_indices_ == np.arange(90)).all()
    A, b = least_squares(model, X, y)
    assert kkt_residual(A, b, model.weights_) <= 1e-8


def test_a_frozen_classifier_may_know_more_classes():
    X, y = classification(0)
    base = FrozenEstimator(LogisticRegression().fit(X, y))
    kept = y != "b"
    model = DropoutEnsembleClassifier(base, 4, random_state=0).fit(X[kept], y[kept])
    assert model.classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"knows the classes .* Got the labels \['z'\]"):
        clone(model).fit(X, np.where(kept, y, "z"))


def test_single_precision_is_kept():
    X, y = regression(0)
    model = DropoutEnsembleRegressor(Recording(), 2).fit(X.astype(np.float32), y)
    assert {base.X_.dtype for base in model.submodels_.models} == {np.dtype(np.float32)}


def test_the_same_seed_gives_the_same_ensemble():
    X, y = classification(0)
    model = DropoutEnsembleClassifier(DecisionTreeClassifier(splitter="random"), 6, random_state=3)
    first, second = clone(model).fit(X, y), clone(model).fit(X, y)
    np.testing.assert_allclose(first.submodel_predictions(X), second.submodel_predictions(X))
    np.testing.assert_allclose(first.weights_, second.weights_, atol=1e-12)
    other = clone(model).set_params(random_state=4).fit(X, y)
    assert (other.submodel_predictions(X) != first.submodel_predictions(X)).any()


def test_generators_are_accepted():
    X, y = regression(0)
    first, second = (
        DropoutEnsembleRegressor(Ridge(), 3, random_state=np.random.default_rng(1)).fit(X, y)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.submodels_.masks, second.submodels_.masks)


def test_parallel_fits_give_the_same_ensemble():
    X, y = classification(0)
    model = DropoutEnsembleClassifier(DecisionTreeClassifier(), 5, random_state=0)
    alone = clone(model).fit(X, y)
    with parallel_config(backend="threading"):
        together = clone(model).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_allclose(alone.submodel_predictions(X), together.submodel_predictions(X))


@pytest.mark.parametrize("estimator", REGRESSORS[:3] + CLASSIFIERS[:3], ids=lambda e: type(e).__name__)
def test_pickles_and_clones(estimator):
    model, X, y = case(estimator, 0)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_allclose(copy.submodel_predictions(X), model.submodel_predictions(X), atol=1e-12)
    again = clone(model).fit(X, y)
    np.testing.assert_allclose(again.weights_, model.weights_, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scaled_targets_give_the_same_weights(scale):
    X, y = regression(0)
    model = DropoutEnsembleRegressor(LinearRegression(), 10, random_state=0)
    plain, scaled = clone(model).fit(X, y), clone(model).fit(X, scale * y)
    np.testing.assert_allclose(scaled.weights_, plain.weights_, atol=1e-7)
    assert scaled.result_.converged


DEGENERACIES = [
    "duplicates",
    "constant column",
    "zero column",
    "opposite column",
    "huge",
    "tiny",
    "constant target",
]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(4, 20),
    st.integers(1, 4),
    st.lists(st.sampled_from(DEGENERACIES), max_size=3),
    st.booleans(),
)
def test_weights_are_optimal_for_degenerate_data(seed, n, d, kinds, classify):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    for kind in kinds:
        if kind == "duplicates":
            X[n // 2 :], y[n // 2 :] = X[: n - n // 2], y[: n - n // 2]
        elif kind == "constant target":
            y[:] = y[0]
        elif kind in ("huge", "tiny"):
            scale = 1e8 if kind == "huge" else 1e-8
            X, y = scale * X, scale * y
        else:
            X[:, rng.integers(d)] = {"constant": 3.0, "zero": 0.0}.get(kind, -X[:, 0])
    base = LinearRegression()
    if classify:
        base, y = DecisionTreeClassifier(max_depth=2), np.arange(n) % 2
    ensemble = DropoutEnsembleClassifier if classify else DropoutEnsembleRegressor
    model = ensemble(base, 6, random_state=seed % 1000, validation_fraction=None).fit(X, y)
    A, b = least_squares(model, X, y)
    assert model.result_.converged
    assert kkt_residual(A, b, model.weights_) <= 1e-8
    assert model.objective_ <= model.uniform_objective_
    assert np.isfinite(model.predict(X).astype(float)).all()
