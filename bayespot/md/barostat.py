"""Constant pressure by stochastic cell rescaling (Bernetti & Bussi 2020) around BAOAB.

With coordinates scaled by the cell and momenta by its inverse, the density of ``lambda = sqrt(V)``
at constant pressure is ``p(lambda) ~ lambda exp(-(K + U + P0 V)/kT)``, so that

    d lambda = beta/(4 tau) [2 lambda (P - P0) + kT/lambda] dt + sqrt(kT beta/(2 tau)) dW

with the instantaneous pressure ``P = (2 K - dU/dln V * 3)/(3 V)`` leaves it invariant: in
``lambda`` the noise is constant.  A finite step of it is only a proposal here, accepted or not by
Metropolis and Hastings' rule: the law holds whatever beta and tau are, at the price of nothing,
for the energy comes with the force call that a new cell needs anyway.  Volume moves and BAOAB
steps alternate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bayespot.md.integrators import Scalar, kinetic_energy, mass_of, thermal_momenta
from bayespot.system import System
from bayespot.units import BOLTZMANN, GPA

# (positions, cell) -> (energy, forces, trace of dU/dstrain = 3 dU/dln V)
EnergyForceVirial = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]

LARGEST = 1.1
"""Factor of one move of the cell's edges; nothing larger is proposed."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NPTState:
    """Of one replica.

    Attributes:
        position, momentum, force: (atoms, 3).
        cell: (3, 3), Angstrom.
        energy, virial: U and the trace of dU/dstrain, eV.
        accepted: moves of the cell that were.
        rng: raw key.
    """

    position: Float[Array, "*batch atoms 3"]
    momentum: Float[Array, "*batch atoms 3"]
    force: Float[Array, "*batch atoms 3"]
    cell: Float[Array, "*batch 3 3"]
    energy: Float[Array, "*batch"]
    virial: Float[Array, "*batch"]
    accepted: Int[Array, "*batch"]
    rng: Any


def init(key: jax.Array, system: System, force: EnergyForceVirial, temperature: Scalar) -> NPTState:
    """Thermal momenta in the cell of ``system``."""
    momentum_key, rng = jax.random.split(key)
    momenta = thermal_momenta(momentum_key, system, BOLTZMANN * temperature)
    energy, forces, virial = force(system.positions, system.cell)
    none = jnp.zeros((), jnp.int32)
    return NPTState(system.positions, momenta, forces, system.cell, energy, virial, none, rng)


def renew(state: NPTState, force: EnergyForceVirial) -> NPTState:
    """``state`` with energy, forces and virial of another potential."""
    energy, forces, virial = force(state.position, state.cell)
    return dataclasses.replace(state, energy=energy, force=forces, virial=virial)


def step(
    state: NPTState,
    system: System,
    force: EnergyForceVirial,
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
    energy, forces, virial = force(x, state.cell)
    p = p + 0.5 * dt * forces
    return dataclasses.replace(
        state, position=x, momentum=p, force=forces, energy=energy, virial=virial, rng=rng
    )


def rescale(
    state: NPTState,
    system: System,
    force: EnergyForceVirial,
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
    rng, noise_key, accept_key = jax.random.split(state.rng, 3)
    dtype = state.position.dtype
    kT = BOLTZMANN * temperature
    rate = compressibility / GPA / barostat_time  # beta/tau
    spread = jnp.sqrt(0.5 * kT * rate * interval)  # of a move of lambda

    def look(state: NPTState) -> tuple[jax.Array, jax.Array, jax.Array]:
        """lambda, where the proposal from there is centred, and -log p(lambda)."""
        volume = jnp.abs(jnp.linalg.det(state.cell))
        kinetic = kinetic_energy(state.momentum, system)
        inside = (2 * kinetic - state.virial) / (3 * volume)
        root = jnp.sqrt(volume)
        drift = 0.25 * rate * (2 * root * (inside - pressure * GPA) + kT / root)
        enthalpy = kinetic + state.energy + pressure * GPA * volume
        return root, root + drift * interval, enthalpy / kT - jnp.log(root)

    root, centre, cost = look(state)
    noise = spread * jax.random.normal(noise_key, (), dtype)
    wanted = ((centre + noise) / root) ** (2 / 3)  # NaN of a negative lambda fails all that follows
    scale = jnp.clip(wanted, 1 / LARGEST, LARGEST).astype(dtype)
    cell, x = state.cell * scale, state.position * scale
    energy, forces, virial = force(x, cell)
    new = NPTState(x, state.momentum / scale, forces, cell, energy, virial, state.accepted + 1, rng)
    new_root, new_centre, new_cost = look(new)
    there = (new_root - centre) / spread
    back = (root - new_centre) / spread
    log_ratio = cost - new_cost + 0.5 * (there**2 - back**2)
    possible = (wanted > 1 / LARGEST) & (wanted < LARGEST)
    lucky = jnp.log(jax.random.uniform(accept_key, (), dtype)) < log_ratio
    stay = dataclasses.replace(state, rng=rng)
    return jax.tree.map(lambda a, b: jnp.where(possible & lucky, a, b), new, stay)
