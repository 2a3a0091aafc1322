"""Reading a table of samples from CSV, Parquet or NPZ."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target

from convexnn._typing import FloatArray
from convexnn.cli._errors import CommandError
from convexnn.exceptions import MissingExtraError

__all__ = ["Table", "choose_task", "read_table"]

# With more distinct values than this, whole numbers are taken for quantities and not for labels.
_MOST_LABELS = 20
_NAMES_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Table:
    """Samples from a file.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        Finite float64.
    y : ndarray of shape (n_samples,)
        Numbers, or labels of any kind; nothing is missing.
    features : list of str
        Names of the columns of `X`.
    target : str
        Name of the target.
    named : bool
        Whether the file says these names.
    """

    X: FloatArray
    y: NDArray[Any]
    features: list[str]
    target: str
    named: bool = True

    @property
    def samples(self) -> Any:
        """`X`, as a frame where the file names its columns, so that models know them."""
        if not self.named:
            return self.X
        import pandas as pd

        return pd.DataFrame(self.X, columns=self.features)


def read_table(path: str | os.PathLike[str], target: str | None = None) -> Table:
    """Read features and target.

    Parameters
    ----------
    path : str or path
        A ``.csv`` or ``.parquet`` table with a column for each feature and one for the target, or an
        ``.npz`` archive with arrays ``X`` of shape (n_samples, n_features) and ``y`` of shape (n_samples,).
    target : str, optional
        Target column of a table; the last one unless given.

    Returns
    -------
    Table

    Raises
    ------
    CommandError
        If the file cannot be read, a column is missing or not numeric, or values are missing or infinite.
    MissingExtraError
        If pandas, or pyarrow for Parquet, is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet", ".npz"):
        raise CommandError(
            f"Data must be a .csv, .parquet or .npz file. Got {path.name!r}; convert it first."
        )
    if not path.is_file():
        raise CommandError(f"No file {str(path)!r}. Check the path.")
    table = _read_npz(path, target) if suffix == ".npz" else _read_columns(path, target)
    if len(table.y) < 2:
        raise CommandError(f"At least 2 samples are needed. Got {len(table.y)} in {path.name!r}.")
    return table


def choose_task(task: str, y: NDArray[Any]) -> str:
    """Resolve "auto" into "regression" or "classification" from the target.

    Labels are text, truth values, or whole numbers of at most 20 distinct values.
    """
    if task != "auto":
        return task
    if y.dtype.kind not in "iuf":
        return "classification"
    whole = type_of_target(y) in ("binary", "multiclass")
    return "classification" if whole and len(np.unique(y)) <= _MOST_LABELS else "regression"


def _read_npz(path: Path, target: str | None) -> Table:
    if target is not None:
        raise CommandError(
            f"--target names a column of a table; an .npz file has its target in 'y'. Got {target!r}."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in ("X", "y") if name not in archive]
            if missing:
                raise CommandError(
                    f"An .npz file needs the arrays 'X' and 'y'. Got {sorted(archive)} in {path.name!r}; "
                    "save with numpy.savez(path, X=X, y=y)."
                )
            X, y = archive["X"], archive["y"]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CommandError(f"Cannot read {str(path)!r}: {error}") from error
    if X.ndim != 2 or X.shape[1] == 0 or y.shape != (len(X),):
        raise CommandError(
            "X must have shape (n_samples, n_features) and y shape (n_samples,). "
            f"Got {X.shape} and {y.shape} in {path.name!r}."
        )
    if X.dtype.kind not in "biuf":
        raise CommandError(f"X must be numeric. Got dtype {X.dtype} in {path.name!r}; encode it first.")
    names = [f"column {j}" for j in range(X.shape[1])]
    X = X.astype(np.float64)
    _check_missing(names, ~np.isfinite(X))
    if y.dtype.kind == "f":
        _check_missing(["y"], ~np.isfinite(y)[:, None])
    return Table(X, y, names, "y", named=False)


def _read_columns(path: Path, target: str | None) -> Table:
    frame = _read_frame(path)
    columns = [str(name) for name in frame.columns]
    frame.columns = columns
    if len(columns) < 2:
        raise CommandError(
            f"A table needs at least one feature and a target. Got the column(s) {columns} in {path.name!r}; "
            "separate columns by commas."
        )
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise CommandError(
            f"Column names must differ. Got {_listed(repeated)} more than once in {path.name!r}."
        )
    target = columns[-1] if target is None else target
    if target not in columns:
        raise CommandError(f"No column {target!r} in {path.name!r}. It has {_listed(columns)}.")
    features = [name for name in columns if name != target]
    X = _numeric(frame, features)
    y = frame[target]
    _check_missing([target], y.isna().to_numpy()[:, None])
    values = _labels(y)
    if values.dtype.kind == "f":
        _check_missing([target], ~np.isfinite(values)[:, None])
    return Table(X, values, features, target)


def _read_frame(path: Path) -> Any:
    if find_spec("pandas") is None:
        raise MissingExtraError("pandas", "cli", f"Reading {path.name!r}")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow", "cli", f"Reading {path.name!r}")
    import pandas as pd

    read = pd.read_parquet if path.suffix.lower() == ".parquet" else pd.read_csv
    try:
        return read(path)
    except (OSError, ValueError) as error:  # parsers' errors are ValueErrors, pyarrow's among them
        raise CommandError(f"Cannot read {str(path)!r}: {error}") from error


def _numeric(frame: Any, features: Sequence[str]) -> FloatArray:
    """Return the features as float64 or raise an error that names the columns in the way."""
    textual = [name for name in features if frame[name].dtype.kind not in "biuf"]
    if textual:
        raise CommandError(
            f"Features must be numeric. Got {_listed(textual)} otherwise; encode or drop the column(s)."
        )
    X: FloatArray = frame[list(features)].to_numpy(dtype=np.float64, na_value=np.nan)
    _check_missing(features, ~np.isfinite(X))
    return np.ascontiguousarray(X)


def _labels(y: Any) -> NDArray[Any]:
    """Return a target column without missing values as numbers, truth values or text."""
    if y.dtype.kind in "iu":
        return np.asarray(y.to_numpy(dtype=np.int64))
    if y.dtype.kind in "bf":
        return np.asarray(y.to_numpy(dtype=bool if y.dtype.kind == "b" else np.float64))
    return np.asarray([str(label) for label in y])


def _check_missing(names: Sequence[str], wrong: NDArray[np.bool_]) -> None:
    """Raise if entries of the named columns are NaN or infinite."""
    columns = [f"{names[j]!r} ({wrong[:, j].sum()})" for j in np.flatnonzero(wrong.any(axis=0)).tolist()]
    if columns:
        raise CommandError(
            f"Values must be finite. Got NaN, empty or infinite ones in {_shortened(columns)}; "
            "fill them or drop the rows."
        )


def _listed(names: Sequence[str]) -> str:
    return _shortened([repr(name) for name in names])


def _shortened(names: Sequence[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
