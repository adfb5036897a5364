"""A small run on silicon: its configuration, and data by Stillinger and Weber's potential."""

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot.neighbors import allocate
from bayespot.potentials import StillingerWeber, energy_and_forces
from bayespot.system import System

SETTINGS = """
title = "silicon by Stillinger-Weber"

[data]
train = "train.extxyz"
test = "test.extxyz"

[potential]
kind = "pair_mlp"
cutoff = 3.6
hidden = [8]

[sampler]
method = "ensemble"
chains = 3

[sampler.warm_start]
steps = 300
learning_rate = 1e-2

[md]
ensemble = "npt"
temperature = 100.0
time_step = 2.0
barostat_time = 100.0
equilibration = 40
steps = 200
stride = 10
blocks = 5
draws = 3
replicas = 2
min_distance = 1.0

[md.start]
structure = "start.xyz"
repeat = [2, 1, 1]

[[observables]]
kind = "lattice_constant"
atoms_per_cell = 8

[[observables]]
kind = "density"

[[observables]]
kind = "bulk_modulus"

[[observables]]
kind = "rdf"
high = 4.4
bins = 44
"""


def frames(number: int, seed: int) -> list[ase.Atoms]:
    """Cells of eight atoms, strained and rattled, with energies and forces."""
    potential, rng, made = StillingerWeber(), np.random.default_rng(seed), []
    for _ in range(number):
        atoms = bulk("Si", cubic=True)
        atoms.set_cell(atoms.cell * rng.uniform(0.97, 1.03), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        made.append(atoms)
    systems = [System.from_ase(atoms) for atoms in made]
    first = allocate(systems[0], potential.cutoff, 0.0, capacity_factor=2.0, cell_margin=0.1)

    @jax.jit
    def label(system):
        lists = first.update(system)
        return *energy_and_forces(potential, {}, system, lists), jnp.any(lists.overflow)

    for atoms, system in zip(made, systems, strict=True):
        energy, forces, crowded = label(system)
        assert not crowded
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(energy), forces=np.asarray(forces, float)
        )
    return made
