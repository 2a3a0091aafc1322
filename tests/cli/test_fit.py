"""``convexnn fit``: its answers are those of the estimators, and its exit codes tell how it went."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from convexnn import ConvexMLPClassifier, ConvexMLPRegressor, __version__
from convexnn.cli import main


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 2))
    return X, np.abs(X[:, 0]) - X[:, 1] + 0.1 * rng.normal(size=24)


@pytest.fixture
def regression_csv(regression, tmp_path):
    X, y = regression
    path = tmp_path / "data.csv"
    pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": y}).to_csv(path, index=False)
    return path


@pytest.fixture
def labels():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20, 2))
    return X, np.where(X[:, 0] * X[:, 1] > 0, "same", "other")


@pytest.fixture
def labels_csv(labels, tmp_path):
    X, y = labels
    path = tmp_path / "labels.csv"
    pd.DataFrame({"class": y, "a": X[:, 0], "b": X[:, 1]}).to_csv(path, index=False)
    return path


def report_of(arguments, capsys):
    code = main(["fit", *map(str, arguments), "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


def test_report_is_that_of_a_direct_fit(regression, regression_csv, capsys):
    code, report = report_of([regression_csv, "--alpha", 0.5, "--patterns", "exact"], capsys)
    X, y = regression
    direct = ConvexMLPRegressor(0.5, patterns="exact").fit(X, y)
    assert code == 0
    assert report["objective"] == pytest.approx(direct.objective_, rel=1e-12)
    assert report["dual_objective"] == pytest.approx(direct.dual_objective_, rel=1e-12)
    gap = (report["objective"] - report["dual_objective"]) / report["objective"]
    assert report["relative_gap"] == pytest.approx(max(gap, 0.0), abs=1e-15)
    assert report["scores"] == {"train": pytest.approx(direct.score(X, y))}
    assert (report["gap_scope"], report["status"], report["converged"]) == ("global", "CONVERGED", True)
    assert (report["n_patterns"], report["n_neurons"]) == (len(direct.patterns_), direct.n_neurons_)
    assert (report["task"], report["data"]["target"]) == ("regression", "y")
    assert report["data"]["features"] == ["a", "b"]
    assert (report["parameters"]["alpha"], report["parameters"]["loss"]) == (0.5, "squared_error")
    assert report["versions"]["convexnn"] == __version__
    assert report["seconds"] > 0


def test_options_reach_the_estimator(regression_csv, capsys):
    arguments = [regression_csv, "--loss", "huber", "--activation", "absolute_value", "--patterns", 7]
    arguments += ["--hidden-bias", "none", "--no-intercept", "--solver", "ecos", "--tol", 1e-3]
    arguments += ["--max-iter", 99, "--seed", 3]
    code, report = report_of(arguments, capsys)
    expected = {
        "alpha": 1.0,
        "loss": "huber",
        "activation": "absolute_value",
        "patterns": 7,
        "hidden_bias": "none",
        "fit_intercept": False,
        "solver": "ecos",
        "tol": 1e-3,
        "max_iter": 99,
        "random_state": 3,
    }
    assert code == 0
    assert {name: report["parameters"][name] for name in expected} == expected
    assert (report["n_patterns"], report["gap_scope"]) == (7, "patterns")


def test_labels_with_target_option(labels, labels_csv, capsys):
    code, report = report_of([labels_csv, "--target", "class", "--alpha", 0.2], capsys)
    X, y = labels
    direct = ConvexMLPClassifier(0.2, random_state=0).fit(X, y)
    assert code == 0
    assert (report["task"], report["score"]) == ("classification", "accuracy")
    assert report["objective"] == pytest.approx(direct.objective_, rel=1e-9)
    assert report["scores"]["train"] == direct.score(X, y)


@pytest.mark.parametrize("standardize", [False, True])
def test_model_file_predicts_as_a_direct_fit(regression, regression_csv, tmp_path, standardize, capsys):
    path = tmp_path / "model.joblib"
    extra = ["--standardize"] if standardize else []
    assert main(["fit", str(regression_csv), "--patterns", "20", "--model", str(path), *extra]) == 0
    X, y = regression
    scaled = (X - X.mean(axis=0)) / X.std(axis=0) if standardize else X
    direct = ConvexMLPRegressor(patterns=20, random_state=0).fit(scaled, y)
    found = joblib.load(path).predict(pd.DataFrame(X, columns=["a", "b"]))
    np.testing.assert_allclose(found, direct.predict(scaled), rtol=1e-6, atol=1e-8)
    assert str(path) in capsys.readouterr().out


def test_held_out_samples_are_not_trained_on(regression, tmp_path, capsys):
    X, y = regression
    path, model = tmp_path / "data.npz", tmp_path / "model.joblib"
    np.savez(path, X=X, y=y)
    arguments = [path, "--test-size", 0.25, "--seed", 4, "--model", model]
    code, report = report_of(arguments, capsys)
    estimator = joblib.load(model)
    assert code == 0
    assert estimator.patterns_.n_samples == 18
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=4)
    scores = {"train": estimator.score(X_train, y_train), "test": estimator.score(X_test, y_test)}
    assert report["scores"] == pytest.approx(scores)


def test_json_file_and_summary(regression_csv, tmp_path, capsys):
    path = tmp_path / "report.json"
    assert main(["fit", str(regression_csv), "--json", str(path)]) == 0
    out = capsys.readouterr().out
    report = json.loads(path.read_text(encoding="utf-8"))
    assert f"{report['objective']:.8g}" in out
    assert "lower bound" in out
    assert "24 samples, 2 features, regression of 'y'" in out


def test_not_converged_is_exit_code_1(regression_csv, capsys):
    code = main(["fit", str(regression_csv), "--patterns", "exact", "--max-iter", "2", "--json", "-"])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert code == 1
    assert (report["status"], report["converged"]) == ("ITERATION_LIMIT", False)
    assert report["relative_gap"] > 1e-4
    assert captured.err.startswith("convexnn: ConvergenceWarning: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--alpha", "-1"], "alpha must be finite and >= 0"),
        (["--hidden-bias", "free", "--no-intercept"], "free"),
        (["--solver", "nothing"], "Unknown solver 'nothing'"),
        (["--loss", "hinge"], "regression loss"),
        (["--tol", "0"], "tol"),
        (["--target", "z"], "No column 'z'"),
        (["--task", "classification"], "class"),
        (["--model", "/nowhere/model.joblib"], "Cannot write"),
        (["--json", "."], "Cannot write"),
    ],
)
def test_wrong_options_are_exit_code_2(regression_csv, arguments, words, capsys):
    assert main(["fit", str(regression_csv), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("convexnn: error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err


@pytest.mark.parametrize(
    "arguments", [["--patterns", "0"], ["--patterns", "all"], ["--test-size", "1"], ["--test-size", "half"]]
)
def test_unparsable_options_are_exit_code_2(regression_csv, arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["fit", str(regression_csv), *arguments])
    assert exit_info.value.code == 2
    assert f"must be {'a number between' if 'size' in arguments[0] else ''}" in capsys.readouterr().err


def test_text_target_cannot_be_regressed(labels_csv, capsys):
    assert main(["fit", str(labels_csv), "--target", "class", "--task", "regression"]) == 2
    assert "numeric target" in capsys.readouterr().err
