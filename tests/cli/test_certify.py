"""``convexnn certify``: it says what `certify` says, and its exit code whether the gap is closed."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.neural_network import MLPRegressor

from convexnn import ConvexMLPRegressor, certify
from convexnn.cli import main


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(16, 2))
    y = np.abs(X[:, 0]) - X[:, 1] + 0.1 * rng.normal(size=16)
    path = tmp_path / "data.csv"
    pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": y}).to_csv(path, index=False)
    return path, X, y


def run(arguments, capsys):
    code = main(["certify", *map(str, arguments), "--json", "-"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("extra", [[], ["--standardize"], ["--test-size", "0.25", "--seed", "3"]])
def test_models_of_fit_are_certified(data, tmp_path, capsys, extra):
    path, model = data[0], tmp_path / "model.joblib"
    fit = ["fit", str(path), "--alpha", "0.5", "--patterns", "exact", "--tol", "1e-7", "--model", str(model)]
    assert main([*fit, *extra]) == 0
    capsys.readouterr()
    split = extra if "--test-size" in extra else []
    code, report = run([model, path, "--tol", "1e-6", *split], capsys)
    assert code == 0
    assert report["optimal"]
    assert report["relative_gap"] <= 1e-6
    assert report["scope"] == "global"
    assert report["lower_bound"] <= report["objective"]
    assert report["data"]["n_samples"] == 16


def test_report_is_that_of_certify(data, tmp_path, capsys):
    path, X, y = data
    model = MLPRegressor(hidden_layer_sizes=(4,), alpha=0.5, solver="lbfgs", max_iter=3000, random_state=0)
    joblib.dump(model.fit(X, y), tmp_path / "mlp.joblib")
    code, report = run([tmp_path / "mlp.joblib", path, "--no-refine", "--method", "closed_form"], capsys)
    direct = certify(model, X, y, refine=False, method="closed_form")
    assert code == 1
    for name in ("objective", "lower_bound", "gap", "relative_gap", "scope", "method", "complete"):
        expected = getattr(direct, name)
        assert report[name] == (
            pytest.approx(expected, rel=1e-9) if isinstance(expected, float) else expected
        )


def test_labels_and_summary(data, tmp_path, capsys):
    _, X, y = data
    path, model = tmp_path / "labels.csv", tmp_path / "model.joblib"
    pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "label": np.where(y > 0, "up", "down")}).to_csv(
        path, index=False
    )
    assert main(["fit", str(path), "--alpha", "0.3", "--patterns", "exact", "--model", str(model)]) == 0
    capsys.readouterr()
    assert main(["certify", str(model), str(path), "--tol", "1e-3"]) == 0
    out = capsys.readouterr().out
    assert "every network" in out
    assert "optimal to this" in out
    weak = ConvexMLPRegressor(0.5, patterns=1, random_state=0).fit(X, y)
    joblib.dump(weak, model)
    assert main(["certify", str(model), str(data[0]), "--time-limit", "60"]) == 1
    out = capsys.readouterr().out
    assert "not proved" in out
    assert "one more neuron gives" in out


def test_wrong_files_are_errors_of_one_line(data, tmp_path, capsys):
    path = data[0]
    text, number = tmp_path / "text.joblib", tmp_path / "number.joblib"
    text.write_text("no model", encoding="utf-8")
    joblib.dump(3, number)
    for model, words in (
        (tmp_path / "none", "No file"),
        (text, "Cannot read"),
        (number, "must hold an estimator"),
    ):
        assert main(["certify", str(model), str(path)]) == 2
        message = capsys.readouterr().err
        assert words in message
        assert message.count("\n") == 1
