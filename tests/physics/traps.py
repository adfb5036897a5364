"""Atoms on springs of their own: every average is known exactly."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

from bayespot.md import NVT, Length, Simulation
from bayespot.observables import Observable
from bayespot.potentials import Potential
from bayespot.system import System
from bayespot.units import BOLTZMANN

ATOMS = 40
SYSTEM = System.from_ase(Atoms(f"C{ATOMS}", np.zeros((ATOMS, 3))))
KT = BOLTZMANN * 300.0


@dataclasses.dataclass(frozen=True)
class Trap(Potential):
    """Every atom on a spring of its own: ``k/2 x^2``."""

    @property
    def cutoff(self):
        return 0.0

    def init(self, key, system):
        return {"log_k": jnp.zeros(()) + 0.1 * jax.random.normal(key, ())}

    def atomic_energies(self, params, system, neighbors):
        return 0.5 * jnp.exp(params["log_k"]) * jnp.sum(system.positions**2, axis=-1)


@dataclasses.dataclass(frozen=True)
class Springs(Potential):
    """Springs to the origin, each atom's own or one for all: eV/Angstrom^2; 0 for a gas."""

    @property
    def cutoff(self):
        return 0.0

    def init(self, key, system):
        return {"k": jnp.zeros(system.positions.shape[0])}

    def atomic_energies(self, params, system, neighbors):
        return 0.5 * params["k"] * jnp.sum(system.positions**2, axis=1)


@dataclasses.dataclass(frozen=True)
class Spread(Observable):
    """Mean square of a coordinate; kT/k in a trap."""

    name: str = "spread"

    @property
    def unit(self):
        return "Å²"

    def snapshot(self, frame):
        return {"square": jnp.mean(frame.system.positions**2)}

    def reduce(self, mean, context):
        return mean["square"]


def trap_simulation(temperature: Any = 300.0, frames: int = 40, **more):
    """Frames hardly correlated: 128 fs apart, relaxation within some 50."""
    ensemble = NVT(temperature, 8.0, friction=0.02)
    length = Length(16 * frames, equilibration=4 * frames, stride=16, blocks=4)
    return Simulation(Trap(), SYSTEM, ensemble, length, keep=1, **more)
