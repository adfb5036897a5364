"""The pages' examples run, and their tables are those of the committed benchmarks."""

import importlib
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from bayespot import build, config
from bayespot.build import measurement
from bayespot.data import Frame
from bayespot.potentials import MACE, ZBL, HarmonicAngles, Scaled
from benchmarks import monitor, potentials
from benchmarks.uq import experiment as uq
from tests.unit.frames import WATER, frame

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/choosing-a-sampler.md").read_text(encoding="utf-8")
OBSERVABLES = (ROOT / "docs/observables.md").read_text(encoding="utf-8")
TRAINERS = ("difftre", "coarse_grained", "alanine", "stable", "observed")
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


def test_the_example_of_a_potential_that_sees_a_temperature(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", POTENTIALS, re.DOTALL)
    exec(compile(code, "potentials.md", "exec"), {})
    assert capsys.readouterr().out == "True\n"


def test_the_table_of_potentials_is_that_of_the_benchmark():
    path = ROOT / "benchmarks/results/potentials.json"
    made = json.loads(path.read_text(encoding="utf-8"))
    assert potentials.table(made) in POTENTIALS
    kinds = [row["kind"] for row in made["rows"]]
    assert kinds == [kind for kind in config.kinds() if kind not in potentials.LEFT_OUT]


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("md", "docs/simulating.md"),
        ("accuracy", "docs/potentials.md"),
        *((name, "docs/experiments.md") for name in TRAINERS),
    ],
)
def test_the_tables_of_pages_are_those_of_the_benchmarks(name, page):
    path = ROOT / f"benchmarks/results/{name}.json"
    made = json.loads(path.read_text(encoding="utf-8"))
    table = importlib.import_module(f"benchmarks.{name}.experiment").table(made)
    assert table in (ROOT / page).read_text(encoding="utf-8")
    # the same with another number is not
    assert table.replace("1", "2") not in (ROOT / page).read_text(encoding="utf-8")
    if name in TRAINERS:
        figures = [path.name for path in (ROOT / "benchmarks/results").glob(f"{name}*.png")]
        assert figures
        for figure in figures:
            assert f"benchmarks/results/{figure})" in (ROOT / page).read_text(encoding="utf-8")


def test_the_tables_of_coverage_are_those_of_the_benchmark():
    page = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
    made = sorted((ROOT / "benchmarks/results").glob("uq_*.json"))
    assert {path.stem for path in made} >= {"uq_coverage", "uq_dft", "uq_route"}
    assert set(re.findall(r"<!-- (\w+) -->", page)) - {"end"} == {path.stem for path in made}
    for path in made:
        result = json.loads(path.read_text(encoding="utf-8"))
        assert uq.table(result) in page
        for figure in result["figures"]:
            assert f"benchmarks/results/{figure})" in page


def test_every_kind_of_potential_has_its_line():
    lines = re.findall(r"^- `(\w+)`: ", POTENTIALS, re.MULTILINE)
    assert sorted(lines) == sorted(config.kinds())
    for kind in config.kinds(config.PriorTerm):
        assert f"`{kind}`" in POTENTIALS.split("## What it costs")[0]


def test_the_configuration_of_observables_builds():
    (text,) = re.findall(r"```toml\n(.*?)```", OBSERVABLES, re.DOTALL)
    rest = {
        "data": {"train": "a", "test": "b"},
        "md": {"temperature": 300.0, "steps": 10_000, "equilibration": 2000},
    }
    atoms = bulk("Si", cubic=True)
    section = config.parse({**rest, **tomllib.loads(text)})
    made = build.observables(section, [Frame(atoms, 0.0, 0 * atoms.positions, "made", 0)])
    assert [o.name for o in made] == ["rdf_si", "stiffness", "bulk", "vdos", "free_energy"]
    assert made[0].pair == (14, 14)
    assert made[2].shape == ()
    assert made[4].density.bins == 60


def test_every_kind_of_observable_has_its_row():
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*?) \| (.*?) ?\|$", OBSERVABLES, re.MULTILINE)
    assert [row[0] for row in rows] == list(config.kinds(config.ObservableConfig))
    assert f"all {len(rows)} kinds" in (ROOT / "bayespot/template.toml").read_text(encoding="utf-8")
    for kind, unit, needs in rows:
        words = needs.replace("not NPT", "")
        assert ("periodic" in words or "NPT" in words) == (kind in measurement.PERIODIC), kind
        assert ("NPT" in words) == (kind in measurement.VOLUME + measurement.ISOBARIC), kind
        assert ("NVT" in words or "NVE" in words) == (kind in measurement.AT_TEMPERATURE), kind
        known = config.kinds(config.ObservableConfig)[kind].model_fields
        for key in re.findall(r"`(\w+)`", needs):
            assert key in known, (kind, key)
        assert unit


def test_the_example_of_an_observable_of_ones_own(capsys):
    ((code, said),) = re.findall(
        r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", OBSERVABLES, re.DOTALL
    )
    exec(compile(code, "observables.md", "exec"), {})
    found = capsys.readouterr().out.strip()
    number = r"\d+\.\d+"
    assert re.sub(number, "x", found) == re.sub(number, "x", said.strip()) == "x ± x Å"
    numbers = [[float(x) for x in re.findall(number, text)] for text in (found, said)]
    np.testing.assert_allclose(*numbers, atol=0.02)


@pytest.mark.slow
def test_the_example_of_measured_observables(capsys):
    page = (ROOT / "docs/measured.md").read_text(encoding="utf-8")
    ((code, said),) = re.findall(
        r"```python\n(.*?)```\n\n    (20 draws, σ = .*? Å)\n", page, re.DOTALL
    )
    exec(compile(code, "measured.md", "exec"), {})
    found = capsys.readouterr().out.strip()
    number = r"\d\.\d\d"
    assert re.sub(number, "x", found) == re.sub(number, "x", said)
    (a,), (b,) = (re.findall(number, text) for text in (found, said))
    assert abs(float(a) - float(b)) < 0.15


def test_the_example_of_a_watched_simulation(capsys):
    page = (ROOT / "docs/uncertainty.md").read_text(encoding="utf-8")
    ((code, said),) = re.findall(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", page, re.DOTALL)
    exec(compile(code, "uncertainty.md", "exec"), {})
    assert capsys.readouterr().out == said.replace("    ", "")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    rest = {
        "data": {"train": "a", "test": "b"},
        "md": {"temperature": 300.0, **tomllib.loads(text)["md"]},
        "observables": [{"kind": "mean_energy"}],
    }
    setting = build.mean_setting(config.parse(rest).md)
    assert setting is not None
    assert setting.monitor is not None
    assert setting.monitor.threshold == 0.5
    assert setting.short is not None
    made = json.loads((ROOT / "benchmarks/results/monitor.json").read_text(encoding="utf-8"))
    assert monitor.table(made) in page


def test_the_example_of_the_calculator(capsys):
    page = (ROOT / "docs/calculator.md").read_text(encoding="utf-8")
    ((code, said),) = re.findall(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", page, re.DOTALL)
    exec(compile(code, "calculator.md", "exec"), {})
    assert capsys.readouterr().out == said.replace("    ", "")
    made = json.loads((ROOT / "benchmarks/results/calculator.json").read_text(encoding="utf-8"))
    assert importlib.import_module("benchmarks.calculator").table(made) in page
