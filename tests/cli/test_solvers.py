"""``convexnn solvers`` lists the solvers of both kinds of programs."""

import json

import pytest

from convexnn.cli import main
from convexnn_solvers import available_solvers
from convexnn_solvers.registry import known_solvers


def test_json_has_both_kinds(capsys):
    assert main(["solvers", "--json", "-"]) == 0
    listed = json.loads(capsys.readouterr().out)
    for key, kind in (("solvers", "group"), ("nonnegative", "nonnegative")):
        assert [solver["name"] for solver in listed[key]] == known_solvers(kind)
        usable = [solver["name"] for solver in listed[key] if solver["available"]]
        assert usable == available_solvers(kind)
        assert all(solver["install"] is None for solver in listed[key] if solver["available"])
    assert all(solver["losses"] for solver in listed["solvers"] if solver["available"])


def test_table_says_what_solvers_take(capsys):
    pytest.importorskip("rich", reason="tables are printed with rich")
    assert main(["solvers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("nnls")]
    assert "available" in line
    assert "non-negative least squares" in line
    assert sum(line.startswith("clarabel") for line in lines) == 2


def test_missing_packages_come_with_the_pip_line(monkeypatch, capsys):
    from convexnn_solvers.nonnegative.backends.osqp_ import Osqp

    monkeypatch.setattr(Osqp, "missing", classmethod(lambda cls: ["osqp"]))
    assert main(["solvers", "--json", "-"]) == 0
    listed = json.loads(capsys.readouterr().out)["nonnegative"]
    (osqp,) = [solver for solver in listed if solver["name"] == "osqp"]
    assert osqp == {"name": "osqp", "available": False, "install": 'pip install "convexnn[osqp]"'}
