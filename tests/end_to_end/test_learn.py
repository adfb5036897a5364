"""``bayespot learn`` as a user runs it: water by a force field, labels that fail, kill -9."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import ase.io
import jax
import numpy as np
import pytest
import tomli_w
from typer.testing import CliRunner

from bayespot import calculators, committee, config
from bayespot.cli import app
from bayespot.learning.job import REACHED, stops
from bayespot.report.learning import lines, page
from benchmarks import learning as benchmark

RESULTS = ("learn.json", "learn.md", "learn.png", "learn.svg", "posterior.nc", "potential.json",
           "observables.nc", "report.json", "report.html", "train.extxyz",
           "validation.extxyz")  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
TRUTH = '''
import numpy as np
from ase.calculators.calculator import Calculator, CalculationFailed


class Water(Calculator):
    """Morse bonds, and a spring between the hydrogens; some calculations do not converge."""

    implemented_properties = ["energy", "forces"]
    offset = -10.0

    def calculate(self, atoms, properties, changes):
        super().calculate(atoms, properties, changes)
        energy, forces = self.offset, np.zeros((3, 3))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            arm = atoms.positions[j] - atoms.positions[i]
            d = np.linalg.norm(arm)
            if i == 0:
                e = np.exp(-2.0 * (d - 0.96))
                energy, slope = energy + 4.0 * (1 - e) ** 2, 16.0 * e * (1 - e)
            else:
                energy, slope = energy + 2.0 * (d - 1.52) ** 2, 4.0 * (d - 1.52)
                if int(1e4 * d) % 4 == 0:
                    raise CalculationFailed("no convergence\\nafter many lines of output")
            forces[i] += slope * arm / d
            forces[j] -= slope * arm / d
        self.results = {"energy": energy, "forces": forces}


class Other(Water):
    """Another method."""

    offset = -9.0
'''
CONFIG = """
title = "water"

[data]
train = "train.extxyz"
test = "test.extxyz"
validation_fraction = 0.25

[potential]
kind = "pair_mlp"
cutoff = 3.0
hidden = [8]

[sampler]
method = "ensemble"
chains = 4
[sampler.warm_start]
steps = 400
learning_rate = 0.02
batch_size = 4

[md]
temperature = 300.0
time_step = 0.5
steps = 160
equilibration = 40
blocks = 4
stride = 4
draws = 4
replicas = 2
max_bond_deviation = 2.0

[[observables]]
kind = "mean_energy"
[[observables]]
kind = "distances"
bins = 10

[learn]
calculator = "truth.py:Water"
rounds = 2
frames = 5
half_width = { mean_energy = 1e-6 }
max_unstable = 1.0

[learn.explore]
temperature = [300.0, 900.0]
steps = 200
stride = 10
replicas = 2
"""


@pytest.fixture(autouse=True, scope="module")
def _compile_fast():
    """Here and in processes: results are compared bit by bit."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def _call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def _frames(make, number, spread, seed):
    """Labelled structures; those that fail are left out."""
    rng, found = np.random.default_rng(seed), []
    flat = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
    while len(found) < number:
        atoms = ase.Atoms("OH2", flat + spread * rng.normal(size=(3, 3)))
        atoms.calc = make()
        try:
            atoms.get_potential_energy()
        except Exception:
            continue
        found.append(atoms)
    return found


def _changed(path, name, change):
    raw = tomllib.loads(path.read_text())
    change(raw)
    other = path.with_name(f"{name}.toml")
    other.write_text(tomli_w.dumps(raw))
    return other


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn")
    (folder / "truth.py").write_text(TRUTH)
    (folder / "water.toml").write_text(CONFIG)
    make = calculators.named(f"{folder / 'truth.py'}:Water")
    ase.io.write(folder / "train.extxyz", _frames(make, 12, 0.02, 0))
    ase.io.write(folder / "test.extxyz", _frames(make, 20, 0.12, 1))
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        done = _call("learn", "water.toml", "-o", "out")
    finally:
        os.chdir(before)
    assert done.exit_code == 0, done.output
    return folder / "out", json.loads((folder / "out" / "learn.json").read_text()), done


