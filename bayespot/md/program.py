"""The compiled part of the engine: one block of steps of all replicas of all draws.

The state has two leading axes (draw, replica); replicas of a draw share its parameters, so that
the network's matrix products grow instead of its memory.  The neighbour rebuild is one predicate
for the whole batch, outside ``vmap``: inside it, every replica would rebuild at every step.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayespot.md import barostat, integrators
from bayespot.md.ensembles import Length
from bayespot.md.monitor import NAME, Monitor
from bayespot.md.stability import BLOWN_UP, NOT_FINITE, UNCERTAIN, Stability
from bayespot.neighbors import Lists
from bayespot.observables import Frame, Observable
from bayespot.potentials import Potential, energy_and_forces
from bayespot.potentials.base import energy_forces_virial
from bayespot.system import System
from bayespot.units import BOLTZMANN

CELL_MOVE = 0.005
"""Strain of one move of the barostat that lists keep room for; larger ones are rare."""

TOO_HOT = 10.0
"""Times the temperature (or 1000 K, where that is more) that nothing but a blow-up reaches."""


class Plan(NamedTuple):
    """What a program is compiled for; hashable, so that an equal call finds it again.

    Attributes:
        potential: shared by all draws.
        atoms: how many exist.
        ensemble: ``Ensemble.shape``.
        length: steps, frames and blocks.
        observables: averaged inside the scan.
        stability: criteria beyond "finite".
        record: frames between two that are handed out; 0 hands out none.
        monitor: of a committee's disagreement, or None.
    """

    potential: Potential
    atoms: int
    ensemble: tuple[Any, ...]
    length: Length
    observables: tuple[Observable, ...]
    stability: Stability
    record: int
    monitor: Monitor | None = None


class Carry(NamedTuple):
    """What one block hands to the next; every leaf has leading axes (draw, replica).

    ``history`` holds what observables track, by name: (draw, replica, window, ...); ``watch`` what
    a monitor remembers, None where there is none.
    """

    states: Any
    neighbors: Any
    reason: jax.Array
    failed_at: jax.Array
    history: Any
    watch: Any = None


class Averages(NamedTuple):
    """Of one block; (draw, replica) leading axes.

    Attributes:
        means: observable name -> averaged snapshot.
        temperature: K.
        frames: recorded positions, cells and potential energies, (draw, replica, frame, ...), or
            None.
    """

    means: Any
    temperature: Any
    frames: Any


class _Dynamics(NamedTuple):
    """One replica's dynamics, whatever the ensemble."""

    init: Any
    step: Any
    renew: Any  # forces of other parameters
    rescale: Any  # None where the cell is fixed
    every: int
    freedoms: Any


def configuration(state: Any, system: System, at: dict[str, jax.Array]) -> System:
    """Where a replica is now; ``at`` are its conditions, with the cell that it started in."""
    here = system.replace(positions=state.position, cell=getattr(state, "cell", at["cell"]))
    return _told(here, at)


def _told(system: System, at: dict[str, jax.Array]) -> System:
    """``system`` with its replica's temperature, where it tells one."""
    if system.temperature is None:
        return system
    return system.replace(temperature=at["temperature"].astype(system.positions.dtype))


