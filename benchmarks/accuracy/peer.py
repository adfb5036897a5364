"""apax on the same split, in its own environment, for the same time."""

import json
import subprocess
import tempfile
from pathlib import Path

import ase.io
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot.data import Frame
from benchmarks.accuracy.cases import Split

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".peers" / "apax" / "bin" / "python"


def write(path: Path, frames: list[Frame]) -> None:
    """Extxyz with energy and forces, eV and Angstrom."""
    images = []
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.info, atoms.calc = (
            {},
            SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces),
        )
        images.append(atoms)
    ase.io.write(path, images, format="extxyz")


def run(split: Split, seconds: float) -> dict:
    """What ``benchmarks/peer_apax.py`` found, or why it did not; its model and settings are apax's.

    Args:
        split: the same frames as ours.
        seconds: of training, compilation included.
    """
    if not PYTHON.exists():
        return {"failed": "not installed: benchmarks/peers.sh apax"}
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        write(where / "train.extxyz", split.train)
        write(where / "valid.extxyz", split.validation)
        for name, frames in split.tests.items():
            write(where / f"{name}.extxyz", frames)
        first, *others = split.tests
        command = [str(PYTHON), str(ROOT / "benchmarks" / "peer_apax.py")]
        command += ["train.extxyz", "valid.extxyz", f"{first}.extxyz", "out.json"]
        command += ["--seconds", str(seconds)]
        for name in others:
            command += ["--also", f"{name}.extxyz"]
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1][:200]}
        made = json.loads((where / "out.json").read_text())
    found = {first: made["test"], **{n: made["also"][f"{n}.extxyz"] for n in others}}
    return {
        "peer": made["peer"],
        "errors": {name: _named(e) for name, e in found.items()},
        "seconds": made["training_seconds"],
        "parameters": made["parameters"],
        "epochs": made["epochs"],
        "best_epoch": made["best_epoch"],
        "frames_with_self_images": made["frames_with_self_images"],
    }


def _named(errors: dict) -> dict:
    return {
        "energy_mae_mev_per_atom": errors["energy_mae_meV_per_atom"],
        "forces_mae_mev": errors["force_mae_meV_per_A"],
        "forces_rmse_mev": errors["force_rmse_meV_per_A"],
    }
