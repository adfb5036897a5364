"""Integrators of one replica in eV, Angstrom, fs and K; jax-md's where their law is right.

jax-md's Nose-Hoover chain counts 3N degrees of freedom although the chain conserves total
momentum, which heats nine atoms by an eighth: the count is corrected here, and for open systems
the conserved rotation is removed as well.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayespot.md.chain import half_step
from bayespot.system import System
from bayespot.units import BOLTZMANN, MASS

Force = Callable[[jax.Array], jax.Array]
Scalar = Any  # float or scalar array; jax-md's annotations say float and its code takes both


class Integrator(NamedTuple):
    """How one replica moves.

    Attributes:
        init: ``(key, system) -> state``; states have ``position`` and ``momentum`` (atoms, 3).
        step: ``state -> state``.
        freedoms: degrees of freedom that share the kinetic energy.
    """

    init: Callable[[jax.Array, System], Any]
    step: Callable[[Any], Any]
    freedoms: int


def velocity_verlet(
    force: Force, atoms: int, open_system: bool, time_step: Scalar, temperature: Scalar
) -> Integrator:
    """Constant energy, momentum and (in open systems) angular momentum zero.

    Args:
        force: ``positions -> forces`` in eV/Angstrom.
        atoms: how many exist.
        open_system: no periodic direction.
        time_step: fs.
        temperature: K, of the initial momenta.
    """
    from jax_md import simulate

    init_fn, step_fn = simulate.nve(force, _move, time_step)

    def init(key: jax.Array, system: System) -> Any:
        momenta = thermal_momenta(key, system, BOLTZMANN * temperature)
        momenta = _rigid_free(momenta, system, atoms)
        return init_fn(key, system.positions, 0.0, mass=mass_of(system), momenta=momenta)

    return Integrator(init, step_fn, 3 * atoms - rigid_freedoms(atoms, open_system))


def langevin(
    force: Force, atoms: int, time_step: Scalar, temperature: Scalar, friction: Scalar
) -> Integrator:
    """Langevin dynamics, BAOAB splitting (Leimkuhler & Matthews 2013).

    Args:
        force: ``positions -> forces`` in eV/Angstrom.
        atoms: how many exist.
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
        return init_fn(noise_key, system.positions, mass=mass_of(system), momenta=momenta)

    return Integrator(init, step_fn, 3 * atoms)


def nose_hoover(
    force: Force,
    atoms: int,
    open_system: bool,
    time_step: Scalar,
    temperature: Scalar,
    relaxation_time: Scalar,
    chain_length: int = 5,
) -> Integrator:
    """Nose-Hoover chain (Martyna et al. 1992), total momentum zero, and in open systems total
    angular momentum too.

    Args:
        force: ``positions -> forces`` in eV/Angstrom.
        atoms: how many exist.
        open_system: no periodic direction.
        time_step: fs.
        temperature: K.
        relaxation_time: tau in fs.
        chain_length: thermostats in the chain.
    """
    from jax_md import simulate

    kT = BOLTZMANN * temperature
    # jax-md's tau is absolute, in the unit of the time step
    with _quiet():
        init_fn, _ = simulate.nvt_nose_hoover(
            force, _move, time_step, kT, chain_length=chain_length, tau=relaxation_time
        )
    # jax-md keeps this number static
    freedoms = 3 * atoms - rigid_freedoms(atoms, open_system)

    def init(key: jax.Array, system: System) -> Any:
        momenta = _rigid_free(thermal_momenta(key, system, kT), system, atoms)
        with _quiet():
            state = init_fn(key, system.positions, mass=mass_of(system), momenta=momenta)
        masses = state.chain.mass.at[0].set(freedoms * kT * relaxation_time**2)
        return state.set(chain=state.chain.set(degrees_of_freedom=freedoms, mass=masses))

    def step(state: Any) -> Any:
        chain, factor = half_step(state.chain, kT, time_step)
        state = state.set(momentum=factor * state.momentum)
        state = simulate.velocity_verlet(force, _move, time_step, state)
        kinetic = 0.5 * jnp.sum(state.momentum**2 / state.mass)
        chain, factor = half_step(chain.set(kinetic_energy=kinetic), kT, time_step)
        return state.set(momentum=factor * state.momentum, chain=chain)

    return Integrator(init, step, freedoms)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """jax-md asks for float64 sums wherever float64 is switched off, and JAX says so each time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Explicitly requested dtype float64", UserWarning)
        yield


def thermal_momenta(key: jax.Array, system: System, kT: Scalar) -> jax.Array:
    """Maxwell-Boltzmann momenta (atoms, 3), nothing removed; padding stays at rest."""
    noise = jax.random.normal(key, system.positions.shape, system.positions.dtype)
    noise = jnp.where(system.mask[:, None], noise, 0)
    return noise * jnp.sqrt(mass_of(system)[:, None] * kT).astype(noise.dtype)


def kinetic_energy(momenta: jax.Array, system: System) -> jax.Array:
    """eV."""
    square = jnp.where(system.mask[:, None], momenta**2, 0)
    return 0.5 * jnp.sum(square / mass_of(system)[:, None])


def mass_of(system: System) -> jax.Array:
    """(atoms,) eV fs^2/Angstrom^2."""
    return system.masses * jnp.asarray(MASS, system.masses.dtype)


def _move(positions: jax.Array, change: jax.Array, **unused: Any) -> jax.Array:
    return positions + change


def rigid_freedoms(atoms: int, open_system: bool) -> int:
    """Degrees of freedom that momentum-conserving dynamics must not count.

    A single atom keeps its momentum: without it nothing would move.  Linear molecules of three
    and more atoms are not recognised: they bend.
    """
    if atoms == 1:
        return 0
    if not open_system:
        return 3
    return 5 if atoms == 2 else 6


def _rigid_free(momenta: jax.Array, system: System, atoms: int) -> jax.Array:
    """Momenta without translation and, in open systems, rotation; a single atom's as they are."""
    if atoms == 1:
        return momenta
    positions = system.positions
    mass = jnp.where(system.mask, mass_of(system), 0.0)
    weight = mass[:, None] / jnp.sum(mass)
    momenta = momenta - weight * jnp.sum(momenta, axis=0)
    if any(system.pbc):
        return momenta
    arm = positions - jnp.sum(weight * positions, axis=0)
    spin = jnp.sum(jnp.cross(arm, momenta), axis=0)
    square = jnp.sum(arm**2, axis=1)
    inertia = jnp.sum(mass * square) * jnp.eye(3) - jnp.einsum("a,ax,ay->xy", mass, arm, arm)
    # least squares: a linear molecule has only two rotations
    omega = jnp.linalg.lstsq(inertia, spin)[0]
    return momenta - mass[:, None] * jnp.cross(omega, arm)
