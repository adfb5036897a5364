"""Does choosing pay?  Labels by information, by uncertainty alone, and at random, same budget.

Water by a force field that takes the place of quantum chemistry: Morse bonds and a Morse-like
spring between the hydrogens.  It is learnt by a spline of the distance over rough springs.
Training starts from ten frames of 300 K; the mean energy at 600 K is wanted, whose exact value long
Metropolis sampling tells.  Every arm is ``bayespot learn`` with another ``choice``: the same first
round, budget and settings; what is measured of each round are errors on test frames of 600 K, the
95 % interval of the mean energy, and how far its middle is from the truth.
"""

import shutil
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.calculators.calculator import Calculator
from ase.units import kB
from matplotlib.ticker import LogLocator, NullFormatter

from bayespot import config, learning
from benchmarks.common import (
    BLUE,
    GREY,
    ORANGE,
    Setting,
    main,
    markdown,
    number,
    plt,
)

PARTS = Path("runs/learning")  # what a killed run continues from
ARMS = {"information": BLUE, "uncertainty": ORANGE, "random": GREY}
START, TEMPERATURE, HOTTER = 300.0, 600.0, 900.0
FLAT = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
BONDS = ((0, 1, 0.96, 4.7, 2.3), (0, 2, 0.96, 4.7, 2.3), (1, 2, 1.52, 1.2, 1.6))
"""First and second atom, length (Angstrom), depth (eV), steepness (1/Angstrom)."""
SETTINGS = {
    "quick": {"seeds": 4, "rounds": 3, "frames": 4},
    "full": {"seeds": 16, "rounds": 5, "frames": 4},
}
SPRINGS = ((0, 1, 0.97, 40.0), (0, 2, 0.97, 40.0), (1, 2, 1.52, 5.0))
"""First and second atom, length (Angstrom), stiffness (eV/Angstrom^2): rough ones, and the same for
both O-H bonds.  Those of the training frames differ, which a curve of the distance alone cannot
take back."""
CONFIG = {
    "potential": {
        "kind": "cubic_spline", "start": 0.6, "cutoff": 3.0, "basis": 20, "scale": 0.1,
    },
    "sampler": {
        "method": "ensemble",
        "chains": 8,
        "warm_start": {"steps": 2000, "learning_rate": 0.02, "batch_size": 8},
    },
    "md": {
        "temperature": TEMPERATURE, "time_step": 0.5, "steps": 4000, "equilibration": 1000,
        "blocks": 4, "stride": 10, "draws": 8, "replicas": 4, "max_bond_deviation": 0.5,
        "min_distance": 0.9,
    },
    "observables": [{"kind": "mean_energy"}],
    "learn": {
        "calculator": "benchmarks.learning:Truth",
        "similar": 0.0,  # nothing but the choice tells copies apart
        "warm_share": 1.0,
        "explore": {
            "temperature": [TEMPERATURE, HOTTER], "steps": 1000, "stride": 10,
            "replicas": 2,
        },
    },
}  # fmt: skip


