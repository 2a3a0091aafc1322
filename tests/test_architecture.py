"""Layers, imports, sizes and docstrings: what keeps the code in the shape that the design gives it."""

import inspect
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"convexnn": ROOT / "convexnn", "convexnn_solvers": ROOT / "solvers" / "convexnn_solvers"}
DOCUMENTED = [
    "convexnn",
    "convexnn.activations",
    "convexnn.ensembles",
    "convexnn.estimators",
    "convexnn.fourier",
    "convexnn.losses",
    "convexnn.networks",
    "convexnn.patches",
    "convexnn.patterns",
    "convexnn.plotting",
    "convexnn.programs",
    "convexnn_solvers",
]
HEAVY = {"torch", "cvxpy", "matplotlib", "rich", "pandas", "pyarrow", "ecos", "scs", "osqp"}


def run(code: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def modules_after(statement: str, folder: Path) -> set[str]:
    """Top-level modules that a fresh interpreter has after a statement, started away from the checkout."""
    done = run(f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})", folder)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_layers():
    pytest.importorskip("importlinter", reason="import-linter (group `lint`) is not installed")
    code = (
        "import sys\nfrom importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    done = run(code, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout


def test_importing_and_fitting_load_nothing_heavy(tmp_path):
    # scikit-learn imports pandas by itself where that is installed.
    required = modules_after("import clarabel, numba, scipy, sklearn.base", tmp_path)
    loaded = modules_after("import convexnn", tmp_path)
    assert {"convexnn", "convexnn_solvers", "numpy", "sklearn"} <= loaded
    assert (loaded - required) & HEAVY == set()
    fit = "convexnn.ConvexMLPRegressor(0.1).fit([[0.0], [1.0], [3.0]], [1.0, -1.0, 2.0]).predict([[2.0]])"
    assert (modules_after(f"import convexnn\n{fit}", tmp_path) - required) & HEAVY == set()


def test_importing_the_solvers_loads_no_estimators(tmp_path):
    loaded = modules_after("import convexnn_solvers", tmp_path)
    assert "convexnn_solvers" in loaded
    assert loaded & (HEAVY | {"convexnn", "sklearn"}) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_shipped(package):
    assert files(package).joinpath("py.typed").is_file()


def test_no_file_is_long():
    folders = [*PACKAGES.values(), ROOT / "tests"]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in folder.rglob("*.py")
    }
    assert len(lengths) > 20
    assert {name: n for name, n in lengths.items() if n > 500} == {}


def public_objects():
    seen, found = set(), []
    for name in DOCUMENTED:
        module = import_module(name)
        for attribute in module.__all__:
            thing = getattr(module, attribute)
            if (inspect.isclass(thing) or inspect.isroutine(thing)) and id(thing) not in seen:
                seen.add(id(thing))
                found.append(pytest.param(thing, id=f"{name}.{attribute}"))
    return found


def arguments(function):
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def has_section(text, *titles):
    return any(f"\n{title}\n{'-' * len(title)}\n" in f"\n{text}\n" for title in titles)


def returns_something(function):
    return function.__annotations__.get("return") not in (None, "None")


@pytest.mark.parametrize("thing", public_objects())
def test_public_objects_are_documented(thing):
    text = inspect.getdoc(thing)
    assert text
    assert len(text.splitlines()[0]) > 10
    if inspect.isclass(thing) or not arguments(thing):
        return
    if len(arguments(thing)) > 1:
        assert has_section(text, "Parameters")
    if has_section(text, "Parameters") and returns_something(thing):
        assert has_section(text, "Returns", "Yields")


@pytest.mark.parametrize(
    "name", ["convexnn.ConvexMLPRegressor", "convexnn.ConvexMLPClassifier", "convexnn.PatternSet"]
)
def test_parameters_of_classes_are_documented(name):
    module, _, attribute = name.rpartition(".")
    thing = getattr(import_module(module), attribute)
    text = inspect.getdoc(thing)
    assert has_section(text, "Parameters")
    section = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    assert [p for p in arguments(thing) if p not in section] == []


@pytest.mark.parametrize("thing", [p for p in public_objects() if inspect.isclass(p.values[0])])
def test_public_methods_are_documented(thing):
    package = thing.__module__.partition(".")[0]
    for name, member in inspect.getmembers(thing):
        of_this_project = (getattr(member, "__module__", None) or "").startswith(package)
        if name.startswith("_") or not inspect.isroutine(member) or not of_this_project:
            continue
        assert inspect.getdoc(member), f"{thing.__name__}.{name} has no docstring"


@pytest.mark.parametrize("name", ["ConvexMLPRegressor", "ConvexMLPClassifier"])
def test_estimator_methods_have_sections(name):
    thing = getattr(import_module("convexnn"), name)
    for method in ("fit", "predict", "decision_function", "predict_proba"):
        if name.endswith("Regressor") and method not in ("fit", "predict"):
            continue
        text = inspect.getdoc(getattr(thing, method))
        assert has_section(text, "Parameters")
        assert has_section(text, "Returns")
