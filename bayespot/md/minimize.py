"""Energy minimisation of many configurations at once, by FIRE (Bitzek et al. 2006; jax-md's)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md import door
from bayespot.md.ensembles import NVE, whole_number
from bayespot.neighbors import Lists, NeighborList, allocate
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
        energy: (draws, replicas) eV, of these positions.
        largest_force: (draws, replicas) over atoms, eV/Angstrom.
        converged: (draws, replicas) True where that is below the tolerance; what ran out of steps
            or met a force that is not finite has not converged.
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
        force_tolerance: eV/Angstrom, on the largest force of an atom; below 10.
        max_steps: rounded up to a multiple of 50; 0 only evaluates.
        skin: of neighbour lists, Angstrom.

    Raises:
        UserError: elements the potential does not know, an impossible density, starts or settings
            that make no sense.
    """
    door.check(potential, system, NVE(1.0))
    door.check_settings(skin=skin)
    if not 0 < force_tolerance < LARGEST_FORCE:
        raise UserError(
            f"force tolerance is {force_tolerance}",
            f"Give a positive number of eV/Å below {LARGEST_FORCE:g}",
        )
    max_steps = whole_number("max_steps", max_steps, 0)
    starts = door.starts_of(system, params, starts)
    lists = _allocate(system, starts, potential.cutoff, skin)
    states = _start(potential, params, system, starts, lists)
    done = 0
    while True:
        energy, forces = _evaluate(potential, params, system, states.position, lists)
        states = states.set(force=_capped(forces))
        # a force that is not finite keeps nobody waiting
        if done >= max_steps or not bool(jnp.any(_largest(states.force) >= force_tolerance)):
            break
        new, built = _block(potential, params, system, states, lists, force_tolerance)
        if bool(jnp.any(built.overflow)):
            lists = _grow(lists, system, states.position, np.asarray(built.overflow))
            continue
        states, lists, done = new, built, done + STEPS
    largest = _largest(forces)
    return Minimum(
        np.asarray(states.position),
        np.asarray(energy),
        np.asarray(largest),
        np.asarray(largest < force_tolerance),
        done,
    )


def _allocate(system: System, positions: jax.Array, cutoff: float, skin: float) -> Lists:
    """Lists with room for the densest of the configurations (draw, replica, atoms, 3)."""
    first = allocate(system.replace(positions=positions[0, 0]), cutoff, skin)
    made = _rebuild(first, positions, system)
    while bool(jnp.any(made.overflow)):
        made = _grow(made, system, positions, np.asarray(made.overflow))
    return made


def _grow(lists: Lists, system: System, positions: jax.Array, crowded: np.ndarray) -> Lists:
    """Lists with half as many slots again, and no fewer than the first crowded one needs.

    An absolute number: a multiple of what a configuration without neighbours needs stays nought.

    Args:
        lists: (draw, replica) leading axes.
        system: species and cell.
        positions: (draw, replica, atoms, 3) Angstrom.
        crowded: (draw, replica) True where a list overflowed.
    """
    assert isinstance(lists, NeighborList)  # all pairs always fit
    draw, replica = np.argwhere(crowded)[0]
    here = system.replace(positions=positions[draw, replica])
    one = allocate(here, lists.cutoff, lists.skin, "list")
    assert isinstance(one, NeighborList)
    assert one.grid is not None
    slots = max(one.index.shape[-1], int(np.ceil(1.5 * lists.index.shape[-1])) + 1)
    atoms = one.index.shape[0]
    room = dataclasses.replace(
        one,
        index=jnp.zeros((atoms, slots), one.index.dtype),
        shift=jnp.zeros((atoms, slots, 3), one.shift.dtype),
        grid=one.grid.wider(lists.grid),
    )
    return _rebuild(room, positions, system)


@jax.jit
def _rebuild(first: Lists, positions: jax.Array, system: System) -> Lists:
    update = jax.vmap(jax.vmap(lambda x: first.update(system.replace(positions=x))))
    return update(positions)


def _largest(forces: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.max(jnp.sum(forces**2, axis=-1), axis=-1))


def _capped(forces: jax.Array) -> jax.Array:
    """Forces (..., atoms, 3) no longer than ``LARGEST_FORCE``; what is not finite becomes NaN."""
    # squares of what overlapping atoms feel leave float32
    scale = jnp.maximum(jnp.max(jnp.abs(forces), axis=-1, keepdims=True), LARGEST_FORCE)
    size = scale * jnp.linalg.norm(forces / scale, axis=-1, keepdims=True)
    return jnp.where(size <= LARGEST_FORCE, forces, forces * (LARGEST_FORCE / size))


def _over(f: Any) -> Any:
    """Over draws and replicas; the first argument, the parameters, has no replica axis."""
    return jax.vmap(jax.vmap(f, (None, 0, 0)), (0, 0, 0))


def _fire(potential: Potential, params: Any, system: System, neighbors: Lists) -> Any:
    from jax_md.minimize import fire_descent

    def force(positions: jax.Array, **unused: Any) -> jax.Array:
        here = system.replace(positions=positions)
        return _capped(energy_and_forces(potential, params, here, neighbors)[1])

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
        # converged ones stay where they are, and those that broke down where they did
        rest = ~(_largest(state.force) >= tolerance)
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
    """Energy and forces; a block leaves lists that hold for its last positions."""

    def one(params: Any, x: jax.Array, neighbors: Lists) -> Any:
        return energy_and_forces(potential, params, system.replace(positions=x), neighbors)

    return _over(one)(params, positions, lists)
