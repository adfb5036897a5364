"""Small labelled structures, as a user's files and as the library's frames."""

import dataclasses

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot.data import Frame

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


def water(seed=0, **changes):
    positions = WATER + np.random.default_rng(seed).normal(0, 0.02, (3, 3))
    return ase.Atoms("OH2", positions, **changes)


def label(seed):
    forces = np.random.default_rng(100 + seed).normal(0, 1, (3, 3))
    return -14.0 - 0.01 * seed, forces - forces.mean(0)


def labelled(seed, energy_key="energy", forces_key="forces", **changes):
    atoms, (energy, forces) = water(seed, **changes), label(seed)
    if energy_key == "energy":
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    else:
        atoms.info[energy_key] = energy
        atoms.arrays[forces_key] = forces
    return atoms


def frame(symbols="OH2", number=0, energy=None, positions=None, **changes):
    atoms = ase.Atoms(symbols, **changes)
    scatter = np.random.default_rng(number).normal(0, 0.02, (len(atoms), 3))
    line = np.arange(len(atoms))[:, None] * [1.1, 0.2, 0.0]
    atoms.positions = line + scatter if positions is None else positions
    forces = np.random.default_rng(50 + number).normal(0, 1, (len(atoms), 3))
    value = -4.0 * len(atoms) - 0.01 * number if energy is None else energy
    return Frame(atoms, value, forces, "made.extxyz", number)


def replaced(frames, i, **changes):
    return [*frames[:i], dataclasses.replace(frames[i], **changes), *frames[i + 1 :]]
