"""``convexnn path``: its path is `convex_path`'s, its choice the cross-validated estimators'."""

import json

import joblib
import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from convexnn import ConvexMLPClassifierCV, ConvexMLPRegressorCV, convex_path
from convexnn.cli import main

QUICK = ["--n-alphas", "4", "--eps", "0.05", "--cv", "3", "--patterns", "10"]


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 2))
    return X, np.abs(X[:, 0]) - X[:, 1] + 0.1 * rng.normal(size=24)


@pytest.fixture
def regression(samples, tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, X=samples[0], y=samples[1])
    return path


@pytest.fixture
def classification(samples, tmp_path):
    path = tmp_path / "labels.npz"
    np.savez(path, X=samples[0], y=samples[1] > 0)
    return path


def report_of(arguments, capsys):
    code = main(["path", *map(str, arguments), "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


def test_report_is_that_of_a_direct_path(samples, regression, capsys):
    code, report = report_of([regression, *QUICK], capsys)
    X, y = samples
    direct = convex_path(X, y, 10, alphas=4, eps=0.05, random_state=0)
    assert code == 0
    assert report["converged"] is True
    points = report["path"]
    assert [point["alpha"] for point in points] == direct.alphas.tolist()
    for name, figures in [
        ("objective", direct.objectives),
        ("dual_objective", direct.dual_objectives),
        ("relative_gap", direct.relative_gaps),
        ("n_neurons", direct.n_neurons),
    ]:
        np.testing.assert_allclose([point[name] for point in points], figures, rtol=1e-9, atol=1e-15)
    assert {point["status"] for point in points} == {"CONVERGED"}
    assert report["alphas_left"] == []
    assert report["gap_scope"] == "patterns"


def test_choice_is_that_of_the_estimator(samples, regression, capsys):
    _, report = report_of([regression, *QUICK], capsys)
    X, y = samples
    options = {"alphas": 4, "eps": 0.05, "cv": 3, "patterns": 10, "random_state": 0}
    direct = ConvexMLPRegressorCV(**options).fit(X, y)
    assert (report["alpha"], report["cv_score"]) == (direct.alpha_, direct.best_score_)
    np.testing.assert_allclose([point["cv_scores"] for point in report["path"]], direct.scores_)
    means = [point["cv_score"] for point in report["path"]]
    assert report["cv_score"] == max(means) == pytest.approx(np.mean(direct.scores_, axis=1).max())
    assert report["scores"] == {"train": pytest.approx(direct.score(X, y))}


def test_options_reach_the_estimator(classification, capsys):
    arguments = [classification, "--alphas", "0.1,2", "--loss", "squared_hinge", "--scoring", "accuracy"]
    arguments += ["--cv", 2, "--jobs", 1, "--hidden-bias", "none", "--no-intercept", "--solver", "clarabel"]
    arguments += ["--tol", 1e-3, "--patterns", 6, "--seed", 3]
    code, report = report_of(arguments, capsys)
    expected = {
        "alphas": [0.1, 2.0],
        "loss": "squared_hinge",
        "scoring": "accuracy",
        "cv": 2,
        "n_jobs": 1,
        "hidden_bias": "none",
        "fit_intercept": False,
        "solver": "clarabel",
        "tol": 1e-3,
        "patterns": 6,
        "random_state": 3,
    }
    assert code == 0
    assert {name: report["parameters"][name] for name in expected} == expected
    assert report["task"] == "classification"
    assert [point["alpha"] for point in report["path"]] == [2.0, 0.1]


def test_model_file_and_held_out_samples(samples, regression, tmp_path, capsys):
    model = tmp_path / "model.joblib"
    arguments = [regression, *QUICK, "--test-size", 0.25, "--standardize", "--model", model]
    code, report = report_of(arguments, capsys)
    assert code == 0
    X, X_test, y, y_test = train_test_split(*samples, test_size=0.25, random_state=0)
    pipeline = joblib.load(model)
    assert isinstance(pipeline[-1], ConvexMLPRegressorCV)
    assert pipeline[-1].patterns_.n_samples == 18
    expected = {"train": pipeline.score(X, y), "test": pipeline.score(X_test, y_test)}
    assert report["scores"] == pytest.approx(expected)
    assert pipeline[-1].alpha_ == report["alpha"]


def test_table_marks_the_choice(classification, tmp_path, capsys):
    pytest.importorskip("rich")
    path = tmp_path / "report.json"
    assert main(["path", str(classification), *QUICK, "--json", str(path)]) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "converged" in line]
    assert len(lines) == 4
    (marked,) = [line for line in lines if line.startswith("*")]
    assert f"{report['alpha']:.4g}" in marked
    assert isinstance(report["parameters"]["cv"], int)
    assert report["score"] == "accuracy"


def test_not_converged_is_exit_code_1(regression, capsys):
    code = main(["path", str(regression), *QUICK, "--max-iter", "1", "--tol", "1e-9", "--json", "-"])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert code == 1
    assert report["converged"] is False
    assert [point["status"] for point in report["path"]] == ["CONVERGED"] + 3 * ["ITERATION_LIMIT"]
    assert captured.err.startswith("convexnn: ConvergenceWarning: ")
    assert captured.err.count("\n") == 1


def test_time_is_up(regression, capsys):
    code, report = report_of([regression, *QUICK, "--time-limit", "1e-9"], capsys)
    assert code == 1
    assert len(report["path"]) == 1
    assert len(report["alphas_left"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--eps", "2"], "eps must be between 0 and 1"),
        (["--cv", "1"], "k-fold"),
        (["--cv", "100"], "n_splits=100"),
        (["--scoring", "excellence"], "excellence"),
        (["--solver", "nothing"], "Unknown solver 'nothing'"),
        (["--model", "/nowhere/model.joblib"], "Cannot write"),
    ],
)
def test_wrong_options_are_exit_code_2(regression, arguments, words, capsys):
    assert main(["path", str(regression), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("convexnn: error: ")
    assert words in captured.err


@pytest.mark.parametrize(
    "arguments", [["--n-alphas", "0"], ["--n-alphas", "x"], ["--alphas", "1,a"], ["--alphas", "-1"]]
)
def test_unparsable_options_are_exit_code_2(regression, arguments, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["path", str(regression), *arguments])
    assert exit_info.value.code == 2
    assert "error: argument" in capsys.readouterr().err


def test_classifier_is_chosen_for_labels(classification, tmp_path, capsys):
    model = tmp_path / "model.joblib"
    assert main(["path", str(classification), *QUICK, "--json", "-", "--model", str(model)]) == 0
    assert isinstance(joblib.load(model), ConvexMLPClassifierCV)
    capsys.readouterr()
