"""Energy minimisation of many configurations at once, by FIRE (Bitzek et al. 2006; jax-md's)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md import door
from bayespot.md.ensembles import NVE
from bayespot.neighbors import Lists, allocate
from bayespot.potentials import Potential, energy_and_forces
from bayespot.system import System

STEPS = 50
"""Of a block: between two looks at the lists' capacity."""

LARGEST_FORCE = 10.0
"""eV/Angstrom an atom is pushed with at most: overlapping atoms part, and do not fly."""


class Minimum(NamedTuple):
    """Of every draw and replica.

    Attributes:
        positions: (draws, replicas, atoms, 3) Angstrom.
        energy: (draws, replicas) eV.
        largest_force: (draws, replicas) over atoms, eV/Angstrom.
        converged: (draws, replicas) True where that is below the tolerance.
        steps: of the slowest.
    """

    positions: np.ndarray
    energy: np.ndarray
    largest_force: np.ndarray
    converged: np.ndarray
    steps: int


def minimize(
    potential: Potential,
    params: Any,
    system: System,
    *,
    starts: jax.Array | None = None,
    force_tolerance: float = 0.01,
    max_steps: int = 1000,
    skin: float = 0.5,
) -> Minimum:
    """Positions of least energy near the starts, at constant cell.

    Args:
        potential: shared by all draws.
        params: pytree with a leading draw axis.
        system: species and cell.
        starts: (draws, replicas, atoms, 3) Angstrom; None takes the system's for each draw.
        force_tolerance: eV/Angstrom, on the largest force of an atom.
        max_steps: rounded up to a multiple of 50.
        skin: of neighbour lists, Angstrom.

    Raises:
        UserError: elements the potential does not know, an impossible density.
    """
    door.check(potential, system, NVE(1.0))
    if not force_tolerance > 0:
        raise UserError(f"force tolerance is {force_tolerance}", "Give a positive number of eV/Å")
    leaves = jax.tree.leaves(params)
    draws = len(leaves[0]) if leaves else 1 if starts is None else len(starts)
    if starts is None:
        starts = jnp.broadcast_to(system.positions, (draws, 1, *system.positions.shape))
    lists = _lists(system, starts, potential.cutoff, skin, 1.25)
    states = _start(potential, params, system, starts, lists)
    done, factor = 0, 1.25
    while done < max_steps:
        new, built = _block(potential, params, system, states, lists, force_tolerance)
        if bool(jnp.any(built.overflow)):
            factor *= 1.5
            lists = _lists(system, states.position, potential.cutoff, skin, factor)
            continue
        states, lists, done = new, built, done + STEPS
        if bool(jnp.all(_largest(states.force) < force_tolerance)):
            break
    energy, force = _evaluate(potential, params, system, states.position, lists)
    return Minimum(
        np.asarray(states.position),
        np.asarray(energy),
        np.asarray(force),
        np.asarray(force < force_tolerance),
        done,
    )


def _lists(
    system: System, positions: jax.Array, cutoff: float, skin: float, factor: float
) -> Lists:
    """Room for the densest of the configurations."""
    while True:
        first = allocate(
            system.replace(positions=positions[0, 0]), cutoff, skin, capacity_factor=factor
        )
        made = _rebuild(first, positions, system)
        if not bool(jnp.any(made.overflow)):
            return made
        factor *= 1.5


@jax.jit
def _rebuild(first: Lists, positions: jax.Array, system: System) -> Lists:
    update = jax.vmap(jax.vmap(lambda x: first.update(system.replace(positions=x))))
    return update(positions)


def _largest(forces: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.max(jnp.sum(forces**2, axis=-1), axis=-1))


def _over(f: Any) -> Any:
    """Over draws and replicas; the first argument, the parameters, has no replica axis."""
    return jax.vmap(jax.vmap(f, (None, 0, 0)), (0, 0, 0))


def _fire(potential: Potential, params: Any, system: System, neighbors: Lists) -> Any:
    from jax_md.minimize import fire_descent

    def force(positions: jax.Array, **unused: Any) -> jax.Array:
        here = system.replace(positions=positions)
        made = energy_and_forces(potential, params, here, neighbors)[1]
        size = jnp.linalg.norm(jnp.where(made == 0, 1e-30, made), axis=-1, keepdims=True)
        return made * jnp.minimum(1.0, LARGEST_FORCE / size)

    return fire_descent(force, lambda x, change, **unused: x + change)


@functools.partial(jax.jit, static_argnums=0)
def _start(
    potential: Potential, params: Any, system: System, starts: jax.Array, lists: Lists
) -> Any:
    def one(params: Any, positions: jax.Array, neighbors: Lists) -> Any:
        state = _fire(potential, params, system, neighbors)[0](positions)
        # jax-md keeps these two in half precision
        dtype = positions.dtype
        return state.set(dt=state.dt.astype(dtype), alpha=state.alpha.astype(dtype))

    return _over(one)(params, starts, lists)


@functools.partial(jax.jit, static_argnums=0)
def _block(
    potential: Potential, params: Any, system: System, states: Any, lists: Lists,
    tolerance: jax.Array | float,
) -> Any:  # fmt: skip
    def one(params: Any, state: Any, neighbors: Lists) -> Any:
        new = _fire(potential, params, system, neighbors)[1](state)
        rest = _largest(state.force) < tolerance  # converged ones stay where they are
        return jax.tree.map(lambda a, b: jnp.where(rest, b, a), new, state)

    def step(carry: Any, _: None) -> Any:
        states, lists = carry
        states = _over(one)(params, states, lists)
        moved = jax.vmap(jax.vmap(lambda n, x: n.needs_update(system.replace(positions=x))))
        stale = jnp.any(moved(lists, states.position))

        def renew(lists: Lists) -> Lists:
            update = jax.vmap(jax.vmap(lambda n, x: n.update(system.replace(positions=x))))
            return update(lists, states.position)

        return (states, jax.lax.cond(stale, renew, lambda n: n, lists)), None

    return jax.lax.scan(step, (states, lists), None, STEPS)[0]


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    potential: Potential, params: Any, system: System, positions: jax.Array, lists: Lists
) -> Any:
    def one(params: Any, x: jax.Array, neighbors: Lists) -> Any:
        fresh = neighbors.update(system.replace(positions=x))
        energy, force = energy_and_forces(potential, params, system.replace(positions=x), fresh)
        return energy, _largest(force)

    return _over(one)(params, positions, lists)
