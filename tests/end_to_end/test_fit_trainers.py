"""The trainers that simulate, from TOML to their report: argon of 32 atoms."""

import copy
import json

import ase.io
import numpy as np
import pytest
import tomli_w
from ase.build import bulk
from typer.testing import CliRunner

from bayespot.cli import app
from bayespot.trainers import Phase

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compile_module_fast")]
RAW = {
    "potential": {"kind": "lennard_jones", "sigma": 3.4, "epsilon": 0.03, "cutoff": 5.0,
                  "trainable": True},
    "md": {"temperature": 20.0, "time_step": 5.0, "friction": 0.02, "equilibration": 100,
           "steps": 400, "stride": 20, "replicas": 2, "min_distance": 2.5},
}  # fmt: skip
ENTROPY = {"kind": "relative_entropy", "reference": "shown.xyz", "frames_per_update": 20,
           "optimizer": {"learning_rate": 0.1}}  # fmt: skip
PRESSURE = {"observable": {"kind": "pressure"}, "value": 0.0, "error": 0.02}
RDF = {"kind": "rdf", "high": 5.0, "bins": 25}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Crystals whose atoms scatter as those of a potential softer than that of ``RAW``."""
    folder, rng = tmp_path_factory.mktemp("trainers"), np.random.default_rng(0)
    frames = [bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2) for _ in range(40)]
    ase.io.write(folder / "rest.xyz", frames[0], format="extxyz")
    for atoms in frames:
        atoms.rattle(0.15, rng=rng)
    ase.io.write(folder / "shown.xyz", frames, format="extxyz")
    return folder


def _fit(folder, name, **changes):
    raw = copy.deepcopy(RAW)
    for key, value in changes.items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) else value
    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(raw))
    done = CliRunner().invoke(app, ["fit", str(path), "-o", str(folder / name), "--debug"])
    assert done.exit_code == 0, (done.output, done.exception)
    with np.load(folder / name / "history.npz") as history:
        return done, json.loads((folder / name / "fit.json").read_text()), dict(history)


def test_relative_entropy(folder):
    """A softer law is found by a smaller epsilon; the curve of its structure comes along."""
    shown = {"observable": RDF, "value": [0.0] * 25}
    done, made, history = _fit(
        folder, "entropy", trainer={**ENTROPY, "updates": 12, "members": 2}, targets=[shown]
    )
    first, last = made["course"]["loss"]
    assert last < first - 1.0
    assert history["free_energy"].shape == (12, 2)
    assert np.shape(made["targets"][0]["after"]) == (2, 2, 25)
    before, after = (np.max(made["targets"][0][k][0]) for k in ("before", "after"))
    assert after < 0.95 * before  # peaks are lower where atoms scatter more
    assert "argon" not in done.stdout
    for name in ("loss.png", "loss.svg", "targets.png", "targets.svg"):
        assert (folder / "entropy" / name).stat().st_size > 0


def test_turns(folder):
    parts = [ENTROPY, {"kind": "difftre", "optimizer": {"learning_rate": 0.01}}]
    trainer = {"kind": "interleaved", "updates": 3, "parts": parts, "turns": [1, 2]}
    done, made, history = _fit(folder, "turns", trainer=trainer, targets=[PRESSURE])
    assert {"relative_entropy/loss", "difftre/loss", "difftre/pressure",
            "difftre/share"} <= set(history)  # fmt: skip
    (row,) = made["targets"]
    assert row["after"][0][0] != row["before"][0][0]
    assert len(history["difftre/loss"]) == 3
    assert np.isfinite(history["difftre/pressure"]).all()
    assert "difftre/loss" in done.stdout
    assert "pressure (GPa)" in done.stdout


def test_stable(folder):
    """Attraction at too short a distance: atoms come too close, and learn not to."""
    crystal = ase.io.read(folder / "rest.xyz")
    lengths = crystal.get_all_distances(mic=True)[np.triu_indices(32, 1)]
    edges = np.linspace(0, 5, 26)
    shells = 4 / 3 * np.pi * np.diff(edges**3) * 32 / crystal.get_volume()
    curve = 2 * np.histogram(lengths, edges)[0] / 32 / shells
    smooth = np.convolve(curve, [0.1, 0.2, 0.4, 0.2, 0.1], "same")
    done, made, history = _fit(
        folder, "stable",
        trainer={"kind": "stable", "updates": 40, "f_max": 0.5, "f_min": 0.0, "stable_for": 1000,
                 "optimizer": {"learning_rate": 0.02}},
        potential={"sigma": 2.6, "epsilon": 0.02},
        md={"temperature": 60.0, "equilibration": 0, "steps": 200, "replicas": 4,
            "min_distance": 3.0, "start": {"structure": "rest.xyz"}},
        targets=[{"observable": RDF, "value": smooth.tolist(), "weight": 25.0}],
    )  # fmt: skip
    phase, unstable = history["phase"][:, 0], history["unstable"][:, 0]
    assert phase[0] == Phase.SIMULATE
    assert (phase == Phase.LEARN).sum() >= 3
    assert unstable.max() >= 0.5
    assert unstable[-1] < 0.5
    assert made["stopped"] == "every member is stable for 1000 steps"
    assert made["stopped"] in done.stdout
    assert history["loss"][-1, 0] < history["loss"][phase == Phase.LEARN][0, 0]