def energy_and_forces(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of configurations (..., 3, 3): eV, eV/Angstrom."""
    energy, forces = np.zeros(positions.shape[:-2]), np.zeros(positions.shape)
    for i, j, length, depth, steep in BONDS:
        arm = positions[..., j, :] - positions[..., i, :]
        d = np.linalg.norm(arm, axis=-1)
        x = np.exp(-steep * (d - length))
        energy += depth * (1 - x) ** 2
        pull = (2 * depth * steep * x * (1 - x) / d)[..., None] * arm
        forces[..., i, :] += pull
        forces[..., j, :] -= pull
    return energy, forces


class Truth(Calculator):
    """What labels."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=("positions",)):
        super().calculate(atoms, properties, system_changes)
        energy, forces = energy_and_forces(self.atoms.positions)
        self.results = {"energy": float(energy), "forces": forces}


def sampled(temperature: float, frames: int, seed: int, sweeps: int = 1000) -> np.ndarray:
    """(frames, 3, 3) of the Boltzmann distribution: one end each of as many Metropolis chains."""
    rng = np.random.default_rng(seed)
    x = np.repeat(FLAT[None], frames, axis=0)
    energy = energy_and_forces(x)[0]
    step = 0.03 * np.sqrt(temperature / 300.0)
    for _ in range(sweeps):
        new = x + step * rng.normal(size=x.shape)
        there = energy_and_forces(new)[0]
        yes = np.log(rng.random(frames)) < (energy - there) / (kB * temperature)
        x, energy = np.where(yes[:, None, None], new, x), np.where(yes, there, energy)
    return x


def mean_energy(temperature: float, chains: int = 5000) -> tuple[float, float]:
    """Exact up to its standard error, eV."""
    energy = energy_and_forces(sampled(temperature, chains, 99, sweeps=1000))[0]
    return float(energy.mean()), float(energy.std(ddof=1) / np.sqrt(chains))


def write(path: Path, positions: np.ndarray) -> None:
    """Labelled extxyz."""
    frames = []
    for x in positions:
        atoms = ase.Atoms("OH2", x)
        atoms.calc = Truth()
        atoms.get_forces()
        frames.append(atoms)
    ase.io.write(path, frames)


def springs() -> str:
    """The prior, as a force field."""
    return "\n".join(
        f"[[bonds]]\natoms = [{i}, {j}]\nlength = {length}\nstiffness = {stiffness}\n"
        for i, j, length, stiffness in SPRINGS
    )


def course(choice: str, seed: int, settings: dict) -> list[dict]:
    """Rounds of one arm from one training set."""
    folder = PARTS / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "test.extxyz").exists():
        write(folder / "train.extxyz", sampled(START, 10, seed))
        (folder / "springs.toml").write_text(springs())
        write(folder / "test.extxyz", sampled(TEMPERATURE, 200, 1000))
    raw = {
        **CONFIG,
        "run": {"seed": seed},
        "potential": {
            **CONFIG["potential"],
            "priors": [{"kind": "force_field", "file": str(folder / "springs.toml")}],
        },
        "data": {name: str(folder / f"{name}.extxyz") for name in ("train", "test")},
        "learn": {
            **CONFIG["learn"], "choice": choice, "rounds": settings["rounds"],
            "frames": settings["frames"],
        },
    }  # fmt: skip
    made = config.parse_learn(raw)
    out = folder / f"{choice}-{settings['rounds']}"
    first = folder / f"random-{settings['rounds']}" / "rounds" / "00"
    if first.exists() and not out.exists():  # it is the same for all: nothing was chosen yet
        for name in ("fingerprint.json", "config.toml", "posterior.nc", "potential.json",
                     "observables.nc"):  # fmt: skip
            (out / "rounds" / "00").mkdir(parents=True, exist_ok=True)
            shutil.copy(first / name, out / "rounds" / "00" / name)
    return learning.learn(made, out)["rounds"]


def run(setting: Setting, out: Path) -> dict:
    settings = SETTINGS[setting]
    truth, error = mean_energy(TEMPERATURE)
    arms = {}
    for choice in ("random", "uncertainty", "information"):
        found = []
        for seed in range(settings["seeds"]):
            found.append([_numbers(record, truth) for record in course(choice, seed, settings)])
            print(f"{choice}, seed {seed}: {found[-1][-1]}", flush=True)
        arms[choice] = {name: [[r[name] for r in rounds] for rounds in found] for name in NAMES}
    made = {"truth": truth, "truth_error": error, **settings, "arms": arms}
    _figure(made, out)
    return made


NAMES = ("forces", "half_width", "off", "inside", "lost", "spread_of_batch")


