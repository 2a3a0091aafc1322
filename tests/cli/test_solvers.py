"""``convexnn solvers`` lists the solvers."""

import json

import pytest

from convexnn.cli import main
from convexnn.losses import LOSSES
from convexnn_solvers import available_solvers
from convexnn_solvers.registry import known_solvers


def test_json_has_all_of_them(capsys):
    assert main(["solvers", "--json", "-"]) == 0
    listed = json.loads(capsys.readouterr().out)["solvers"]
    assert [solver["name"] for solver in listed] == known_solvers()
    usable = [solver["name"] for solver in listed if solver["available"]]
    assert usable == available_solvers()
    assert all(solver["install"] is None for solver in listed if solver["available"])
    assert all(solver["losses"] for solver in listed if solver["available"])
    takes = {solver["name"]: solver["losses"] for solver in listed}
    assert takes["clarabel"] == sorted(LOSSES)
    assert takes["native"] == sorted(name for name, loss in LOSSES.items() if loss.is_smooth)


def test_table_says_what_solvers_take(capsys):
    pytest.importorskip("rich", reason="tables are printed with rich")
    assert main(["solvers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("native")]
    assert "available" in line
    assert "huber" in line
    assert sum(line.startswith("clarabel") for line in lines) == 1


def test_missing_packages_come_with_the_pip_line(monkeypatch, capsys):
    from convexnn_solvers.backends.scs_ import Scs

    monkeypatch.setattr(Scs, "missing", classmethod(lambda cls: ["scs"]))
    assert main(["solvers", "--json", "-"]) == 0
    listed = json.loads(capsys.readouterr().out)["solvers"]
    (scs,) = [solver for solver in listed if solver["name"] == "scs"]
    assert scs == {"name": "scs", "available": False, "install": 'pip install "convexnn[scs]"', "losses": []}