def test_everything_promised_is_there(whole):
    out, made, done = whole
    for name in (*RESULTS, "config.toml", "run.log", "timings.json"):
        assert (out / name).stat().st_size > 0, name
    assert not list(out.rglob("*.part"))
    assert not list(out.rglob("checkpoints"))
    assert made["stopped"] == "2 rounds made"
    assert not made["reached"]
    rounds = made["rounds"]
    assert [r["round"] for r in rounds] == [0, 1, 2]
    assert made["labels"] == sum(r.get("tried", 0) for r in rounds) == 10
    assert "label" in (out / "timings.json").read_text()
    assert "10 labels by truth.py:Water" in done.stdout
    assert lines(made)
    png = (out / "learn.png").read_bytes()
    assert png.startswith(b"\x89PNG")


def test_failed_labels_are_counted_shown_and_skipped(whole):
    out, made, _ = whole
    rounds = made["rounds"]
    failed = [f for r in rounds for f in r.get("failed", {}).values()]
    assert 0 < len(failed) == made["failed_labels"] < 10
    assert set(failed) == {"CalculationFailed: no convergence"}
    assert "failed: CalculationFailed: no convergence" in (out / "learn.md").read_text()
    assert "failed: CalculationFailed: no convergence" in (out / "run.log").read_text()
    for before, after in itertools.pairwise(rounds):
        assert before["added"] == before["tried"] - len(before["failed"])
        grown = [sum(r["frames"][s] for s in ("train", "validation")) for r in (before, after)]
        assert grown[1] - grown[0] == before["added"]
        assert after["frames"]["test"] == 20
    held = rounds[-1]["frames"]["validation"] - rounds[0]["frames"]["validation"]
    assert held == sum(round(0.25 * r["added"]) for r in rounds[:-1])


def test_what_was_learned_is_true(whole, folder):
    """Labels are the calculator's; frames at 900 K were unknown, and are known afterwards."""
    out, made, _ = whole
    make = calculators.named(f"{folder / 'truth.py'}:Water")
    known = ase.io.read(out / "train.extxyz", ":") + ase.io.read(out / "validation.extxyz", ":")
    assert len(known) == 12 + made["labels"] - made["failed_labels"]
    for atoms in known[-6:]:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        again = atoms.copy()
        again.calc = make()
        # positions in the file have eight decimals, and so may fail where the label did not
        try:
            exact = again.get_potential_energy()
        except Exception:
            continue
        assert energy == pytest.approx(exact, abs=1e-5)
        np.testing.assert_allclose(forces, again.get_forces(), atol=1e-4)
    first, last = made["rounds"][0], made["rounds"][-1]
    assert last["errors"]["forces_rmse"] < 0.7 * first["errors"]["forces_rmse"]
    before = first["before_training"]
    assert before["forces_rmse"] > 0
    assert before["forces_expected"] > 0
    # chosen: more uncertain than what was there to choose from
    assert np.median(first["chosen"]["uncertainty"]) > first["chosen"]["uncertainty_of_candidates"]
    assert first["explored"]["trajectories"] == 8
    assert first["explored"]["frames"] == 8 * 20


def test_the_posterior_is_as_any_other(whole, folder):
    out, made, _ = whole
    members = committee.load(out)
    assert members.members == 4
    test = ase.io.read(folder / "test.extxyz", ":")
    predicted = members.predict(test)
    gap = predicted.energy.mean(axis=0) - [a.get_potential_energy() for a in test]
    rmse = np.sqrt(np.mean((gap / 3) ** 2))
    assert rmse == pytest.approx(made["rounds"][-1]["errors"]["energy_rmse"], rel=0.02)
    report = json.loads((out / "report.json").read_text())
    o = report["observables"]["mean_energy"]
    assert (o["high95"] - o["low95"]) / 2 == pytest.approx(
        made["rounds"][-1]["observables"]["mean_energy"]["half_width"]
    )