def _dynamics(
    plan: Plan, params: Any, neighbors: Lists, system: System, at: dict[str, jax.Array]
) -> _Dynamics:
    system = _told(system.replace(cell=at["cell"]), at)
    potential: Any = plan.potential
    if "fallen" in at:
        potential = potential.switched(at["fallen"])

    def force(positions: jax.Array, **unused: Any) -> jax.Array:
        here = system.replace(positions=positions)
        return energy_and_forces(potential, params, here, neighbors)[1]

    def energy_force_virial(positions: jax.Array, cell: jax.Array) -> Any:
        here = system.replace(positions=positions, cell=cell)
        return energy_forces_virial(potential, params, here, neighbors)

    kind = plan.ensemble[0]
    dt, temperature = at["time_step"], at["temperature"]
    if kind == "NPT":
        every = plan.ensemble[1]
        return _Dynamics(
            lambda key, system: barostat.init(key, system, energy_force_virial, temperature),
            lambda state: barostat.step(
                state, system, energy_force_virial, dt, temperature, at["friction"]
            ),
            lambda state: barostat.renew(state, energy_force_virial),
            lambda state: barostat.rescale(
                state, system, energy_force_virial, every * dt, temperature,
                at["pressure"], at["barostat_time"], at["compressibility"],
            ),
            every,
            3 * plan.atoms,
        )  # fmt: skip
    if kind == "NVE":
        made = integrators.velocity_verlet(force, plan.atoms, not any(system.pbc), dt, temperature)
    elif plan.ensemble[1] == "langevin":
        made = integrators.langevin(force, plan.atoms, dt, temperature, at["friction"])
    else:
        made = integrators.nose_hoover(
            force, plan.atoms, not any(system.pbc), dt, temperature, at["relaxation_time"]
        )

    def renew(state: Any) -> Any:
        return state.set(force=force(state.position))

    return _Dynamics(made.init, made.step, renew, None, 0, made.freedoms)


def _both(f: Any, axes: tuple[Any, ...], shared: tuple[int, ...] = ()) -> Any:
    """``f`` over draws and replicas; arguments in ``shared`` have no replica axis."""
    inner = tuple(None if i in shared else a for i, a in enumerate(axes))
    return jax.vmap(jax.vmap(f, inner), axes)


@functools.partial(jax.jit, static_argnums=0)
def start(
    plan: Plan, keys: jax.Array, params: Any, system: System, conditions: Any, starts: jax.Array,
    neighbors: Lists,
) -> tuple[Carry, jax.Array]:  # fmt: skip
    """The first carry, and the smallest distance of two atoms in each start.

    Args:
        plan: static.
        keys: (draw, replica) raw keys: jax-md keeps them in its states.
        params: leading draw axis.
        system: one for all.
        conditions: (draw, replica) numbers by name.
        starts: (draw, replica, atoms, 3) Angstrom.
        neighbors: allocated for one of them.
    """

    def one(key: jax.Array, params: Any, at: Any, positions: jax.Array) -> Any:
        here = system.replace(positions=positions, cell=at["cell"])
        built = neighbors.update(here)
        pairs = built.pairs(here)
        # particles that do not interact may sit anywhere
        met = pairs.mask & (pairs.distances < plan.potential.cutoff)
        nearest = jnp.min(jnp.where(met, pairs.distances, jnp.inf))
        return _dynamics(plan, params, built, system, at).init(key, here), built, nearest

    states, built, nearest = _both(one, (0, 0, 0, 0), shared=(1,))(keys, params, conditions, starts)
    nought = jnp.zeros(starts.shape[:2], jnp.int32)

    def tracked(state: Any, params: Any, neighbors: Any, at: Any) -> dict[str, jax.Array]:
        here = configuration(state, system, at)

        def empty(observable: Observable) -> jax.Array:
            def track() -> jax.Array:
                energy = plan.potential.energy(params, here, neighbors)
                seen = Frame(here, energy, state.momentum, neighbors, plan.potential, params)
                return observable.track(seen)

            one = jax.eval_shape(track)
            return jnp.zeros((observable.window, *one.shape), one.dtype)

        return {o.name: empty(o) for o in plan.observables if o.window}

    history = _both(tracked, (0, 0, 0, 0), shared=(1,))(states, params, built, conditions)
    watch = None
    if plan.monitor is not None:
        begin = plan.monitor.begin()
        watch = jax.tree.map(lambda x: jnp.broadcast_to(x, (*starts.shape[:2], *x.shape)), begin)
    return Carry(states, built, nought, nought - 1, history, watch), nearest


@jax.jit
def rebuild(lists: Lists, states: Any, system: System, conditions: Any) -> Any:
    """Lists like ``lists`` (of one replica) for where all replicas are."""

    def one(state: Any, at: Any) -> Any:
        return lists.update(configuration(state, system, at))

    return jax.vmap(jax.vmap(one))(states, conditions)


