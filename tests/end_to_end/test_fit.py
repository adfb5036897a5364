"""``bayespot fit`` as a user runs it: argon by a known potential, whose parameters come back."""

import json
import re
import tomllib
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tomli_w
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from typer.testing import CliRunner

from bayespot import build, config, training
from bayespot.cli import app
from bayespot.data import Frame, Shift, make_dataset
from bayespot.draws import Draws
from bayespot.files import load_arrays
from bayespot.likelihood import energy_forces_stress
from bayespot.potentials import LennardJones
from bayespot.progress import Progress
from tests.end_to_end.processes import FAST, command, kill_when

pytestmark = pytest.mark.usefixtures("compile_module_fast")
TRUTH = {"log_sigma": np.log(3.4), "log_epsilon": np.log(0.0104)}
UPDATES = 400
LIKE = {"potential": {name: jax.ShapeDtypeStruct((), jnp.float32) for name in TRUTH}}
RESULTS = ("history.npz", "posterior.nc", "fit.json", "loss.svg", "loss.png")
LABELS = """
title = "argon by Lennard-Jones"

[data]
train = "train.extxyz"
test = "test.extxyz"
validation_fraction = 0.25
stress_key = "dft_stress"

[potential]
kind = "lennard_jones"
sigma = 3.3
epsilon = 0.012
cutoff = 5.0
trainable = true

[trainer]
kind = "force_matching"
updates = 400
members = 2
batch_size = 2
steps = 1
checkpoint_seconds = 0.0

[trainer.weights]
energy = 0.0          # argon has no free energy of an atom to fit
stress = 1000.0

[trainer.optimizer]
learning_rate = 0.01
"""
PAGE = (Path(__file__).resolve().parents[2] / "docs/training.md").read_text(encoding="utf-8")
CURVE = """
[[targets]]
value = [0.0, 0.0]
weight = 1e-9
[targets.observable]
kind = "rdf"
high = 5.0
bins = 2
"""


def _label(frames: list[ase.Atoms]) -> None:
    """Energies, forces and stresses of the true potential."""
    potential, params = LennardJones(3.4, 0.0104, 5.0, trainable=True), TRUTH
    bare = [Frame(a, 0.0, np.zeros((len(a), 3)), "made", i) for i, a in enumerate(frames)]
    batch = make_dataset(bare, Shift((18,), (0.0,)), 5.0).batch
    made = jax.jit(jax.vmap(lambda one: energy_forces_stress(potential, params, one)))(batch)
    for atoms, energy, forces, stress in zip(frames, *(np.asarray(x) for x in made), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=forces)
        atoms.info["dft_stress"] = stress


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder, rng, frames = tmp_path_factory.mktemp("fit"), np.random.default_rng(0), []
    for _ in range(16):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
        atoms.set_cell(atoms.cell * rng.uniform(0.97, 1.03), scale_atoms=True)
        atoms.rattle(0.15, rng=rng)
        frames.append(atoms)
    _label(frames)
    ase.io.write(folder / "train.extxyz", frames[:12])
    ase.io.write(folder / "test.extxyz", frames[12:])
    ase.io.write(folder / "argon.xyz", bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2))
    (folder / "labels.toml").write_text(LABELS)
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (folder / "argon.toml").write_text(text + CURVE)
    return folder


def _call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def labels(folder):
    done = _call("fit", folder / "labels.toml", "-o", folder / "out")
    assert done.exit_code == 0, done.output
    return folder, folder / "out", done


def _changed(path: Path, name: str, change) -> Path:
    raw = tomllib.loads(path.read_text())
    change(raw)
    other = path.with_name(f"{name}.toml")
    other.write_text(tomli_w.dumps(raw))
    return other