def test_the_first_round_is_what_bayespot_run_would_have_made(whole, folder):
    out, made, _ = whole
    raw = tomllib.loads((folder / "water.toml").read_text())
    raw.pop("learn")
    (folder / "plain.toml").write_text(tomli_w.dumps(raw))
    shutil.copytree(out / "rounds" / "00", folder / "plain")
    done = _call("simulate", folder / "plain.toml", "-o", folder / "plain")
    assert done.exit_code == 0, done.output
    assert "sampled already" in done.stdout  # it takes the directory for its own
    assert "simulated already" in done.stdout
    found = json.loads((folder / "plain" / "simulation.json").read_text())["observables"]
    for name, o in found.items():
        half = np.ravel(np.subtract(o["high95"], o["low95"])).max() / 2
        assert half == pytest.approx(made["rounds"][0]["observables"][name]["half_width"])
    assert _call("simulate", folder / "plain.toml", "-o", out / "rounds" / "01").exit_code == 2


def test_a_finished_one_answers_at_once_and_another_is_refused(whole, folder, monkeypatch):
    out, made, _ = whole
    monkeypatch.chdir(folder)
    before = {name: (out / name).read_bytes() for name in RESULTS}
    done = _call("learn", "water.toml", "-o", "out")
    assert done.exit_code == 0
    assert "learned already" in done.stdout
    assert before == {name: (out / name).read_bytes() for name in RESULTS}
    other = _changed(folder / "water.toml", "other", lambda raw: raw["learn"].update(rounds=3))
    done = _call("learn", other, "-o", "out")
    assert done.exit_code == 2
    assert "holds a run with other settings" in done.stderr
    assert page(made) == (out / "learn.md").read_text()


def test_it_stops_when_the_observable_is_certain_enough(whole, folder, monkeypatch):
    """With a wider target the same first round is enough, and nothing is labelled."""
    out, made, _ = whole
    monkeypatch.chdir(folder)
    wide = 1.01 * made["rounds"][0]["observables"]["mean_energy"]["half_width"]
    other = _changed(
        folder / "water.toml", "wide",
        lambda raw: raw["learn"].update(half_width={"mean_energy": wide}),
    )  # fmt: skip
    first = folder / "wide" / "rounds" / "00"
    first.mkdir(parents=True)
    for name in ("fingerprint.json", "posterior.nc", "observables.nc"):
        shutil.copy(out / "rounds" / "00" / name, first)
    done = _call("learn", other, "-o", "wide")
    assert done.exit_code == 0, done.output
    assert "as certain as wanted: 0 labels" in done.stdout
    found = json.loads((folder / "wide" / "learn.json").read_text())
    assert found["reached"]
    assert found["labels"] == 0
    assert found["rounds"][0]["observables"] == made["rounds"][0]["observables"]
    assert (folder / "wide" / "posterior.nc").read_bytes() == (first / "posterior.nc").read_bytes()


def test_when_it_stops():
    def record(width, lost=0):
        return {"observables": {"e": {"half_width": width}},
                "stability": {"draws": 10 - lost, "draws_lost": lost}}  # fmt: skip

    settings = config.Learn(half_width={"e": 1.0}, rounds=3, labels=20)
    assert stops(settings, record(1.1), 0, 0) is None
    assert stops(settings, record(0.9), 0, 0) == REACHED
    assert stops(settings, record(0.9, lost=1), 0, 0) == REACHED
    assert stops(settings, record(0.9, lost=2), 0, 0) is None  # a band of survivors
    assert stops(settings, record(None, lost=10), 0, 0) is None
    assert stops(settings, record(1.1), 3, 5) == "3 rounds made"
    assert stops(settings, record(1.1), 2, 20) == "20 labels spent"
    # without a target only rounds and labels end it
    assert stops(config.Learn(rounds=3), record(0.0), 2, 1000) is None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda raw: raw["learn"].update(calculator="truth.py:Nothing"), "has no callable Nothing"),
        (lambda raw: raw["learn"].update(calculator="gfn3"), 'there is no calculator "gfn3"'),
        (lambda raw: raw["learn"].update(half_width={"pressure": 1.0}), "names pressure"),
        (lambda raw: raw["learn"].update(frame=3), "Did you mean frames"),
        (lambda raw: raw["learn"]["explore"].update(temperature=[300.0]), "1 temperatures for 2"),
        (lambda raw: raw["sampler"].update(method="fit", fit="x"), "has nothing to train"),
    ],
)
def test_mistakes_are_told_before_anything_runs(folder, monkeypatch, change, text):
    monkeypatch.chdir(folder)
    wrong = _changed(folder / "water.toml", "wrong", change)
    done = _call("validate", wrong)
    assert done.exit_code == 2
    assert text in done.stderr