@functools.partial(jax.jit, static_argnums=0)
def restart(
    plan: Plan, lists: Lists, states: Any, params: Any, system: System, conditions: Any
) -> tuple[Any, Any]:
    """Lists like ``lists`` for where all replicas are, and states with forces of ``params``."""

    def one(state: Any, params: Any, at: Any) -> Any:
        built = lists.update(configuration(state, system, at))
        return built, _dynamics(plan, params, built, system, at).renew(state)

    return _both(one, (0, 0, 0), shared=(1,))(states, params, conditions)


def block(
    plan: Plan, carry: Carry, params: Any, system: System, conditions: Any, first_step: jax.Array
) -> tuple[Carry, Averages]:
    """``length.block_steps`` steps of all replicas; to be jitted with ``plan`` static."""
    stride = plan.length.stride
    varies = hasattr(carry.states, "cell")

    def cells(states: Any) -> jax.Array:
        return states.cell if varies else conditions["cell"]

    def stale(states: Any, neighbors: Any, alive: jax.Array) -> jax.Array:
        """Whether lists would miss a pair in the next step: its force call comes before a rebuild
        can."""

        def one(neighbors: Lists, state: Any, cell: jax.Array, at: Any) -> jax.Array:
            mass = integrators.mass_of(system)[:, None]
            ahead = state.position + at["time_step"] * state.momentum / mass
            here = system.replace(positions=ahead.astype(state.position.dtype), cell=cell)
            return neighbors.needs_update(here, CELL_MOVE if varies else None)

        moved = jax.vmap(jax.vmap(one))(neighbors, states, cells(states), conditions)
        return jnp.any(moved & alive)

    def step_one(state: Any, params: Any, neighbors: Any, at: Any) -> Any:
        return _dynamics(plan, params, neighbors, system, at).step(state)

    def rescale_one(state: Any, params: Any, neighbors: Any, at: Any) -> Any:
        return _dynamics(plan, params, neighbors, system, at).rescale(state)

    step_all = _both(step_one, (0, 0, 0, 0), shared=(1,))
    rescale_all = _both(rescale_one, (0, 0, 0, 0), shared=(1,))

    def renew(states: Any, neighbors: Any) -> Any:
        def one(lists: Lists, state: Any, at: Any) -> Lists:
            return lists.update(configuration(state, system, at))

        return jax.vmap(jax.vmap(one))(neighbors, states, conditions)

    def hot_one(state: Any, params: Any, neighbors: Any, at: Any) -> jax.Array:
        freedoms = _dynamics(plan, params, neighbors, system, at).freedoms
        kinetic = integrators.kinetic_energy(state.momentum, system)
        # some 100 kT above the mean: a few freedoms fluctuate, but not as much as that
        limit = TOO_HOT * freedoms / 2 + 50
        return kinetic > limit * BOLTZMANN * jnp.maximum(at["temperature"], 1000.0)

    hot_all = _both(hot_one, (0, 0, 0, 0), shared=(1,))

    def steps(
        states: Any, neighbors: Any, alive: jax.Array, now: jax.Array, conditions: Any
    ) -> Any:
        """``stride`` steps from step number ``now``; which replicas blew up meanwhile comes last.

        Thermostats may cool the wreck before anyone looks, so every step is checked.

        The lists stay outside the inner loop, which runs until one is stale: a branch at every
        step would copy them.
        """

        def outer(carry: Any) -> Any:
            states, neighbors, done, old, hot = carry
            neighbors = jax.lax.cond(old, renew, lambda s, n: n, states, neighbors)

            def inner(carry: Any) -> Any:
                states, done, _, hot = carry
                states = step_all(states, params, neighbors, conditions)
                done = done + 1
                if varies:
                    # lists follow small strains; a move is made with the lists of before
                    states = jax.lax.cond(
                        (now + done) % plan.ensemble[1] == 0,
                        lambda s: rescale_all(s, params, neighbors, conditions),
                        lambda s: s,
                        states,
                    )
                hot |= hot_all(states, params, neighbors, conditions)
                return states, done, stale(states, neighbors, alive), hot

            states, done, old, hot = jax.lax.while_loop(
                lambda c: (c[1] < stride) & ~c[2], inner, (states, done, jnp.asarray(False), hot)
            )
            return states, neighbors, done, old, hot

        nought = jnp.zeros((), jnp.int32)
        begin = (
            states, neighbors, nought, stale(states, neighbors, alive), jnp.zeros_like(alive)
        )  # fmt: skip
        made = jax.lax.while_loop(lambda c: c[2] < stride, outer, begin)
        return made[0], made[1], made[4]

    def look_one(state: Any, params: Any, neighbors: Any, at: Any, history: Any) -> Any:
        here = configuration(state, system, at)
        energy = plan.potential.energy(params, here, neighbors)
        seen = Frame(here, energy, state.momentum, neighbors, plan.potential, params)
        history = {
            o.name: jnp.concatenate([o.track(seen)[None], history[o.name][:-1]])
            for o in plan.observables
            if o.window
        }
        frame = {
            o.name: o.snapshot(dataclasses.replace(seen, history=history.get(o.name)))
            for o in plan.observables
        }
        freedoms = _dynamics(plan, params, neighbors, system, at).freedoms
        kinetic = integrators.kinetic_energy(state.momentum, here)
        hot = 2 * kinetic / (freedoms * BOLTZMANN)
        code = plan.stability.check(here, state.momentum, neighbors)
        return (frame, hot), code, history, energy

    look_all = _both(look_one, (0, 0, 0, 0, 0), shared=(1,))
    monitor = plan.monitor
    falls = monitor is not None and monitor.action == "fall back"

    def watch_one(memory: Any, state: Any, params: Any, neighbors: Any, at: Any) -> Any:
        assert monitor is not None
        here = configuration(state, system, at)
        return monitor.look(memory, plan.potential, params, here, neighbors)

    watch_all = _both(watch_one, (0, 0, 0, 0, 0), shared=(2,))

    def renew_one(state: Any, params: Any, neighbors: Any, at: Any) -> Any:
        return _dynamics(plan, params, neighbors, system, at).renew(state)

    renew_all = _both(renew_one, (0, 0, 0, 0), shared=(1,))

    def switched(carry: Carry, memory: Any, states: Any, neighbors: Any) -> Any:
        """Forces of the other potential for replicas that fell back, or returned."""
        turned = memory["fallen"] != carry.watch["fallen"]
        new = renew_all(states, params, neighbors, conditions | {"fallen": memory["fallen"]})
        return jax.tree.map(lambda x, y: jnp.where(_expand(turned, x), x, y), new, states)

    def frame(carry: Any, index: jax.Array) -> tuple[Any, Any]:
        carry, totals, dumps = carry
        now = first_step + index * stride
        here = conditions | {"fallen": carry.watch["fallen"]} if falls else conditions
        states, neighbors, hot = steps(carry.states, carry.neighbors, carry.reason == 0, now, here)
        looked, code, history, energy = look_all(
            states, params, neighbors, conditions, carry.history
        )
        # what a crowded list made of bonds and distances is no verdict: the block is repeated
        code = jnp.where(neighbors.overflow & (code != NOT_FINITE), 0, code)
        code = jnp.where(hot & (code != NOT_FINITE), BLOWN_UP, code)
        seen, memory = None, None
        if monitor is not None:
            memory, seen, above, keep = watch_all(
                carry.watch, states, params, neighbors, conditions
            )
            if monitor.action == "stop":
                code = jnp.where(above & (code == 0) & ~neighbors.overflow, UNCERTAIN, code)
            keep &= carry.reason == 0
            if monitor.dumps:
                dumps = _kept(dumps, keep, index, states.position, cells(states))
            if falls:
                states = jax.lax.cond(
                    jnp.any(memory["fallen"] != carry.watch["fallen"]),
                    lambda s: switched(carry, memory, s, neighbors),
                    lambda s: s,
                    states,
                )
        reason = jnp.where(carry.reason == 0, code.astype(jnp.int32), carry.reason)
        alive = reason == 0
        energy = jnp.where(alive, energy, jnp.nan)  # its configuration is discarded below
        late = (now + stride).astype(jnp.int32)
        failed_at = jnp.where((carry.failed_at < 0) & ~alive, late, carry.failed_at)
        states = jax.tree.map(
            lambda new, old: jnp.where(_expand(alive, new), new, old), states, carry.states
        )
        looked = jax.tree.map(lambda x: jnp.where(_expand(alive, x), x, 0.0), looked)
        totals = jax.tree.map(jnp.add, totals, looked)
        # what a replica showed in the frame that stopped it is part of the trace
        seen = jax.tree.map(lambda x: jnp.where(carry.reason == 0, x, jnp.nan), seen)
        new = Carry(states, neighbors, reason, failed_at, history, memory)
        return (new, totals, dumps), (energy, seen)

    shapes = jax.eval_shape(
        look_all, carry.states, params, carry.neighbors, conditions, carry.history
    )[0]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    frames = plan.length.block_steps // stride
    dumps = None
    if monitor is not None and monitor.dumps:
        dumps = _no_dumps(monitor.dumps, carry.states.position, cells(carry.states))
    begin = (carry, zeros, dumps)
    if not plan.record:
        (carry, totals, dumps), (_, seen) = jax.lax.scan(frame, begin, jnp.arange(frames))
        kept = None
    else:

        def several(carry: Any, indices: jax.Array) -> tuple[Any, Any]:
            carry, (energies, seen) = jax.lax.scan(frame, carry, indices)
            return carry, ((carry[0].states.position, cells(carry[0].states), energies[-1]), seen)

        indices = jnp.arange(frames).reshape(-1, plan.record)
        (carry, totals, dumps), (kept, seen) = jax.lax.scan(several, begin, indices)
        kept = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 2), kept)
        seen = jax.tree.map(lambda x: x.reshape(frames, *x.shape[2:]), seen)
    means, temperature = jax.tree.map(lambda x: x / frames, totals)
    if monitor is not None:
        traces = {name: jnp.moveaxis(x, 0, 2) for name, x in seen.items()}
        means[NAME] = traces | (dumps or {})
    return carry, Averages(means, temperature, kept)