def test_the_true_parameters_come_back(labels):
    _, out, _ = labels
    draws = Draws.load(out / "posterior.nc", LIKE, partly=True)
    assert draws.healthy.tolist() == [True, True]
    for name, exact in TRUTH.items():
        found = draws.params["potential"][name]
        assert found.shape == (2, 1)
        np.testing.assert_allclose(found, exact, atol=2e-3)
    assert len(set(draws.params["potential"]["log_sigma"].ravel().tolist())) == 2
    with np.load(out / "history.npz") as history:
        assert {"loss", "validation_loss", "forces_rmse", "stress_rmse"} <= set(history.files)
        assert history["loss"].shape == (UPDATES, 2)
        first, last = history["forces_rmse"][[0, -1]]
    assert np.all(last < 0.02 * first)


def test_the_table_says_what_the_file_says(labels):
    _, out, done = labels
    made = json.loads((out / "fit.json").read_text())
    with np.load(out / "history.npz") as history:
        np.testing.assert_allclose(
            made["errors"]["validation"]["forces"]["rmse"],
            np.take_along_axis(
                history["forces_rmse"], history["validation_loss"].argmin(0)[None], 0
            )[0],
            rtol=0.02,
        )
    assert "2 members, 400 updates made" in done.stdout
    rows = re.findall(r"^  (train|validation|test)((?: +[\d.e-]+ \| [\d.e-]+){3})$", done.stdout,
                      re.MULTILINE)  # fmt: skip
    assert [name for name, _ in rows] == ["train", "validation", "test"]
    for name, text in rows:
        cells = np.array(re.findall(r"([\d.e-]+) \| ([\d.e-]+)", text), float)
        for (each, mean), (kind, factor) in zip(
            cells, (("energy", 1e3), ("forces", 1e3), ("stress", 160.2)), strict=True
        ):
            found = made["errors"][name][kind]
            assert each == pytest.approx(factor * np.mean(found["rmse"]), rel=0.01)
            assert mean == pytest.approx(factor * found["rmse_of_mean"], rel=0.01)
    for name in (*RESULTS, "config.toml", "run.log", "timings.json"):
        assert (out / name).stat().st_size > 0
    assert not (out / "checkpoints").exists()
    assert "train     100 %" in done.stdout
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_fit_answers_at_once_and_another_is_refused(labels):
    folder, out, first = labels
    done = _call("fit", folder / "labels.toml", "-o", out)
    assert "fitted already" in done.stdout
    assert (
        done.stdout.split("\nRMSE")[1].splitlines()[:5]
        == (first.stdout.split("\nRMSE")[1].splitlines()[:5])
    )
    other = _changed(folder / "labels.toml", "other", lambda raw: raw["trainer"].update(steps=2))
    done = _call("fit", other, "-o", out)
    assert done.exit_code == 2
    assert "holds a run with other settings" in done.stderr