def test_a_calculator_of_another_method_is_refused(folder, monkeypatch):
    monkeypatch.chdir(folder)
    other = _changed(
        folder / "water.toml",
        "method",
        lambda raw: raw["learn"].update(calculator="truth.py:Other"),
    )
    done = _call("learn", other, "-o", "method")
    assert done.exit_code == 2
    assert "differs from the one there by" in done.stderr
    done = _call("run", other, "-o", "method")
    assert "Learn with bayespot learn" in done.stderr


def test_the_template_is_valid_and_validate_knows_it(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert "12 frames" not in _call("validate", "water.toml").stderr
    done = _call("validate", "water.toml")
    assert "9 train, 3 validation, 20 test frames, 2 observables" in done.stdout
    text = _call("template", "--learn").stdout
    made = config.parse_learn(tomllib.loads(text))
    assert made.learn.explore.replicas == 2
    # what is commented out is a key there is
    wide = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert config.parse_learn(tomllib.loads(wide)).learn.explore.bias.depth == 0.5
    assert _call("template", "--learn", "--fit").exit_code == 2


def test_the_page_on_learning(folder, monkeypatch, capsys):
    """Its section is valid, its example says what the page says, its table is the benchmark's."""
    monkeypatch.chdir(folder)
    text = (ROOT / "docs/learning.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    raw = tomllib.loads((folder / "water.toml").read_text()) | tomllib.loads(section)
    (folder / "page.toml").write_text(tomli_w.dumps(raw))
    assert config.load_learn("page.toml").learn.labels == 40
    ((code, said),) = re.findall(r"```python\n(.*?)```\n\n((?:    [^\n]*\n)+)", text, re.DOTALL)
    exec(compile(code, "learning.md", "exec"), {})
    assert [line.strip() for line in said.splitlines()] == capsys.readouterr().out.splitlines()
    made = json.loads((ROOT / "benchmarks/results/learning.json").read_text(encoding="utf-8"))
    assert benchmark.table(made) in text
    assert (ROOT / "benchmarks/results/learning.png").is_file()
    for key in ("similar", "closest", "max_unstable", "warm_share", "retrain", "bias"):
        assert f"`{key}" in text
        assert key in (ROOT / "bayespot/template_learn.toml").read_text(encoding="utf-8")


def test_the_truth_of_the_benchmark_conserves_energy():
    x = benchmark.sampled(600.0, 3, 0, sweeps=50)
    forces = benchmark.energy_and_forces(x)[1]
    step = 1e-5 * np.random.default_rng(0).normal(size=x.shape)
    change = np.subtract(*(benchmark.energy_and_forces(x + s * step)[0] for s in (1, -1)))
    np.testing.assert_allclose(change, -2 * np.sum(forces * step, axis=(1, 2)), rtol=1e-4)


@pytest.mark.slow
def test_kill_9_at_every_stage_and_the_result_is_the_same(whole, folder, tmp_path):
    """Killed as soon as each of these files is there, in another process."""
    out = tmp_path / "out"
    code = (
        "import jax; jax.config.update('jax_disable_most_optimizations', True);"
        " from bayespot.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "learn", "water.toml", "-o", str(out)]
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    for mark in ("rounds/00/posterior.nc", "rounds/00/chosen.npz", "rounds/00/labels/0001.json",
                 "rounds/01/judged.json", "rounds/02/observables.nc"):  # fmt: skip
        process = subprocess.Popen(
            command, cwd=folder, env=there, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 200
        while not (out / mark).exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        assert (out / mark).exists(), mark
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(
        command, cwd=folder, env=there, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in RESULTS:
        assert (out / name).read_bytes() == (whole[0] / name).read_bytes(), name
    shutil.rmtree(out)