def _no_dumps(slots: int, positions: jax.Array, cell: jax.Array) -> dict[str, jax.Array]:
    """(draw, replica, slots, ...) room for configurations; no frame of a block is number -1."""
    draws, replicas, atoms, _ = positions.shape
    return {
        "frame": jnp.full((draws, replicas, slots), -1, jnp.int32),
        "positions": jnp.zeros((draws, replicas, slots, atoms, 3), positions.dtype),
        "cell": jnp.zeros((draws, replicas, slots, 3, 3), cell.dtype),
    }


def _kept(
    dumps: dict[str, jax.Array], keep: jax.Array, index: jax.Array, positions: jax.Array,
    cell: jax.Array,
) -> dict[str, jax.Array]:  # fmt: skip
    """``dumps`` with the configurations of one frame in the next slots that are free."""
    slots = dumps["frame"].shape[-1]
    used = jnp.sum(dumps["frame"] >= 0, axis=-1, keepdims=True)
    here = keep[..., None] & (jnp.arange(slots) == used)
    values = {"frame": jnp.broadcast_to(index, keep.shape), "positions": positions, "cell": cell}
    return {
        name: jnp.where(_expand(here, x), jnp.asarray(values[name], x.dtype)[:, :, None], x)
        for name, x in dumps.items()
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _flat(plan: Plan, treedef: Any, leaves: list[jax.Array]) -> tuple[Carry, Averages]:
    return block(plan, *jax.tree.unflatten(treedef, leaves))


def run_block(plan: Plan, *arguments: Any) -> tuple[Carry, Averages]:
    """``block``, compiled."""
    leaves, treedef = jax.tree.flatten(arguments)
    return _flat(plan, treedef, leaves)


def memory_needed(plan: Plan, *arguments: Any) -> float | None:
    """Bytes that ``run_block`` needs besides its arguments and results; None where unknown.

    It compiles what ``run_block`` will run, and JAX keeps it.
    """
    leaves, treedef = jax.tree.flatten(arguments)
    needs = _flat.lower(plan, treedef, leaves).compile().memory_analysis()
    return None if needs is None else float(needs.temp_size_in_bytes)


def _expand(mask: jax.Array, like: jax.Array) -> jax.Array:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))