def _numbers(record: dict, truth: float) -> dict:
    o = record["observables"]["mean_energy"]
    known = o["half_width"] is not None
    chosen = record.get("chosen", {}).get("uncertainty")
    return {
        "forces": 1000 * record["errors"]["forces_rmse"],
        "half_width": 1000 * o["half_width"] if known else np.nan,
        "off": 1000 * abs(o["mean"] - truth) if known else np.nan,
        "inside": float(abs(o["mean"] - truth) <= o["half_width"]) if known else np.nan,
        "lost": record["stability"]["draws_lost"],
        "spread_of_batch": 1000 * float(np.mean(chosen)) if chosen else np.nan,
    }


def _mean(values: list, last: int = -1) -> tuple[float, float, int]:
    """Over seeds, with its standard error; and over how many."""
    x = np.array([np.nan if v[last] is None else v[last] for v in values], float)
    x = x[np.isfinite(x)]
    error = x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
    return float(x.mean()) if len(x) else np.nan, float(error), len(x)


def _cell(values: list, last: int = -1) -> str:
    mean, error, _ = _mean(values, last)
    return f"{number(mean)} ± {number(error, 1)}"


def table(result: dict) -> str:
    rows = []
    first = result["arms"]["random"]
    rows.append(("none", *(_cell(first[n], 0) for n in ("forces", "half_width", "off")),
                 _share(first, 0), number(_mean(first["lost"], 0)[0])))  # fmt: skip
    for done in range(1, result["rounds"] + 1):
        for name in ARMS:
            arm = result["arms"][name]
            rows.append((f"{done * result['frames']} by {name}",
                         *(_cell(arm[n], done) for n in ("forces", "half_width", "off")),
                         _share(arm, done), number(_mean(arm["lost"], done)[0])))  # fmt: skip
    head = ("labels", "force RMSE (meV/Å)", "95 % ± of the mean energy (meV)",
            "its distance from the truth (meV)", "truth inside", "unstable of 8 draws")  # fmt: skip
    return markdown(head, rows) + "\n\n" + _paired(result)


def _share(arm: dict, last: int = -1) -> str:
    mean, _, count = _mean(arm["inside"], last)
    return f"{mean * count:.0f} of {count}" if count else "–"


def _paired(result: dict) -> str:
    """The same seeds, arm against arm: logarithms of ratios."""
    told = []
    for name in ("forces", "half_width"):
        base = np.array([v[-1] for v in result["arms"]["random"][name]], float)
        for arm in ("information", "uncertainty"):
            other = np.array([v[-1] for v in result["arms"][arm][name]], float)
            ratio = np.log(other / base)
            ratio = ratio[np.isfinite(ratio)]
            mean, error = ratio.mean(), ratio.std(ddof=1) / np.sqrt(len(ratio))
            low, high = np.exp([mean - error, mean + error])
            what = "force errors" if name == "forces" else "intervals"
            told.append(f"{what} by {arm} are {np.exp(mean):.2f} ({low:.2f} to {high:.2f})")
    return (
        f"Of those by chance: {'; '.join(told)} (geometric means over {result['seeds']} training"
        " sets, ± one standard error)."
    )


def _figure(result: dict, out: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.1))
    labels = np.arange(result["rounds"] + 1) * result["frames"]
    titles = {
        "forces": "force RMSE (meV/Å)",
        "half_width": "95 % ± of the mean energy (meV)",
        "off": "its distance from the truth (meV)",
    }
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for arm, color in ARMS.items():
            values = np.array(result["arms"][arm][name], float)
            with np.errstate(all="ignore"):
                middle = np.exp(np.nanmean(np.log(values), axis=0))
            axis.plot(labels, values.T, color=color, lw=0.6, alpha=0.35)
            axis.plot(labels, middle, "o-", color=color, label=arm, ms=4)
        if name == "forces":
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel("labels added")
        axis.set_xticks(labels)
        axis.set_title(title)
    axes[0].legend()
    figure.savefig(out / "learning.png")
    plt.close(figure)


if __name__ == "__main__":
    main("learning", run, table)
