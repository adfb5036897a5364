"""Part ``route``: from a file of labels to a report, beside apax's ensembles.

Both learn ethanol from the same frames with eight networks, for as many epochs, and predict the
same test frames; ``bayespot calibrate`` judges both by the same page.  Ours is the command line
with its defaults: ``bayespot fit``, ``bayespot calibrate``.  Every stage is a process of its own,
start-up and compilation included, as a user waits for it.  Seconds of apax's training hold up to
30 in which TensorFlow gives up its iterators and nothing is computed; core seconds do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import Setting, markdown, number
from benchmarks.uq.store import kept
from benchmarks.uq.timing import Clock

ROOT = Path(__file__).parents[2]
PEERS = Path(os.environ.get("BAYESPOT_PEERS", ROOT / ".peers"))
MEMBERS = 8
VERSION = 2

CONFIG = """title = "Ethanol, eight SchNets"
[run]
seed = 0
[data]
train = "{train}"
validation_fraction = 0.2
test = "{test}"
[potential]
kind = "schnet"
cutoff = 5.0
features = 32
interactions = 2
[trainer]
kind = "force_matching"
updates = {epochs}
members = {members}
batch_size = 8
[trainer.optimizer]
learning_rate = 5e-3
"""


class TooLong(Exception):
    """A stage that was not waited for."""


def run(setting: Setting, folder: Path) -> dict:
    """Ours and, where it is installed, the peer's."""
    quick = setting == "quick"
    frames, epochs, patience = (100, 10, 600) if quick else (500, 200, 7200)
    where = (folder / setting / "route").resolve()
    where.mkdir(parents=True, exist_ok=True)
    files = _files(where, frames, 100 if quick else 250)
    depends = {"version": VERSION, "frames": frames, "epochs": epochs}
    routes = {
        "bayespot": kept(where / "ours.json", depends, lambda: _ours(where, files, epochs)),
        "apax": _installed() or kept(
            where / "apax.json", depends | {"patience": patience},
            lambda: _apax(where, files, epochs, patience),
        ),
    }  # fmt: skip
    return {"routes": routes, "frames": frames, "epochs": epochs, "members": MEMBERS}


def _installed() -> dict | None:
    if (PEERS / "apax" / "bin" / "python").exists():
        return None
    return {"failed": "not installed: benchmarks/peers.sh apax"}


def _files(where: Path, train: int, test: int) -> dict[str, Path]:
    """The first frames of what ships with the examples, four fifths of them to learn from."""
    import ase.io
    import numpy as np

    given = ROOT / "examples" / "ethanol"
    frames = ase.io.read(given / "train.extxyz", ":")
    assert isinstance(frames, list)
    order = np.random.default_rng(0).permutation(len(frames))[:train]
    chosen = [frames[i] for i in order]
    parts = {
        "all": chosen, "train": chosen[: train * 4 // 5], "valid": chosen[train * 4 // 5 :],
        "test": ase.io.read(given / "test.extxyz", f":{test}"),
    }  # fmt: skip
    made = {name: where / f"{name}.extxyz" for name in parts}
    for name, path in made.items():
        ase.io.write(path, parts[name], format="extxyz")
    return made


def _ours(where: Path, files: dict[str, Path], epochs: int) -> dict:
    import shutil

    config, made = where / "ours.toml", where / "ours"
    shutil.rmtree(made, ignore_errors=True)  # what a killed run left would be resumed, in no time
    text = CONFIG.format(train=files["all"], test=files["test"], epochs=epochs, members=MEMBERS)
    config.write_text(text, encoding="utf-8")
    fit = _stage(["fit", str(config), "--output", str(made)], where)
    page = _stage(["calibrate", str(made), "--data", str(files["test"]), "--out", str(made)], where)
    return {"stages": {"train": fit, "calibration page": page}, "judged": _judged(made)}


def _apax(where: Path, files: dict[str, Path], epochs: int, patience: float) -> dict:
    out, clock = where / "apax.npz", Clock()
    command = [str(PEERS / "apax" / "bin" / "python"), str(ROOT / "benchmarks"
               / "peer_apax_ensemble.py")]  # fmt: skip
    command += [str(files[name]) for name in ("train", "valid", "test")]
    command += [str(out), "--epochs", str(epochs), "--members", str(MEMBERS)]
    try:
        _command(command, where, patience)
    except TooLong as error:
        return {"failed": str(error)}
    except RuntimeError as error:
        return {"failed": str(error)}
    whole, report = clock.read(), json.loads(out.with_suffix(".json").read_text())
    predicting = report["predicting"]["seconds"]
    train = {
        "seconds": whole["seconds"] - predicting,
        "core_seconds": report["training"]["core_seconds_so_far"],
    }
    predict = {
        "seconds": predicting,
        "core_seconds": whole["core_seconds"] - train["core_seconds"],
    }
    made = where / "apax"
    page = _stage(["calibrate", str(out), "--data", str(files["test"]), "--out", str(made)], where)
    stages = {"train": train, "predict": predict, "calibration page": page}
    return {"stages": stages, "judged": _judged(made), "peer": report["peer"]}


def _stage(arguments: list[str], where: Path) -> dict[str, float]:
    """One command of bayespot, in its own process."""
    clock = Clock()
    _command([sys.executable, "-m", "bayespot.cli", *arguments], where, None)
    return clock.read()


def _command(command: list[str], where: Path, patience: float | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["PYTHONPATH"] = str(ROOT) if sys.executable == command[0] else ""
    try:
        done = subprocess.run(
            command, cwd=where, capture_output=True, text=True, check=False, timeout=patience,
            env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TooLong(f"not done after {patience:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise RuntimeError(" ".join(last)[-300:])


def _judged(folder: Path) -> dict[str, Any]:
    """Errors and calibration of test frames, of the first method on the page."""
    content = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    made: dict[str, Any] = {"verdict": content["methods"][0]["verdict"]["kind"]}
    for quantity in content["methods"][0]["quantities"]:
        if quantity["name"] in ("energy", "forces"):
            names = ("rmse", "coverage_95", "mean_squared_z", "spearman")
            made[quantity["name"]] = {k: quantity["metrics"][k]["value"] for k in names}
    return made


def table(result: dict) -> str:
    """Stages in seconds, and what came of them."""
    head = (
        f"{result['frames']} frames, {result['members']} networks, {result['epochs']} epochs",
        "train / s (core s)", "predict", "calibration page", "together",
        "force RMSE (meV/Å)", "in 95 %", "mean z²", "Spearman",
    )  # fmt: skip
    rows = []
    for name, row in result["routes"].items():
        if "failed" in row:
            rows.append((name, row["failed"], *[""] * 7))
            continue
        stages, forces = row["stages"], row["judged"]["forces"]
        times = [
            f"{number(stages[s]['seconds'])} ({number(stages[s]['core_seconds'])})"
            if s in stages
            else "on the page"
            for s in ("train", "predict", "calibration page")
        ]
        whole = sum(stage["seconds"] for stage in stages.values())
        rows.append(
            (
                name, *times, number(whole, 3), number(1e3 * forces["rmse"]),
                f"{100 * forces['coverage_95']:.0f} %", number(forces["mean_squared_z"]),
                number(forces["spearman"]),
            )
        )  # fmt: skip
    return markdown(head, rows)