def test_kill_9_and_the_result_is_the_same(labels, tmp_path):
    folder, whole, _ = labels
    out = tmp_path / "out"
    state = out / "checkpoints" / "fit.npz"

    def under_way() -> bool:
        return state.exists() and load_arrays(state)[1]["updates"] > UPDATES // 8

    fit = command("fit", folder / "labels.toml", out)
    kill_when(under_way, fit, folder, **FAST)
    made = load_arrays(state)[1]["updates"]
    assert UPDATES // 8 < made < UPDATES
    assert not (out / "posterior.nc").exists()
    done = _call("fit", folder / "labels.toml", "-o", out)
    assert done.exit_code == 0, done.output
    percents = [int(x) for x in re.findall(r"train +(\d+) %", done.stdout)]
    assert percents[0] > 100 * made // UPDATES - 1  # it did not begin again
    for name in RESULTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_its_members_are_simulated(labels):
    folder, out, _ = labels
    raw = {
        **{k: v for k, v in tomllib.loads(LABELS).items() if k in ("data", "potential")},
        "sampler": {"method": "fit", "fit": "out"},
        "md": {"temperature": 20.0, "steps": 20, "blocks": 2, "draws": 2, "replicas": 2,
               "start": {"structure": "argon.xyz"}},
        "observables": [{"kind": "mean_energy"}],
    }  # fmt: skip
    path = folder / "simulate.toml"
    path.write_text(tomli_w.dumps(raw))
    done = _call("simulate", path, "-o", folder / "simulated")
    assert done.exit_code == 0, done.output
    assert "draws are the members of" in done.stdout
    assert "2 draws, 4 of 4 replicas stable" in done.stdout
    made = json.loads((folder / "simulated" / "simulation.json").read_text())
    # argon at rest and a little warmth, and what was taken off the labels comes back
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2)
    _label([atoms])
    shift = Draws.load(out / "posterior.nc", {}, partly=True).provenance["energy_shift"]
    rest = atoms.get_potential_energy() + 32 * shift["energies"][0]
    assert made["observables"]["mean_energy"]["mean"] == pytest.approx(rest, abs=0.1)
    assert abs(shift["energies"][0]) > 0.02
    for i, (change, text) in enumerate((
        (lambda raw: raw["potential"].update(sigma=3.2), "fitted with another [potential]"),
        (lambda raw: raw.update(run={"seed": 1}), "fitted to energies of other frames"),
        (lambda raw: raw["sampler"].update(fit="no"), "holds no posterior.nc"),
    )):  # fmt: skip
        wrong = _changed(path, "wrong", change)
        for words in (["validate", wrong], ["simulate", wrong, "-o", folder / f"wrong{i}"]):
            done = _call(*words)
            assert done.exit_code == 2
            assert text in done.stderr


def test_validate_knows_both(labels):
    folder, _, _ = labels
    done = _call("validate", folder / "labels.toml")
    assert "9 train, 3 validation, 4 test frames" in done.stdout
    done = _call("validate", folder / "argon.toml")
    assert done.stdout.strip().endswith("is valid: 2 targets")
    done = _call("run", folder / "labels.toml", "-o", folder / "no")
    assert "Train with bayespot fit" in done.stderr
    lost = _changed(folder / "argon.toml", "lost", lambda raw: raw["md"].pop("start"))
    done = _call("validate", lost)
    assert done.exit_code == 2
    assert "[md.start]" in done.stderr


@pytest.mark.slow
def test_the_page_on_training_runs_and_the_density_becomes_the_target(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    done = _call("fit", "argon.toml")
    assert done.exit_code == 0, done.output
    out = folder / "runs" / "argon"
    made = json.loads((out / "fit.json").read_text())
    density, curve = made["targets"]
    (before,), (error,) = density["before"]
    (after,), (last_error,) = density["after"]
    assert abs(before - 1.8) > 0.1
    assert abs(after - 1.8) < 0.03
    assert 0 < error < 0.02
    assert 0 < last_error < 0.02
    assert np.shape(curve["after"]) == (2, 1, 2)
    (line,) = re.findall(r"density \(g/cm³\) +(\S+ ± \S+) +(\S+) ± \S+ +(\S+) ±", done.stdout)
    assert line[0] == "1.800 ± 0.01"
    assert float(line[1]) == pytest.approx(before, abs=0.01)
    assert float(line[2]) == pytest.approx(after, abs=0.01)
    assert (out / "targets.svg").is_file()
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    capsys.readouterr()
    exec(compile(code, "training.md", "exec"), {})
    with np.load(out / "history.npz") as history:
        assert history["loss"].shape == (10, 1)
    (sigma,) = re.fullmatch(r"sigma = (\d\.\d\d) Å\n", capsys.readouterr().out).groups()
    assert 3.3 < float(sigma) < 3.45
    # and another fit starts where this one ended, from as many members as are wanted
    again = config.load_fit(
        _changed(
            folder / "argon.toml", "again",
            lambda raw: raw["trainer"].update(start="runs/argon", members=2),
        )
    )  # fmt: skip
    job = training._Job(again, folder / "again", Progress(enabled=False))
    job.input = build.read_input(again)
    started = np.exp(job._start(jax.random.key(0))["log_sigma"])
    np.testing.assert_allclose(started, [float(sigma)] * 2, atol=0.006)
