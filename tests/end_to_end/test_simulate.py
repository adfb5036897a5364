"""``bayespot simulate`` as a user runs it: silicon at constant pressure, data made here."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import ase.io
import numpy as np
import pytest
import tomli_w
from ase.build import bulk
from typer.testing import CliRunner

from bayespot.cli import _stability, app
from bayespot.config import MDConfig
from bayespot.md import Trajectories
from bayespot.results import load_trajectories, stability_summary
from tests.end_to_end.processes import command, kill_when, run
from tests.end_to_end.silicon import SETTINGS, frames

PAGE = Path(__file__).resolve().parents[2] / "docs/simulating.md"
RESULTS = ("posterior.nc", "observables.nc", "simulation.json")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulate")
    ase.io.write(folder / "train.extxyz", frames(30, 0))
    ase.io.write(folder / "test.extxyz", frames(4, 1))
    ase.io.write(folder / "start.xyz", bulk("Si", cubic=True), format="extxyz")
    config = folder / "small.toml"
    config.write_text(SETTINGS)
    done = run(command("simulate", config, folder / "out"), folder)
    assert done.returncode == 0, done.stderr
    return config, folder / "out", done


def _number(text: str) -> float:
    return float(text.replace("−", "-"))


def _rows(printed: str) -> dict[str, list[float]]:
    """Label -> numbers of each line of the printed table."""
    lines = printed.split("Observables")[1].splitlines()[2:]
    table = lines[: lines.index("")]
    return {line[2:32].strip(): [_number(x) for x in line[32:].split()] for line in table
            if "(curve)" not in line}  # fmt: skip


def test_the_table_says_what_the_file_says(unbroken):
    _, out, done = unbroken
    made = json.loads((out / "simulation.json").read_text())
    assert "3 draws, 6 of 6 replicas stable" in done.stdout
    assert "ns/day" in done.stdout
    assert f"{out / 'simulation.json'}  (" in done.stdout
    assert not (out / "checkpoints").exists()
    rows, seen = _rows(done.stdout), 0
    for label, numbers in rows.items():
        name, _, at = label.partition(" at ")
        if name == "peak":
            o, where = made["observables"]["rdf"], float(at.removesuffix(" Å"))
            i = int(np.argmin(np.abs(np.asarray(o["axis"]) - where)))
            o = {k: v[i] for k, v in o.items() if isinstance(v, list)}
        else:
            o = next(x for x in made["observables"].values() if label.startswith(x["title"]))
            assert label == f"{o['title']} ({o['unit']})"
        half = (o["high95"] - o["low95"]) / 2
        mean, *rest = numbers
        assert abs(mean - o["mean"]) <= max(0.06 * o["total"], 0.5)
        np.testing.assert_allclose(rest, [half, o["parameter"], o["md_of_mean"]], rtol=0.06)
        assert o["low95"] < o["low68"] < o["mean"] < o["high68"] < o["high95"]
        seen += 1
    assert seen >= 5
    assert {"lattice constant (Å)", "density (g/cm³)", "bulk modulus (GPa)"} < set(rows)


def test_the_numbers_are_those_of_silicon(unbroken):
    """And follow from the stored averages: volumes of 16 atoms, 28.0855 u each."""
    _, out, _ = unbroken
    made = json.loads((out / "simulation.json").read_text())["observables"]
    stored = load_trajectories(out / "observables.nc")
    assert np.all(stored.reason == 0)
    volume = stored.means["lattice_constant"]["volume"].astype(float).mean(axis=(0, 2))
    assert made["lattice_constant"]["mean"] == pytest.approx(np.cbrt(volume / 2).mean(), rel=1e-6)
    density = (16 * 28.085 * 1.66053907 / volume).mean()
    assert made["density"]["mean"] == pytest.approx(density, rel=1e-5)
    moments = stored.means["bulk_modulus"]
    square, mean = (
        moments[k].astype(float).mean(axis=(0, 2)) for k in ("excess_squared", "excess")
    )
    # 1.380649e-23 J/K * 100 K, over GPa Angstrom^3
    modulus = 1.380649 * volume / (square - mean**2)
    assert made["bulk_modulus"]["mean"] == pytest.approx(modulus.mean(), rel=1e-3)
    # what three small networks learned of Stillinger and Weber's crystal: 5.43 Angstrom
    assert 5.2 < made["lattice_constant"]["mean"] < 5.7
    rdf = {k: np.asarray(made["rdf"][k]) for k in ("axis", "mean")}
    first = np.argmax(rdf["mean"])
    assert rdf["axis"][first] == pytest.approx(2.35, abs=0.15)
    shells = 4 * np.pi * rdf["axis"] ** 2 * 0.1
    near = np.sum((rdf["mean"] * shells)[rdf["axis"] < 3.0]) * 16 / volume.mean()
    assert near == pytest.approx(4.0, abs=0.3)
    temperature = stored.temperature.mean()
    assert 60 < temperature < 140


def test_a_second_call_repeats_nothing(unbroken):
    config, out, first = unbroken
    before = {name: (out / name).read_bytes() for name in RESULTS}
    done = run(command("simulate", config, out), config.parent)
    assert done.returncode == 0
    assert "sampled already" in done.stdout
    assert "simulated already" in done.stdout
    assert "steps/s" not in done.stdout
    assert "ns/day" not in done.stdout
    assert before == {name: (out / name).read_bytes() for name in RESULTS}
    assert _rows(done.stdout) == _rows(first.stdout)


def test_kill_9_while_simulating_and_the_result_is_the_same(unbroken, tmp_path):
    config, whole, _ = unbroken
    out = tmp_path / "out"
    out.mkdir()
    for name in ("fingerprint.json", "config.toml", "posterior.nc"):
        shutil.copy(whole / name, out)
    state = out / "checkpoints" / "md" / "state.npz"
    kill_when(state.exists, command("simulate", config, out), config.parent)
    assert not (out / "observables.nc").exists()
    done = run(command("simulate", config, out), config.parent)
    assert done.returncode == 0, done.stderr
    assert "simulate  100 %" in done.stdout
    assert "simulate   16 %" not in done.stdout  # the first block was not repeated
    for name in RESULTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def _changed(config: Path, name: str, change) -> Path:
    raw = tomllib.loads(config.read_text())
    change(raw)
    path = config.with_name(f"{name}.toml")
    path.write_text(tomli_w.dumps(raw))
    return path


MISTAKES = {
    "missing": (lambda raw: raw["md"]["start"].update(structure="no.xyz"),
                ("there is no structure", "no.xyz", "[md.start]")),
    "unreadable": (lambda raw: raw["md"]["start"].update(structure="small.toml"),
                   ("small.toml cannot be read", "Give a file ASE reads")),
    "germanium": (lambda raw: raw["md"]["start"].update(structure="germanium.xyz"),
                  ("elements", "32", "germanium.xyz", "training lacks")),
    "constant volume": (lambda raw: raw["md"].update(ensemble="nvt"),
                        ("bulk_modulus", "volume is constant", '"npt"')),
    "seven": (lambda raw: raw["observables"][0].update(atoms_per_cell=7),
              ("16 atoms are no whole number of cells of 7", "atoms_per_cell")),
    "pair": (lambda raw: raw["observables"][3].update(elements=["Si", "Ge"]),
             ("rdf", "element 32", "does not hold")),
    "open": (lambda raw: raw["md"].update(start={"structure": "open.xyz"}),
             ("lattice_constant", "periodic in all three directions")),
    "zero": (lambda raw: raw["md"]["start"].update(repeat=[2, 0, 1]),
             ("md.start.repeat", "greater than or equal to 1")),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_in_one_line(unbroken, name):
    config = unbroken[0]
    folder = config.parent
    ase.io.write(folder / "germanium.xyz", bulk("Ge", cubic=True), format="extxyz")
    ase.io.write(folder / "open.xyz", ase.Atoms("Si8", bulk("Si", cubic=True).positions))
    change, texts = MISTAKES[name]
    path = _changed(config, name, change)
    for words in (["validate", path], ["simulate", path, "-o", folder / f"out {name}"]):
        done = CliRunner().invoke(app, [str(x) for x in words])
        assert done.exit_code == 2, done.output
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("Error: ")
        for text in texts:
            assert text in line
        assert "bug" not in line


def test_without_repeat_the_structure_is_taken_as_it_is(unbroken):
    """Eight atoms, not sixteen; and the run directory of another start is not continued."""
    config, out, _ = unbroken
    path = _changed(config, "single", lambda raw: raw["md"]["start"].pop("repeat"))
    done = CliRunner().invoke(app, ["validate", str(path)])
    assert done.exit_code == 0
    assert "24 train, 6 validation, 4 test frames, 4 observables" in done.stdout
    before = (out / "simulation.json").read_bytes()
    done = CliRunner().invoke(app, ["simulate", str(path), "-o", str(out)])
    assert done.exit_code == 2
    assert "holds a run with other settings" in done.stderr
    assert (out / "simulation.json").read_bytes() == before


def test_failed_replicas_are_counted_with_their_reasons(capsys):
    reason = np.array([[0, 3], [0, 0], [1, 3]])
    failed_at = np.array([[-1, 60], [-1, -1], [200, 150]])
    made = Trajectories({}, np.full((1, 3, 2), 300.0), reason, failed_at, 0)
    _stability(stability_summary(made, MDConfig(temperature=100.0, time_step=2.0)))
    assert capsys.readouterr().out.strip() == (
        "3 draws, 3 of 6 replicas stable (a number is not finite: 1; two atoms came too close: 2;"
        " first after 120 fs)"
    )


def test_the_page_on_simulating_runs_and_prints_what_it_says(capsys):
    page = PAGE.read_text(encoding="utf-8")
    ((code, said),) = re.findall(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", page, re.DOTALL)
    exec(compile(code, "simulating.md", "exec"), {})
    found = capsys.readouterr().out.splitlines()
    said = [line.strip() for line in said.splitlines()]
    assert len(found) == len(said) == 4
    number = r"\d+\.\d+"
    for one, other in zip(found, said, strict=True):
        assert re.sub(number, "x", one) == re.sub(number, "x", other)
        numbers = [[float(x) for x in re.findall(number, line)] for line in (one, other)]
        np.testing.assert_allclose(*numbers, atol=0.04)  # machines round differently
