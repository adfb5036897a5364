"""Frames with ensembles whose calibration is known, and a run directory without a training."""

import json

import ase
import ase.io
import jax
import numpy as np
from ase.build import bulk
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot import committee
from bayespot.draws import Draws
from bayespot.potentials import LennardJones

SIGMA, EPSILON, RANGE = 3.4, 0.0104, 6.0


def argon(count, seed=0, kinds=("crystal", "liquid")):
    """Argon crystals, displaced; every second one more, and of another config_type."""
    made = []
    for i in range(count):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
        rng = np.random.default_rng([seed, i])
        atoms.positions += rng.normal(0, 0.08 + 0.1 * (i % 2), atoms.positions.shape)
        atoms.info["config_type"] = kinds[i % 2]
        made.append(atoms)
    return made


def with_ensemble(path, count=60, members=8, factor=1.0, seed=0, only=None):
    """Write frames whose errors are ``factor`` times what members' spread says.

    Truth and members are independent draws about one mean: exchangeable with factor 1.

    Args:
        path: extxyz to write.
        count: frames.
        members: of the ensemble.
        factor: of the errors.
        seed: of everything.
        only: the config_type whose errors have the factor; by default all.
    """
    images = argon(count, seed)
    for i, atoms in enumerate(images):
        rng = np.random.default_rng([seed, 100 + i])
        scale = 0.02 * np.exp(0.5 * rng.normal(size=(len(atoms), 1)))
        f = factor if only in (None, atoms.info["config_type"]) else 1.0
        mean = rng.normal(0, 0.5, (len(atoms), 3))
        forces = mean + f * scale * rng.normal(size=(len(atoms), 3))
        ensemble = mean + scale * rng.normal(size=(members, len(atoms), 3))
        energy = -1.0 + 0.02 * np.array([f * rng.normal(), *rng.normal(size=members)])
        stress = 1e-4 * rng.normal(size=(members + 1, 3, 3))
        stress = (
            (stress + stress.swapaxes(1, 2)) / 2 * np.array([f] + [1.0] * members)[:, None, None]
        )
        atoms.info["energy_ensemble"] = energy[1:]
        atoms.info["stress_ensemble"] = stress[1:].ravel()
        atoms.arrays["forces_ensemble"] = np.moveaxis(ensemble, 0, 1).reshape(len(atoms), -1)
        atoms.calc = SinglePointCalculator(atoms, energy=energy[0], forces=forces, stress=stress[0])
    ase.io.write(path, images)
    return path


def labelled_argon(path, count=12, seed=0):
    """Frames with the labels of one Lennard-Jones potential."""
    images = argon(count, seed)
    for atoms in images:
        calculator = AseLennardJones(sigma=SIGMA, epsilon=EPSILON, rc=RANGE, smooth=True)
        calculator.calculate(atoms, ["energy", "forces", "stress"])
        results = {k: calculator.results[k] for k in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(path, images)
    return path


def run_directory(folder, members=8, spread=0.01, train=None):
    """What ``bayespot run`` leaves of a Lennard-Jones posterior about the truth."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    potential = LennardJones(SIGMA, EPSILON, RANGE, trainable=True)
    params = {
        "log_sigma": np.log(SIGMA) + 0.2 * spread * rng.normal(size=(1, members)),
        "log_epsilon": np.log(EPSILON) + spread * rng.normal(size=(1, members)),
    }
    noise = {f"log_sigma_{name}": np.full((1, members), -7.0) for name in ("energy", "forces")}
    made = jax.tree.map(np.float32, {"potential": params, "noise": noise})
    shift = {"elements": [18], "energies": [0.0]}
    draws = Draws(
        made, np.zeros((1, members)), np.array([True]), ("healthy",), {"energy_shift": shift}
    )
    draws.save(folder / "posterior.nc")
    committee.save_potential(folder, potential, argon(1)[0])
    data = f"[data]\ntrain = {json.dumps(str(train))}\n" if train is not None else ""
    (folder / "config.toml").write_text(data)
    return folder
