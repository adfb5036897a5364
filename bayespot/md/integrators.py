"""Thermostatted integrators of one replica, from jax-md, in eV, Angstrom, fs and K.

jax-md's laws are kept where they are right.  Its Nose-Hoover chain counts 3N degrees of freedom
although the chain conserves total momentum, which heats nine atoms by an eighth: the count is
corrected here, and for open systems the conserved rotation is removed as well.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayespot.system import System
from bayespot.units import BOLTZMANN, MASS

Force = Callable[[jax.Array], jax.Array]
Scalar = Any  # float or scalar array; jax-md's annotations say float and its code takes both


class Integrator(NamedTuple):
    """``init(key, system) -> state`` and ``step(state) -> state``; states have ``position`` and
    ``momentum`` (atoms, 3)."""

    init: Callable[[jax.Array, System], Any]
    step: Callable[[Any], Any]


def langevin(force: Force, time_step: Scalar, temperature: Scalar, friction: Scalar) -> Integrator:
    """Langevin dynamics, BAOAB splitting (Leimkuhler & Matthews 2013).

    Args:
        force: ``positions -> forces`` in eV/Angstrom.
        time_step: fs.
        temperature: K.
        friction: gamma in 1/fs.
    """
    from jax_md import simulate

    kT = BOLTZMANN * temperature
    init_fn, step_fn = simulate.nvt_langevin(force, _move, time_step, kT, friction)

    def init(key: jax.Array, system: System) -> Any:
        momentum_key, noise_key = jax.random.split(key)
        momenta = thermal_momenta(momentum_key, system, kT)
        return init_fn(noise_key, system.positions, mass=_mass(system), momenta=momenta)

    return Integrator(init, step_fn)


def nose_hoover(
    force: Force,
    time_step: Scalar,
    temperature: Scalar,
    relaxation_time: Scalar,
    open_system: bool,
    chain_length: int = 5,
) -> Integrator:
    """Nose-Hoover chain (Martyna et al. 1992), total momentum zero, and in open systems total
    angular momentum too.

    Args:
        force: ``positions -> forces`` in eV/Angstrom.
        time_step: fs.
        temperature: K.
        relaxation_time: tau in fs.
        open_system: no periodic direction.
        chain_length: thermostats in the chain.
    """
    from jax_md import simulate

    kT = BOLTZMANN * temperature
    # jax-md's tau is absolute, in the unit of the time step
    with _quiet():
        init_fn, step_fn = simulate.nvt_nose_hoover(
            force, _move, time_step, kT, chain_length=chain_length, tau=relaxation_time
        )

    def init(key: jax.Array, system: System) -> Any:
        mass = _mass(system)
        momenta = thermal_momenta(key, system, kT)
        momenta, removed = _remove_rigid_motion(system.positions, momenta, mass, open_system)
        with _quiet():
            state = init_fn(key, system.positions, mass=mass, momenta=momenta)
        freedom = 3 * system.positions.shape[0] - removed
        return state.set(chain=state.chain.set(degrees_of_freedom=freedom))

    def step(state: Any) -> Any:
        with _quiet():
            return step_fn(state)

    return Integrator(init, step)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """jax-md asks for float64 sums wherever float64 is switched off, and JAX says so each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype float64", UserWarning)
        yield


def thermal_momenta(key: jax.Array, system: System, kT: Scalar) -> jax.Array:
    """Maxwell-Boltzmann momenta (atoms, 3), nothing removed."""
    noise = jax.random.normal(key, system.positions.shape, system.positions.dtype)
    return noise * jnp.sqrt(_mass(system)[:, None] * kT).astype(noise.dtype)


def kinetic_temperature(
    momenta: jax.Array, system: System, degrees_of_freedom: jax.Array | float
) -> jax.Array:
    """Instantaneous temperature in K."""
    kinetic = 0.5 * jnp.sum(jnp.where(system.mask[:, None], momenta**2, 0) / _mass(system)[:, None])
    return 2 * kinetic / (degrees_of_freedom * BOLTZMANN)


def _move(positions: jax.Array, change: jax.Array, **unused: Any) -> jax.Array:
    return positions + change


def _mass(system: System) -> jax.Array:
    return system.masses * jnp.asarray(MASS, system.masses.dtype)


def rigid_freedoms(atoms: int, open_system: bool) -> int:
    """Degrees of freedom that a momentum-conserving thermostat must not count.

    Linear molecules of three and more atoms are not recognised: they bend.
    """
    if not open_system:
        return 3
    return 5 if atoms == 2 else 6


def _remove_rigid_motion(
    positions: jax.Array, momenta: jax.Array, mass: jax.Array, open_system: bool
) -> tuple[jax.Array, int]:
    """Momenta without translation (and rotation), and how many freedoms that removed."""
    weight = mass[:, None] / jnp.sum(mass)
    momenta = momenta - weight * jnp.sum(momenta, axis=0)
    removed = rigid_freedoms(len(mass), open_system)
    if not open_system:
        return momenta, removed
    arm = positions - jnp.sum(weight * positions, axis=0)
    spin = jnp.sum(jnp.cross(arm, momenta), axis=0)
    square = jnp.sum(arm**2, axis=1)
    inertia = jnp.sum(mass * square) * jnp.eye(3) - jnp.einsum("a,ax,ay->xy", mass, arm, arm)
    # least squares: a linear molecule has only two rotations
    omega = jnp.linalg.lstsq(inertia, spin)[0]
    return momenta - mass[:, None] * jnp.cross(omega, arm), removed
