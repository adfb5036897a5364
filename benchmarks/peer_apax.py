"""Gaussian-moment network of apax trained and tested on one data set; runs in ``.peers/apax``.

``.peers/apax/bin/python benchmarks/peer_apax.py TRAIN VALID TEST OUT.json --seconds 600``

The three files are extxyz with energies and forces in eV and Angstrom; other labels are not used.
Training is ``apax.train.run`` and its defaults are those of ``apax template train``: batches of 4,
squared errors of energies and forces weighted 1 : 4, Adam with a rate that falls linearly from
1e-3 to 1e-6 over the run, the other settings from apax's own configuration classes. ``--config``
merges a JSON object over that configuration, e.g. '{"optimizer": {"nn_lr": 0.003}}'.

apax has no limit of time, and its learning rate depends on the number of epochs. So ``--seconds``
times a few epochs first, in runs of their own, and takes as many as should fill the time. These
runs are not part of ``training_seconds``, and neither is ``idle_seconds``, in which TensorFlow
gives up its iterators after the last parameters are saved (seen: 0 to 30 s, without load).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

TRIAL_EPOCHS = 4  # the first compiles, the median of the others makes the forecast
PARITY_FRAMES = 5
# float32 networks on two routes; a wrong box or neighbour list is off by orders of magnitude
PARITY_ENERGY, PARITY_FORCE = 1e-4, 2e-3  # eV/atom, eV/A
# Both routes share units and shift. Those wrong, total energies are off by several eV per atom,
# while even one epoch leaves a fraction of one.
WRONG_ENERGY = 1e3  # meV/atom


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and test apax's GMNN.")
    for name in ("train", "valid", "test", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--also", type=Path, action="append", default=[], help="more test files")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int)
    length.add_argument("--seconds", type=float, help="wall time of training, compiling included")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cutoff", type=float, default=5.0, help="Angstrom")
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 256])
    parser.add_argument("--radial", type=int, default=5, help="contracted radial functions")
    parser.add_argument("--config", type=json.loads, default={}, help="JSON merged over the rest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="new folder for the model and apax's own logs")
    return parser.parse_args()


GIVEN = arguments()
# All three libraries size their thread pools by the cores that the process may use.
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: GIVEN.threads])
os.environ |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}

import apax  # noqa: E402
import apax.train.run as apax_run  # noqa: E402
import ase.io  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
from apax.config import parse_config  # noqa: E402
from apax.md import ASECalculator  # noqa: E402
from ase.calculators.singlepoint import SinglePointCalculator  # noqa: E402

COMPILED: list[float] = []


def on_event(event, seconds, **_):
    if event.endswith("backend_compile_duration"):
        COMPILED.append(seconds)


def read(path):
    """Frames with nothing but energies and forces, as apax wants them."""
    frames = ase.io.read(path, ":")
    for atoms in frames:
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if not atoms.pbc.any():
            atoms.cell = None  # apax goes by the cell alone
        elif not atoms.pbc.all():
            sys.exit(f"{path}: apax knows no systems periodic in some directions only")
        atoms.calc = SinglePointCalculator(atoms, **labels)
        atoms.info.clear()
    return frames


def self_images(frames, cutoff):
    """Count the frames in which an atom is within the cut-off of its own periodic image."""
    shifts = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), -1).reshape(-1, 3)
    shifts = shifts[shifts.any(-1)]
    periodic = [atoms.cell.array for atoms in frames if atoms.pbc.all()]
    return sum(bool((np.linalg.norm(shifts @ cell, axis=-1) < cutoff).any()) for cell in periodic)


def merged(base, over):
    for name, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            merged(base[name], value)
        else:
            base[name] = value
    return base


def configuration(folder, num_valid):
    # apax batches validation data across epochs; only a divisor gives every epoch the same ones
    valid_batch = max(n for n in range(1, 101) if num_valid % n == 0)
    base = {
        "n_epochs": 1,
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
            "n_radial": GIVEN.radial,
            "nn": GIVEN.hidden,
        },
        "loss": [{"name": "energy"}, {"name": "forces", "weight": 4.0}],
        "metrics": [
            {"name": "energy", "reductions": ["mae"]},
            {"name": "forces", "reductions": ["mae", "mse"]},
        ],
        "progress_bar": {"disable_epoch_pbar": True},
    }
    return merged(base, GIVEN.config)


def now():
    return np.array([time.perf_counter(), time.process_time()])


class Clock:
    """A callback of apax that notes the wall and core seconds at which epochs and training end."""

    def __init__(self):
        self.marks, self.end = [], None

    def __getattr__(self, name):
        if name.startswith("on_"):
            return lambda *_, **__: None
        raise AttributeError(name)

    def on_epoch_end(self, epoch, logs=None):
        self.marks.append(now())

    def on_train_end(self, logs=None):
        self.end = now()  # the checkpoints are written


def train(config, folder, epochs):
    """Train for some epochs in a folder of their own; return the timings."""
    config = merged(json.loads(json.dumps(config)), {"n_epochs": epochs})
    config["data"]["directory"] = str(folder)
    clock, initialize = Clock(), apax_run.initialize_callbacks

    def with_clock(*args):
        callbacks = initialize(*args)
        callbacks.callbacks.append(clock)
        return callbacks

    # the configuration offers no callback of one's own
    apax_run.initialize_callbacks = with_clock
    COMPILED.clear()
    started = now()
    try:
        apax_run.run(config)
    finally:
        apax_run.initialize_callbacks = initialize
    end, idle = clock.end, now() - clock.end
    # from the second epoch on; each holds the saving of the one before it
    steady = np.median(np.diff(clock.marks, axis=0), axis=0) if epochs > 1 else [None, None]
    return {
        "training_seconds": (end - started)[0],
        "core_seconds": (end - started)[1],
        "compile_seconds": sum(COMPILED),
        "first_epoch_seconds": (clock.marks[0] - started)[0],  # with start-up and compiling
        "closing_seconds": (end - clock.marks[-1])[0],  # the last checkpoint
        "idle_seconds": idle[0],
        "seconds_per_epoch": steady[0],
        # the measure that stands when others use the machine
        "core_seconds_per_epoch": steady[1],
        "epochs": len(clock.marks),
    }


def forecast(trial):
    """Number of epochs that should fill the time."""
    once = trial["first_epoch_seconds"] + trial["closing_seconds"]
    return 1 + max(0, round((GIVEN.seconds - once) / trial["seconds_per_epoch"]))


def errors(truth, predicted):
    pairs = list(zip(truth, predicted, strict=True))
    energy = [(b.get_potential_energy() - a.get_potential_energy()) / len(a) for a, b in pairs]
    force = np.concatenate([b.get_forces() - a.get_forces() for a, b in pairs])
    return {
        f"{name}_{unit}": float(value)
        for name, unit, error in (("energy", "meV_per_atom", energy), ("force", "meV_per_A", force))
        for name, value in (
            (f"{name}_mae", 1e3 * np.mean(np.abs(error))),
            (f"{name}_rmse", 1e3 * np.sqrt(np.mean(np.square(error)))),
        )
    }


def parity(model, test, predicted):
    """The saved model on some frames by the calculator's own route, which MD takes.

    It builds its neighbours and its box anew, so agreement says that both are right.
    """
    chosen = np.unique(np.linspace(0, len(test) - 1, PARITY_FRAMES).astype(int))
    again = []
    for i in chosen:
        atoms = test[i].copy()
        atoms.calc = ASECalculator(model)  # one each: it compiles for the first frame's cell
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        again.append(atoms)
    batched, truth = [predicted[i] for i in chosen], [test[i] for i in chosen]
    pairs = list(zip(again, batched, strict=True))
    energy = max(
        abs(a.get_potential_energy() - b.get_potential_energy()) / len(a) for a, b in pairs
    )
    force = max(np.abs(a.get_forces() - b.get_forces()).max() for a, b in pairs)
    return {
        "frames": chosen.tolist(),
        "by_calculator": errors(truth, again),
        "by_batches": errors(truth, batched),
        "largest_energy_difference_eV_per_atom": float(energy),
        "largest_force_difference_eV_per_A": float(force),
        "agrees": bool(energy < PARITY_ENERGY and force < PARITY_FORCE),
    }


def count(params, numbers):
    """Number of parameters, and of those that the elements of the data reach.

    apax keeps a row for each of 119 elements, in the radial coefficients for each pair of them.
    """
    everything = reached = 0
    for leaf in jax.tree.leaves(params):
        species = [axis for axis in leaf.shape if axis == 119]
        everything += leaf.size
        reached += leaf.size // 119 ** len(species) * len(numbers) ** len(species)
    return int(everything), int(reached)


def perform(folder):
    jax.monitoring.register_event_duration_secs_listener(on_event)
    data = {name: read(getattr(GIVEN, name)) for name in ("train", "valid", "test")}
    for name in ("train", "valid"):
        ase.io.write(folder / f"{name}.extxyz", data[name])
    config = configuration(folder, len(data["valid"]))

    epochs, trial = GIVEN.epochs, None
    if epochs is None:
        train(config, folder / "first", 1)  # a process's first run compiles more than the next ones
        trial = train(config, folder / "trial", TRIAL_EPOCHS)
        epochs = forecast(trial)
    load = os.getloadavg()[0]
    timing = train(config, folder, epochs)

    model = folder / "model"
    calculator = ASECalculator(model)
    predicted = calculator.batch_eval(data["test"], batch_size=10, silent=True)
    also = {}
    for path in GIVEN.also:
        frames = read(path)
        found = calculator.batch_eval(frames, batch_size=10, silent=True)
        also[path.name] = errors(frames, found)
    numbers = {z for atoms in data["train"] for z in atoms.numbers}
    everything, reached = count(calculator.params, numbers)
    saved = [int(path.name) for path in (model / "best").iterdir() if path.name.isdigit()]
    return {
        "peer": f"apax {apax.__version__}",
        "jax": jax.__version__,
        "frames": {name: len(frames) for name, frames in data.items()},
        "test": errors(data["test"], predicted),
        "also": also,
        "parameters": reached,
        "parameters_with_absent_elements": everything,
        **timing,
        "best_epoch": max(saved) + 1,
        "trial": trial,
        "threads": GIVEN.threads,
        "load_before_and_after": [load, os.getloadavg()[0]],
        "parity": parity(model, data["test"], predicted),
        # apax masks pairs of an atom with itself, and so leaves these images out
        "frames_with_self_images": {
            name: self_images(frames, GIVEN.cutoff) for name, frames in data.items()
        },
        "config": parse_config(model / "config.yaml").model_dump(mode="json"),
    }


def main():
    out = GIVEN.out.resolve()
    for name in ("train", "valid", "test"):
        setattr(GIVEN, name, getattr(GIVEN, name).resolve())
    GIVEN.also = [path.resolve() for path in GIVEN.also]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if GIVEN.keep is not None:
            folder = GIVEN.keep.resolve()
            folder.mkdir(parents=True)  # in a used one apax would go on with the old model
        os.chdir(scratch)  # apax evaluates with a cache in the working directory
        report = perform(folder)
    out.write_text(json.dumps(report, indent=1) + "\n")
    if not report["parity"]["agrees"]:
        sys.exit(f"{out}: apax's calculator and its batches disagree; see `parity`")
    if not report["test"]["energy_mae_meV_per_atom"] < WRONG_ENERGY:
        sys.exit(f"{out}: the energies are off by more than a fit can be; look at units and shift")


if __name__ == "__main__":
    main()
