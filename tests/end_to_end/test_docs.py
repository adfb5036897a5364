"""The pages' examples run, and their tables are those of the committed benchmarks."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from bayespot import build, config
from bayespot.potentials import MACE, ZBL, HarmonicAngles, Scaled
from benchmarks import potentials
from tests.unit.frames import WATER, frame

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/choosing-a-sampler.md").read_text(encoding="utf-8")
POTENTIALS = (ROOT / "docs/potentials.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(code, "choosing-a-sampler.md", "exec"), {})
    assert capsys.readouterr().out == "draws () True\n"


@pytest.mark.parametrize("name", ["throughput", "regression", "lennard_jones", "digits"])
def test_the_tables_are_those_of_the_benchmark(name):
    made = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
    assert importlib.import_module(f"benchmarks.{name}").table(made) in PAGE


def test_the_figures_exist():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", PAGE):
        assert (ROOT / "docs" / path).resolve().is_file(), path


def test_the_example_of_potentials_builds():
    (text,) = re.findall(r"```toml\n(.*?)```", POTENTIALS, re.DOTALL)
    rest = {
        "data": {"train": "a", "test": "b"},
        "md": {"temperature": 300.0},
        "observables": [{"kind": "mean_energy"}],
    }
    section = config.parse({**rest, **tomllib.loads(text)}).potential
    frames = [frame("OH2", n, positions=WATER + 0.01 * n * WATER[::-1]) for n in range(3)]
    network, nuclei, angles = build.potential(section, frames).terms
    assert isinstance(network, Scaled)
    assert isinstance(network.potential, MACE)
    assert isinstance(nuclei, ZBL)
    assert isinstance(angles, HarmonicAngles)


def test_the_table_of_potentials_is_that_of_the_benchmark():
    path = ROOT / "benchmarks/results/potentials.json"
    made = json.loads(path.read_text(encoding="utf-8"))
    assert potentials.table(made) in POTENTIALS
    kinds = [row["kind"] for row in made["rows"]]
    assert kinds == [kind for kind in config.kinds() if kind not in potentials.LEFT_OUT]


@pytest.mark.parametrize(
    ("name", "page"), [("md", "docs/simulating.md"), ("accuracy", "docs/potentials.md")]
)
def test_the_tables_of_pages_are_those_of_the_benchmarks(name, page):
    path = ROOT / f"benchmarks/results/{name}.json"
    made = json.loads(path.read_text(encoding="utf-8"))
    table = importlib.import_module(f"benchmarks.{name}.experiment").table(made)
    assert table in (ROOT / page).read_text(encoding="utf-8")
    # the same with another number is not
    assert table.replace("1", "2") not in (ROOT / page).read_text(encoding="utf-8")


def test_every_kind_of_potential_has_its_line():
    lines = re.findall(r"^- `(\w+)`: ", POTENTIALS, re.MULTILINE)
    assert sorted(lines) == sorted(config.kinds())
    for kind in config.kinds(config.PriorTerm):
        assert f"`{kind}`" in POTENTIALS.split("## What it costs")[0]
