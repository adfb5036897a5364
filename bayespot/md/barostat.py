"""Constant pressure by stochastic cell rescaling (Bernetti & Bussi 2020) around BAOAB.

With coordinates scaled by the cell and momenta by its inverse, the density of ``lambda = sqrt(V)``
at constant pressure is ``p(lambda) ~ lambda exp(-(K + U + P0 V)/kT)``, so that

    d lambda = beta/(4 tau) [2 lambda (P - P0) + kT/lambda] dt + sqrt(kT beta/(2 tau)) dW

with the instantaneous pressure ``P = (2 K - dU/dln V * 3)/(3 V)`` leaves it invariant: in
``lambda`` the noise is constant.  Volume moves and BAOAB steps alternate; each move is followed by
a new force call, so that no step sees forces of another cell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.md.integrators import Scalar, kinetic_energy, mass_of, thermal_momenta
from bayespot.system import System
from bayespot.units import BOLTZMANN, GPA

# (positions, cell) -> (forces, virial dU/dln V * 3, the trace of dU/dstrain)
ForceVirial = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NPTState:
    """Of one replica.

    Attributes:
        position, momentum, force: (atoms, 3).
        cell: (3, 3), Angstrom.
        virial: trace of dU/dstrain, eV.
        rng: raw key.
    """

    position: Float[Array, "*batch atoms 3"]
    momentum: Float[Array, "*batch atoms 3"]
    force: Float[Array, "*batch atoms 3"]
    cell: Float[Array, "*batch 3 3"]
    virial: Float[Array, "*batch"]
    rng: Any


def init(key: jax.Array, system: System, force: ForceVirial, temperature: Scalar) -> NPTState:
    """Thermal momenta in the cell of ``system``."""
    momentum_key, rng = jax.random.split(key)
    momenta = thermal_momenta(momentum_key, system, BOLTZMANN * temperature)
    forces, virial = force(system.positions, system.cell)
    return NPTState(system.positions, momenta, forces, system.cell, virial, rng)


def step(
    state: NPTState,
    system: System,
    force: ForceVirial,
    time_step: Scalar,
    temperature: Scalar,
    friction: Scalar,
) -> NPTState:
    """One BAOAB step at constant cell; fs, K, 1/fs."""
    rng, key = jax.random.split(state.rng)
    dtype = state.position.dtype
    mass = mass_of(system)[:, None]
    dt = jnp.asarray(time_step, dtype)
    keep = jnp.exp(-friction * dt).astype(dtype)
    p = state.momentum + 0.5 * dt * state.force
    x = state.position + 0.5 * dt * p / mass
    heat = thermal_momenta(key, system, BOLTZMANN * temperature)
    p = keep * p + jnp.sqrt(1 - keep**2) * heat
    x = x + 0.5 * dt * p / mass
    forces, virial = force(x, state.cell)
    p = p + 0.5 * dt * forces
    return dataclasses.replace(state, position=x, momentum=p, force=forces, virial=virial, rng=rng)


def rescale(
    state: NPTState,
    system: System,
    force: ForceVirial,
    interval: Scalar,
    temperature: Scalar,
    pressure: Scalar,
    barostat_time: Scalar,
    compressibility: Scalar,
) -> NPTState:
    """A move of the cell over ``interval`` fs, and the forces in the new one.

    Args:
        state, system, force: as for ``step``.
        interval: fs since the last move.
        temperature: K.
        pressure: GPa.
        barostat_time: fs.
        compressibility: 1/GPa.
    """
    rng, key = jax.random.split(state.rng)
    dtype = state.position.dtype
    kT = BOLTZMANN * temperature
    rate = compressibility / GPA / barostat_time  # beta/tau
    volume = jnp.abs(jnp.linalg.det(state.cell))
    inside = (2 * kinetic_energy(state.momentum, system) - state.virial) / (3 * volume)
    root = jnp.sqrt(volume)
    drift = 0.25 * rate * (2 * root * (inside - pressure * GPA) + kT / root)
    noise = jnp.sqrt(0.5 * kT * rate * interval) * jax.random.normal(key, (), dtype)
    scale = ((root + drift * interval + noise) / root) ** (2 / 3)
    # a move of more than a tenth is no small step: the check of the frame sees the wreck
    scale = jnp.clip(scale, 0.9, 1.1).astype(dtype)
    cell = state.cell * scale
    x = state.position * scale
    forces, virial = force(x, cell)
    return NPTState(x, state.momentum / scale, forces, cell, virial, rng)
