"""``convexnn demo`` compares like with like."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from convexnn.cli import _demo, main
from convexnn.cli._demo import DemoSettings, run_demo

SMALL = DemoSettings(n_train=30, n_hidden=8, mlp_iterations=300)


@pytest.fixture(scope="module")
def rows():
    return run_demo(SMALL)


def test_two_rows_for_each_of_four_data_sets(rows):
    assert [row.method for row in rows] == ["convexnn", "MLP"] * 4
    assert [row.scope for row in rows] == ["patterns", ""] * 3 + ["global"] * 2
    assert len({row.data for row in rows}) == 4
    assert all(row.n_samples == 30 and 0 < row.test_score <= 1 for row in rows)


def test_convex_program_is_not_above_the_mlp(rows):
    for ours, mlp in zip(rows[::2], rows[1::2], strict=True):
        assert ours.converged
        assert ours.relative_gap <= SMALL.tol
        assert ours.objective <= mlp.objective * (1 + SMALL.tol)


def test_bounds_are_below_what_they_are_for(rows):
    for row in rows:
        if row.lower_bound is None:
            assert (row.method, row.scope, row.relative_gap) == ("MLP", "", None)
            continue
        gap = (row.objective - row.lower_bound) / row.objective
        assert 0 <= gap == pytest.approx(row.relative_gap, abs=1e-14)
    assert rows[-2].lower_bound == rows[-1].lower_bound


def test_objective_of_the_mlp_is_what_scikit_learn_reports(rows):
    for case, row in zip(_demo._cases(SMALL), rows[1::2], strict=True):
        mlp, _, _ = _demo._train_mlp(case, SMALL)
        assert row.objective == pytest.approx(SMALL.n_train * mlp.loss_, rel=1e-10)


def test_global_optimum_is_below_the_best_line(rows):
    # One unit, active on all samples through its free bias, is a line of slope w at the cost alpha |w|.
    X, y = load_diabetes(return_X_y=True)
    x, _, y, _ = train_test_split(X[:, 2], y, train_size=SMALL.n_train, random_state=0)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    alpha = rows[-1].alpha
    slope = x @ y / (x @ x)
    residual = y - slope * x
    assert rows[-2].objective <= 0.5 * residual @ residual + alpha * abs(slope)


def test_table_and_exit_code(monkeypatch, capsys, rows, tmp_path):
    monkeypatch.setattr(_demo, "run_demo", lambda settings: rows)
    path = tmp_path / "demo.json"
    assert main(["demo", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "convexnn " in line or "MLP " in line][:8]
    assert len(lines) == 8
    for line, row in zip(lines, rows, strict=True):
        assert f"{row.objective:#.6g}" in line
        assert row.scope in line
    content = json.loads(path.read_text(encoding="utf-8"))
    assert [row["objective"] for row in content["rows"]] == [row.objective for row in rows]


def test_table_fits_a_terminal_of_80_columns(monkeypatch, capsys, rows):
    monkeypatch.setattr(_demo, "run_demo", lambda settings: rows)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    main(["demo"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def test_one_convex_fit_above_its_tolerance_is_exit_code_1(monkeypatch, capsys):
    strict = DemoSettings(n_train=20, n_hidden=2, mlp_iterations=1, tol=1e-300)
    done = run_demo(strict)
    assert not all(row.converged for row in done[::2])
    monkeypatch.setattr(_demo, "run_demo", lambda settings: done)
    assert main(["demo"]) == 1
    out = capsys.readouterr().out
    assert "convexnn*" in out
    assert "MLP*" in out


@pytest.mark.slow
def test_full_size(capsys):
    assert main(["demo", "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    for ours, mlp in zip(rows[::2], rows[1::2], strict=True):
        assert ours["objective"] <= mlp["objective"]
        assert np.isfinite(mlp["objective"])
