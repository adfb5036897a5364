"""A method that is not the package's comes into the tables of ``python -m benchmarks.uq``."""

import json
import sys

import pytest

from benchmarks.uq import argon, argon_truth, coverage, experiment, runner
from benchmarks.uq.methods import Recipe

OWN = """
import benchmarks.uq.example_method as given

given.STEPS = 100


def mine(key, train, validation):
    with open("calls.txt", "a") as file:
        print(len(train.data.energy), len(validation.energy), file=file)
    return given.sghmc(key, train, validation)


def broken(key, train, validation):
    made = given.sghmc(key, train, validation)
    made.healthy[:] = False
    return made
"""


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two sets of one case that takes seconds."""

    def cases(setting, folder, sets, only=()):
        size = argon_truth.Size(
            sets, 2, 1, 2, steps=200, equilibration=100, reference_steps=2000, reference_replicas=4
        )
        given = argon_truth.Truth(argon_truth.FLUID, size, folder)
        recipe = Recipe(members=4, adam=200, steps=100, last_layer="potential/pair")
        return [
            argon.Argon(given, argon_truth.MODEL, "tiny", "a tiny case", recipe, ("exact",), True)
        ]

    monkeypatch.setattr(coverage, "make_cases", cases)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "my_methods.py").write_text(OWN, encoding="utf-8")
    yield tmp_path
    sys.modules.pop("my_methods", None)


def _run(folder, monkeypatch, *methods):
    given = [x for name in methods for x in ("--method", name)]
    monkeypatch.setattr(
        sys, "argv",
        ["uq", "--only", "coverage", "--sets", "2", "--workers", "1", "--parts", "parts",
         "--out", "out", *given],
    )  # fmt: skip
    experiment.main()
    return json.loads((folder / "out" / "uq_coverage.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_users_method_comes_into_the_table(small, monkeypatch, capsys):
    mine, broken = "my_methods:mine", "my_methods:broken"
    case = _run(small, monkeypatch, mine, broken)["cases"][0]
    rows = {row["method"]: row for row in case["rows"]}
    assert {"exact", mine, broken} <= set(rows)
    told = capsys.readouterr().out
    assert any(line.startswith(f"| {mine} |") for line in told.splitlines())
    row = rows[mine]["in"]
    assert (rows[mine]["failed"], row["g(r)"]["sets"], row["pressure"]["sets"]) == (0, 2, 2)
    assert row["energy"]["width"] > 0
    truth_of = json.loads((small / "parts" / "quick" / "truth_argon.json").read_text())["made"]
    assert truth_of["energy in"] < truth_of["energy away"] - 0.05

    assert rows[broken]["failed"] == 2
    assert rows[broken]["in"]["energy"]["95"][0] == 0
    calls = small / "calls.txt"
    assert calls.read_text().splitlines() == ["2 1", "2 1"]
    _run(small, monkeypatch, mine)
    assert len(calls.read_text().splitlines()) == 2, "finished sets are read"


def test_another_file_is_another_method(small):
    before = runner._digest(runner.load("my_methods:mine"))
    with (small / "my_methods.py").open("a", encoding="utf-8") as file:
        print("# changed", file=file)
    assert runner._digest(runner.load("my_methods:mine")) != before


@pytest.mark.parametrize("name", ["nowhere:f", "json:nothing", "json"])
def test_names_that_lead_nowhere_are_refused(name):
    with pytest.raises(SystemExit, match="MODULE:CALLABLE"):
        runner.load(name)
