"""Small systems and every potential, for the physics tests."""

import functools

import jax
import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from bayespot.neighbors import allocate
from bayespot.potentials import HarmonicBonds, LennardJones, PairMLP, SchNet
from bayespot.system import System
from bayespot.topology import find_bonds

ETHANOL = molecule("CH3CH2OH")
SCHNET = SchNet(species=(1, 6, 8, 14), range=4.0, features=8, interactions=2, basis=8)
BONDS = HarmonicBonds(find_bonds(ETHANOL), (1.2,) * 8, (30.0,) * 8)
POTENTIALS = {
    "schnet": SCHNET,
    "pair_mlp": PairMLP(range=4.0, hidden=(16,)),
    "lennard_jones": LennardJones(1.5, 0.1, 4.0),
    "lj_trainable": LennardJones(1.5, 0.1, 4.0, trainable=True),
    "repulsion": LennardJones(1.2, 0.1, 4.0, repulsion_only=True),
    "bonds": BONDS,
    "sum": SCHNET + LennardJones(1.2, 0.1, 4.0, repulsion_only=True) + BONDS,
}


def ethanol(seed: int = 0, noise: float = 0.05) -> Atoms:
    atoms = ETHANOL.copy()
    atoms.positions += noise * np.random.default_rng(seed).normal(size=atoms.positions.shape)
    return atoms


def silicon(seed: int = 0) -> Atoms:
    atoms = bulk("Si", cubic=True)
    rng = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * rng.normal(size=(3, 3))), True)
    atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
    return atoms


def params_of(potential, system):
    """Parameters well away from any symmetric start."""
    params = potential.init(jax.random.key(1), system)
    noise = jax.random.key(2)
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(noise, x.shape, x.dtype), params)


def energy(potential, params, atoms: Atoms, kind: str = "auto") -> jax.Array:
    system = System.from_ase(atoms)
    return _energy(potential, params, system, allocate(system, potential.cutoff, 0.3, kind))


@functools.partial(jax.jit, static_argnums=0)
def _energy(potential, params, system, neighbors):
    return potential.energy(params, system, neighbors)
