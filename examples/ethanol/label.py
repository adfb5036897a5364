"""Make the demo data: ethanol labelled with GFN2-xTB (tblite through ASE).

    python examples/ethanol/label.py sample WORK      # 500 K: training and test frames
    python examples/ethanol/label.py reference WORK   # 300 K: the truth for the intervals
    python examples/ethanol/label.py pack WORK        # writes the files that are committed

Needs the extra ``reference``.  ``sample`` takes about 10 min and ``reference`` about half an hour
a trajectory on one core; both continue where they stopped, and several can run at once with
different ``--replica``.  Energies eV, forces eV/Angstrom, times fs, temperatures K.

Every trajectory is Langevin BAOAB (Leimkuhler & Matthews 2013), whose configurational error at
0.5 fs is far below the statistical one.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

HERE = Path(__file__).parent
TIME_STEP = 0.5  # fs
FRICTION_TIME = 100.0  # fs, 1/gamma
SEGMENT = 20_000  # steps between saves (10 ps)
EQUILIBRATION = 10_000  # steps thrown away at the start of each trajectory

SAMPLE = {"temperature": 500.0, "stride": 200, "frames": 500}  # a frame every 100 fs
REFERENCE = {"temperature": 300.0, "stride": 20}  # a frame every 10 fs
TRAIN, TEST = 500, 250  # frames committed

# Atom order of ase.build.molecule("CH3CH2OH"): C(H3), C(H2), O, H(O), H(C) x 2, H(C) x 3.
DIHEDRAL = (0, 1, 2, 3)
DISTANCE_EDGES = np.linspace(0.8, 4.8, 101)  # Angstrom
DIHEDRAL_EDGES = np.linspace(-180.0, 180.0, 37)  # degrees
BLOCK = 1000  # frames in a block for the error bars (10 ps)


def calculator():
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def run(path: Path, temperature: float, stride: int, frames: int, seed: int) -> None:
    """Continue the trajectory in ``path`` until it holds ``frames`` frames."""
    atoms = molecule("CH3CH2OH")
    atoms.calc = calculator()
    done: dict[str, np.ndarray] = {}
    if path.exists():
        with np.load(path) as stored:
            done = dict(stored)
        atoms.positions = done["last_positions"]
        atoms.set_momenta(done["last_momenta"])
    else:
        MaxwellBoltzmannDistribution(
            atoms, temperature_K=temperature, rng=np.random.default_rng([seed, 0])
        )
    while len(done.get("energy", ())) < frames:
        first = not done
        segment = len(done.get("energy", ())) + 1
        positions, energy, forces = [], [], []

        def keep(positions=positions, energy=energy, forces=forces):
            positions.append(atoms.get_positions())
            energy.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())

        dynamics = LangevinBAOAB(
            atoms,
            timestep=TIME_STEP * units.fs,
            temperature_K=temperature,
            T_tau=FRICTION_TIME * units.fs,
            rng=np.random.default_rng([seed, segment]),
        )
        if first:
            dynamics.run(EQUILIBRATION)
        for _ in range(SEGMENT // stride):
            dynamics.run(stride)
            keep()
        new = {
            "positions": np.asarray(positions, np.float32),
            "energy": np.asarray(energy),
            "forces": np.asarray(forces, np.float32),
        }
        done = {k: np.concatenate([done[k], v]) if k in done else v for k, v in new.items()}
        done["last_positions"], done["last_momenta"] = atoms.get_positions(), atoms.get_momenta()
        partial = path.with_suffix(".part.npz")
        np.savez(partial, allow_pickle=False, **done)
        partial.replace(path)
        print(f"{path.name}: {len(done['energy'])} of {frames} frames", flush=True)


def dihedral(positions: np.ndarray) -> np.ndarray:
    """IUPAC-signed torsion angle (frames,) in rad of positions (frames, atoms, 3)."""
    a, b, c, d = (positions[:, i] for i in DIHEDRAL)
    b1, b2, b3 = b - a, c - b, d - c
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    y = np.einsum("fx,fx->f", np.cross(n1, n2), b2 / np.linalg.norm(b2, axis=-1, keepdims=True))
    return np.arctan2(y, np.einsum("fx,fx->f", n1, n2))


def pack(work: Path) -> None:
    """Write train.extxyz, test.extxyz, reference.npz and settings.json beside this script."""
    for name, frames, replica in (("train", TRAIN, 0), ("test", TEST, 1)):
        with np.load(work / f"sample_{replica}.npz") as data:
            pick = np.linspace(0, len(data["energy"]) - 1, frames).round().astype(int)
            images = []
            for i in pick:
                atoms = Atoms(molecule("CH3CH2OH").numbers, data["positions"][i])
                atoms.calc = SinglePointCalculator(
                    atoms, energy=float(data["energy"][i]), forces=data["forces"][i]
                )
                images.append(atoms)
        write(HERE / f"{name}.extxyz", images, format="extxyz")

    blocks = []  # one list of averages a block: h(r) counts, dihedral counts, U, U^2
    i, j = np.triu_indices(len(molecule("CH3CH2OH")), 1)
    files = sorted(work.glob("reference_*.npz"))
    zero = None
    for file in files:
        with np.load(file) as data:
            usable = len(data["energy"]) // BLOCK * BLOCK
            positions = data["positions"][:usable].astype(float)
            energy = data["energy"][:usable]
        zero = energy[0] if zero is None else zero  # squares of small numbers keep their digits
        angle = np.degrees(dihedral(positions))
        distance = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)
        for start in range(0, usable, BLOCK):
            window = slice(start, start + BLOCK)
            shifted = energy[window] - zero
            h = np.histogram(distance[window], DISTANCE_EDGES)[0]
            phi = np.histogram(angle[window], DIHEDRAL_EDGES)[0]
            blocks.append((h / BLOCK, phi / BLOCK, shifted.mean(), (shifted**2).mean()))

    def values(mean):
        h, phi, energy, square = mean
        width = DISTANCE_EDGES[1] - DISTANCE_EDGES[0]
        variance = square - energy**2
        return {
            "h_r": h / len(i) / width,
            "dihedral": phi / (DIHEDRAL_EDGES[1] - DIHEDRAL_EDGES[0]),
            "mean_energy": energy + zero,
            "heat_capacity": variance / (units.kB * REFERENCE["temperature"]) ** 2 + 1.5 * 9,
        }

    columns = [np.asarray(column) for column in zip(*blocks, strict=True)]
    total = [c.sum(axis=0) for c in columns]
    n = len(blocks)
    result = values([t / n for t in total])
    # jackknife over blocks that are longer than any correlation time
    left_out = [
        values([(t - c[k]) / (n - 1) for t, c in zip(total, columns, strict=True)])
        for k in range(n)
    ]
    stored = {}
    for name, value in result.items():
        spread = np.asarray([one[name] for one in left_out]).var(axis=0)
        stored[name] = value
        stored[f"{name}_error"] = np.sqrt((n - 1) * spread)
    stored["h_r_axis"] = (DISTANCE_EDGES[1:] + DISTANCE_EDGES[:-1]) / 2
    stored["dihedral_axis"] = (DIHEDRAL_EDGES[1:] + DIHEDRAL_EDGES[:-1]) / 2
    np.savez_compressed(HERE / "reference.npz", allow_pickle=False, **stored)
    from importlib.metadata import version

    settings = {
        "method": "GFN2-xTB",
        "tblite": version("tblite"),
        "ase": version("ase"),
        "time_step_fs": TIME_STEP,
        "friction_time_fs": FRICTION_TIME,
        "equilibration_steps": EQUILIBRATION,
        "sample": SAMPLE,
        "reference": {
            **REFERENCE,
            "trajectories": len(files),
            "picoseconds": len(blocks) * BLOCK * REFERENCE["stride"] * TIME_STEP / 1000,
        },
        "train_frames": TRAIN,
        "test_frames": TEST,
    }
    (HERE / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["sample", "reference", "pack"])
    parser.add_argument("work", type=Path, help="folder for the raw trajectories")
    parser.add_argument("--replica", type=int, default=0)
    parser.add_argument("--picoseconds", type=float, default=1000.0, help="reference length")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.task == "pack":
        return pack(options.work)
    path = options.work / f"{options.task}_{options.replica}.npz"
    if options.task == "sample":
        return run(path, seed=options.replica, **SAMPLE)
    frames = round(options.picoseconds * 1000 / TIME_STEP / REFERENCE["stride"])
    return run(path, seed=1000 + options.replica, frames=frames, **REFERENCE)


if __name__ == "__main__":
    main()
