"""Reading tables: what is read is what was written, and what cannot be read is said."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from convexnn.cli import _data, main
from convexnn.cli._data import choose_task, read_table
from convexnn.cli._errors import CommandError


def write(tmp_path, text, name="data.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_keeps_numbers_and_order(tmp_path):
    table = read_table(write(tmp_path, "y,a,b,c\n1.5,2,1e-8,True\n-3,4,1e8,False\n"), "y")
    np.testing.assert_array_equal(table.X, [[2, 1e-8, 1], [4, 1e8, 0]])
    np.testing.assert_array_equal(table.y, [1.5, -3])
    assert (table.features, table.target) == (["a", "b", "c"], "y")
    assert table.X.dtype == np.float64


def test_last_column_is_the_default_target(tmp_path):
    table = read_table(write(tmp_path, "a,b\n1,x\n2,y\n"))
    assert (table.features, table.target, table.y.tolist()) == (["a"], "b", ["x", "y"])


def test_npz(tmp_path):
    X, y = np.arange(6).reshape(3, 2), np.array(["u", "v", "u"])
    np.savez(tmp_path / "data.npz", X=X, y=y)
    table = read_table(tmp_path / "data.npz")
    np.testing.assert_array_equal(table.X, X)
    np.testing.assert_array_equal(table.y, y)


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4], "label": ["p", "q"]})
    frame.to_parquet(tmp_path / "data.parquet")
    table = read_table(tmp_path / "data.parquet")
    np.testing.assert_array_equal(table.X, frame[["a", "b"]])
    assert table.y.tolist() == ["p", "q"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c,y\n1,x,u,3\n2,y,v,4\n", "'b', 'c'"),
        ("a,b,y\n1,,3\n2,5,4\n", "'b' (1)"),
        ("a,b,y\n1,inf,3\n2,5,4\n", "'b' (1)"),
        ("a,y\n1,\n2,5\n", "'y' (1)"),
        ("a,y\n1,p\n2,\n", "'y' (1)"),
        ("a,y\n1,-inf\n2,3\n", "'y' (1)"),
        ("a,y\n1,2\n", "At least 2 samples"),
        ("a;y\n1;2\n", "at least one feature and a target"),
        ("", "Cannot read"),
        ('a,y\n1,"2\n3', "Cannot read"),
    ],
)
def test_bad_tables(tmp_path, text, words):
    with pytest.raises(CommandError) as error:
        read_table(write(tmp_path, text))
    assert words in str(error.value)


def test_long_lists_of_columns_are_cut(tmp_path):
    header = ",".join(f"c{j}" for j in range(9)) + ",y"
    path = write(tmp_path, f"{header}\n{'x,' * 9}1\n{'x,' * 9}2\n")
    with pytest.raises(CommandError, match="'c4' and 4 more"):
        read_table(path)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": np.ones((3, 2))}, "'X' and 'y'"),
        ({"X": np.ones(3), "y": np.ones(3)}, "shape"),
        ({"X": np.ones((3, 2)), "y": np.ones(2)}, "shape"),
        ({"X": np.full((3, 2), "a"), "y": np.ones(3)}, "numeric"),
        ({"X": np.array([[1.0], [np.nan]]), "y": np.ones(2)}, "'column 0' (1)"),
        ({"X": np.ones((2, 1)), "y": np.array([1.0, np.inf])}, "'y' (1)"),
        ({"X": np.ones((2, 1)), "y": np.array([1, None])}, "Cannot read"),
    ],
)
def test_bad_archives(tmp_path, arrays, words):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(CommandError) as error:
        read_table(tmp_path / "data.npz")
    assert words in str(error.value)


def test_bad_files(tmp_path):
    with pytest.raises(CommandError, match="No file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(CommandError, match="must be a "):
        read_table(write(tmp_path, "a,y\n", "data.txt"))
    with pytest.raises(CommandError, match="Cannot read"):
        read_table(write(tmp_path, "no archive", "data.npz"))
    np.savez(tmp_path / "good.npz", X=np.ones((2, 1)), y=np.ones(2))
    with pytest.raises(CommandError, match="--target"):
        read_table(tmp_path / "good.npz", "y")


@pytest.mark.parametrize(
    ("y", "task"),
    [
        ([0, 1, 1], "classification"),
        ([1.0, 2.0, 1.0], "classification"),
        ([True, False], "classification"),
        (["a", "b"], "classification"),
        ([0.5, 1.0], "regression"),
        (range(20), "classification"),
        (range(21), "regression"),
    ],
)
def test_task(y, task):
    assert choose_task("auto", np.array(y)) == task
    assert choose_task("regression", np.array(y)) == "regression"


@pytest.mark.parametrize(("package", "name"), [("pandas", "data.csv"), ("pyarrow", "data.parquet")])
def test_missing_packages_are_named_with_the_pip_line(tmp_path, monkeypatch, capsys, package, name):
    present = importlib.util.find_spec
    monkeypatch.setattr(_data, "find_spec", lambda module: None if module == package else present(module))
    assert main(["fit", str(write(tmp_path, "a,y\n1,2\n3,4\n", name))]) == 2
    err = capsys.readouterr().err
    assert repr(package) in err
    assert 'pip install "convexnn[cli]"' in err
    assert err.count("\n") == 1
