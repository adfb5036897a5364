"""An ensemble of apax's Gaussian-moment networks, its own way; runs in ``.peers/apax``.

``.peers/apax/bin/python benchmarks/peer_apax_ensemble.py TRAIN VALID TEST OUT --epochs 20``

The files are extxyz with energies and forces in eV and Angstrom.  ``OUT`` becomes an npz with
``energy_ensemble`` (K, frames) and ``forces_ensemble`` (K, atoms of all frames, 3), which
``bayespot calibrate`` reads, and beside it a JSON with the seconds.  The model is apax's full
ensemble: K networks in one, trained together on the same batches.  Other settings are those of
``apax template train``; see ``peer_apax.py``.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

WRONG_ENERGY = 1.0  # eV/atom: units or shift must be wrong


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and test an ensemble of apax's GMNN.")
    for name in ("train", "valid", "test", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--cutoff", type=float, default=5.0, help="Angstrom")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


GIVEN = arguments()
STARTED = time.perf_counter()
os.environ |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}

import apax  # noqa: E402
import apax.train.run as apax_run  # noqa: E402
import ase.io  # noqa: E402
import numpy as np  # noqa: E402
from apax.md import ASECalculator  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402


def read(path):
    """Frames with nothing but energies and forces, as apax wants them."""
    frames = ase.io.read(path, ":")
    for atoms in frames:
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.cell = None  # apax goes by the cell alone; molecules have none
        atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info.clear()
    return frames


def configuration(folder, num_valid):
    # apax batches validation data across epochs; only a divisor gives every epoch the same ones
    valid_batch = max(n for n in range(1, 101) if num_valid % n == 0)
    return {
        "n_epochs": GIVEN.epochs,
        "seed": GIVEN.seed,
        "data": {
            "directory": str(folder),
            "experiment": "model",
            "train_data_path": str(folder / "train.extxyz"),
            "val_data_path": str(folder / "valid.extxyz"),
            "batch_size": GIVEN.batch_size,
            "valid_batch_size": valid_batch,
        },
        "model": {
            "name": "gmnn",
            "basis": {"name": "bessel", "r_max": GIVEN.cutoff},
            "ensemble": {"kind": "full", "n_members": GIVEN.members},
        },
        "loss": [{"name": "energy"}, {"name": "forces", "weight": 4.0}],
        "metrics": [{"name": "forces", "reductions": ["mae"]}],
        "progress_bar": {"disable_epoch_pbar": True},
    }


def seconds(since):
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - since,
        "core_seconds_so_far": used.ru_utime + used.ru_stime,
    }


def main():
    out = GIVEN.out.resolve()
    paths = {name: getattr(GIVEN, name).resolve() for name in ("train", "valid", "test")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.chdir(scratch)
        data = {name: read(path) for name, path in paths.items()}
        for name in ("train", "valid"):
            ase.io.write(folder / f"{name}.extxyz", data[name])
        imported = time.perf_counter() - STARTED
        begin = time.perf_counter()
        apax_run.run(configuration(folder, len(data["valid"])))
        training = seconds(begin)
        begin = time.perf_counter()
        calculator = ASECalculator(folder / "model")
        energy, forces = [], []
        for atoms in data["test"]:
            # not ``calculate``, which takes all for new and compiles again for every frame
            calculator.get_potential_energy(atoms)
            made = calculator.results
            energy.append(made["energy_ensemble"])
            forces.append(np.moveaxis(made["forces_ensemble"], -1, 0))
        predicting = seconds(begin)
    energies = np.array(energy).T
    labels = np.array([atoms.get_potential_energy() for atoms in data["test"]])
    atoms = np.array([len(a) for a in data["test"]])
    off = float(np.mean(np.abs(energies.mean(0) - labels) / atoms))
    np.savez(out, energy_ensemble=energies, forces_ensemble=np.concatenate(forces, axis=1))
    report = {
        "peer": f"apax {apax.__version__}", "members": GIVEN.members, "epochs": GIVEN.epochs,
        "import_seconds": imported, "training": training, "predicting": predicting,
        "energy_mae_eV_per_atom": off,
    }  # fmt: skip
    out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    if not off < WRONG_ENERGY:
        sys.exit(f"{out}: the energies are off by {off:.2g} eV/atom")


if __name__ == "__main__":
    main()
