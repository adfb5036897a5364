"""An irregular liquid of two elements, what is around its atoms, and values of one frame."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from bayespot.observables import Context, Frame

CONTEXT = Context(300.0, 8)
ZERO = jnp.asarray(0.0)


def program(observables):
    """Values of one frame, by name."""

    @jax.jit
    def look(system, neighbors):
        frame = Frame(system, ZERO, neighbors=neighbors)
        return {name: o.snapshot(frame) for name, o in observables.items()}

    def values(system, neighbors=None):
        made = jax.tree.map(lambda x: np.asarray(x, float), look(system, neighbors))
        return {name: o.reduce(made[name], CONTEXT) for name, o in observables.items()}

    return values


def liquid(side=3, spacing=2.4, seed=0, skew=0.1):
    """Silicon and germanium off the places of a lattice, anywhere in space, in a skewed cell."""
    rng = np.random.default_rng(seed)
    places = np.array(list(itertools.product(range(side), repeat=3))) + 0.5
    cell = side * spacing * (np.eye(3) + rng.uniform(-skew, skew, (3, 3)))
    numbers = np.where(np.arange(side**3) % 3 == 0, 32, 14)
    atoms = Atoms(numbers, scaled_positions=places / side, cell=cell, pbc=True)
    atoms.positions += rng.uniform(-0.7, 0.7, atoms.positions.shape)
    atoms.positions += rng.integers(-2, 3, atoms.positions.shape) @ cell
    return atoms


def around(atoms, cutoff):
    """For each atom: (atomic numbers, vectors) of what is near, by ASE."""
    i, j, D = neighbor_list("ijD", atoms, cutoff)
    return [(atoms.numbers[j[i == k]], D[i == k]) for k in range(len(atoms))]
