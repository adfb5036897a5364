"""One batched engine: draws x replicas (x state points) of MD, observables inside the scan.

The host side: checks at the door, neighbour capacity, chunks that keep to a memory budget,
checkpoints, progress, trajectories on disk.  The compiled side is ``program.py``.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md import door, program
from bayespot.md.checkpoint import Store
from bayespot.md.ensembles import Ensemble, Length
from bayespot.md.stability import COLLAPSED, Stability
from bayespot.md.trajectory import Recorder
from bayespot.neighbors import AllPairs, NeighborList, allocate
from bayespot.observables import Observable
from bayespot.potentials import Potential
from bayespot.system import System

MOST_ROOM = 8.0
"""A list that needs this many times its first slots means atoms that fall onto each other."""

CACHE = 4e7
"""Bytes of temporaries that a CPU handles well at once."""


class Progress(NamedTuple):
    """What the engine tells its caller after each block."""

    step: int
    num_steps: int
    seconds: float  # of an average block
    replica_steps: int  # of a block
    seconds_left: float
    alive: np.ndarray


class Trajectories(NamedTuple):
    """Averages of every block of every replica.

    Attributes:
        means: observable name -> its snapshot dict, arrays (block, draw, replica, ...).
        temperature: (block, draw, replica) mean kinetic temperature, K.
        reason: (draw, replica) index into ``stability.REASONS``; 0 is stable.
        failed_at: (draw, replica) step (equilibration included) of failure, -1 where none.
        capacity_retries: how often a neighbour list overflowed and the block was repeated.
        final: the last configuration, (draw, replica) leading axes.
    """

    means: dict[str, dict[str, np.ndarray]]
    temperature: np.ndarray
    reason: np.ndarray
    failed_at: np.ndarray
    capacity_retries: int
    final: System | None = None


def simulate(
    key: jax.Array,
    potential: Potential,
    params: Any,
    system: System,
    ensemble: Ensemble,
    length: Length,
    observables: Sequence[Observable],
    *,
    starts: jax.Array | None = None,
    replicas: int = 1,
    stability: Stability | None = None,
    skin: float = 0.5,
    memory: float = 4e9,
    mesh: jax.sharding.Mesh | None = None,
    trajectory: Path | None = None,
    trajectory_stride: int = 1,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    callback: Callable[[Progress], None] | None = None,
) -> Trajectories:
    """Run ``replicas`` trajectories for every draw of ``params``.

    Args:
        key: from ``jax.random.key``; every replica gets its own.
        potential: shared by all draws.
        params: pytree with a leading draw axis.
        system: what is simulated, and where from.
        ensemble: thermodynamic conditions: one for all, or a number for each replica.
        length: steps, frames and blocks.
        observables: averaged inside the scan.
        starts: (draws, replicas, atoms, 3) positions in Angstrom, a start for each trajectory.
        replicas: trajectories per draw where ``starts`` is not given.
        stability: criteria beyond "finite".
        skin: of neighbour lists, Angstrom.
        memory: bytes a program may need at once; draws are run in chunks that keep to it.
        mesh: one-dimensional device mesh to spread the draws over.
        trajectory: write frames there: HDF5 (``.h5``) or, one file for each replica, extxyz
            (a folder).
        trajectory_stride: frames (of ``length.stride`` steps) between two that are written.
        checkpoint: folder to write after each block and to resume from, bit for bit.
        fingerprint: what the checkpoint must agree with.
        callback: called after each block.

    Raises:
        UserError: elements the potential does not know, atoms on top of each other, an impossible
            density, constant pressure without a periodic cell.
    """
    leaves = jax.tree.leaves(params)  # none: a potential with nothing to learn is one draw
    draws = len(leaves[0]) if leaves else 1 if starts is None else len(starts)
    if starts is None:
        starts = jnp.broadcast_to(system.positions, (draws, replicas, *system.positions.shape))
    if starts.shape != (draws, starts.shape[1], *system.positions.shape):
        raise ValueError(f"starts must be (draws, replicas, atoms, 3), not {starts.shape}")
    replicas = starts.shape[1]
    door.check(potential, system, ensemble)
    frames = length.block_steps // length.stride
    if trajectory is not None and frames % trajectory_stride:
        raise UserError(
            f"{frames} frames of a block do not divide by a trajectory stride of"
            f" {trajectory_stride}",
            "Choose a stride that divides it",
        )
    plan = program.Plan(
        potential,
        int(np.sum(np.asarray(system.mask))),
        ensemble.shape,
        length,
        tuple(observables),
        stability or Stability(),
        trajectory_stride if trajectory is not None else 0,
    )
    batch = _Batch(plan, params, system, ensemble.conditions(draws, replicas), mesh)
    carry = batch.start(key, starts, skin, ensemble.varies_cell)
    equilibration_blocks = length.equilibration // length.block_steps
    num_blocks = equilibration_blocks + length.blocks
    store = Store(checkpoint, fingerprint)
    recorder = Recorder(trajectory, store.folder) if trajectory is not None else None
    done, carry, blocks = store.load(carry)
    batch.divide(carry, memory)
    retries, started, done_before = 0, time.perf_counter(), done
    while done < num_blocks:
        new, averages = batch.block(carry, done * length.block_steps)
        crowded = np.asarray(new.neighbors.overflow & (new.reason == 0))
        if crowded.any():
            # The carry is that of the last good block: repeat it with more room.
            carry = batch.grow(carry, crowded, done * length.block_steps)
            retries += 1
            continue
        carry = new
        means, temperature, recorded = jax.tree.map(np.asarray, averages)
        blocks.append((means, temperature))
        if recorder is not None and done >= equilibration_blocks:
            recorder.add(done - equilibration_blocks, recorded)
        done += 1
        store.save(done, carry, blocks[-1])
        if callback is not None:
            elapsed = (time.perf_counter() - started) / (done - done_before)
            callback(
                Progress(
                    done * length.block_steps,
                    num_blocks * length.block_steps,
                    elapsed,
                    length.block_steps * draws * replicas,
                    elapsed * (num_blocks - done),
                    np.asarray(carry.reason) == 0,
                )
            )
    production = jax.tree.map(lambda *x: np.stack(x), *blocks[equilibration_blocks:])
    means, temperature = production
    reason, failed_at = np.asarray(carry.reason), np.asarray(carry.failed_at)
    if recorder is not None:
        time_step = np.broadcast_to(np.asarray(ensemble.time_step, float), (draws, replicas))
        between = length.stride * trajectory_stride * time_step
        recorder.finish(system, length.blocks, between, reason)
    final = jax.vmap(jax.vmap(lambda s: program.configuration(s, system)))(carry.states)
    return Trajectories(means, temperature, reason, failed_at, retries, final)


class _Batch:
    """All draws: which program runs them, and in which chunks."""

    def __init__(
        self,
        plan: program.Plan,
        params: Any,
        system: System,
        conditions: dict[str, jax.Array],
        mesh: jax.sharding.Mesh | None,
    ) -> None:
        self.plan, self.params, self.system, self.conditions = plan, params, system, conditions
        self.draws = next(iter(conditions.values())).shape[0]
        self.mesh = mesh
        self.chunk = self.draws
        self.first_slots = 0
        if mesh is not None and (len(mesh.axis_names) != 1 or self.draws % mesh.size):
            raise ValueError(
                f"{self.draws} draws cannot be spread over a mesh of shape {dict(mesh.shape)}:"
                " it must have one axis that divides their number"
            )
        self.run: Any = program.run_block
        if mesh is not None:  # explicit axes (make_mesh's default) would want specs on arguments
            self.run = _sharded(jax.sharding.Mesh(mesh.devices, mesh.axis_names))

    def start(
        self, key: jax.Array, starts: jax.Array, skin: float, varies_cell: bool
    ) -> program.Carry:
        """Momenta, forces and lists; lists grow until they hold the densest start."""
        draws, replicas = starts.shape[:2]
        keys = jax.random.key_data(jax.random.split(key, draws * replicas))
        keys = keys.reshape(draws, replicas, -1)
        factor = 1.25
        while True:
            first = allocate(
                self.system.replace(positions=starts[0, 0]),
                self.plan.potential.cutoff,
                skin,
                capacity_factor=factor,
                cell_margin=0.1 if varies_cell else 0.0,
            )
            carry, nearest = program.start(
                self.plan, keys, self.params, self.system, self.conditions, starts, first
            )
            if not bool(jnp.any(carry.neighbors.overflow)):
                break
            factor *= 1.5
        door.check_starts(np.asarray(nearest))
        self.first_slots = first.index.shape[-1] if isinstance(first, NeighborList) else 0
        return carry

    def divide(self, carry: program.Carry, memory: float) -> None:
        """Chunks of draws whose program needs no more than ``memory`` bytes at once.

        On a CPU they shall fit its caches as well: 8 draws of a SchNet on 64 atoms at once take
        a fifth less time each than 32.
        """
        if self.mesh is not None or self.draws == 1:
            return
        needs = program.memory_needed(
            self.plan, carry, self.params, self.system, self.conditions, jnp.asarray(0)
        )
        if needs is None:  # a backend that does not tell
            return
        kept, temporary = needs
        for_each = max(temporary / self.draws, 1.0)
        room = int(max(memory - kept, 0.0) / for_each)
        if jax.default_backend() == "cpu":
            room = min(room, int(CACHE / for_each))
        room = max(1, min(room, self.draws))
        # the last chunk is filled up: of the sizes not far below, the one that wastes least
        sizes = range(max(1, room // 2), room + 1)
        self.chunk = min(sizes, key=lambda size: (-(-self.draws // size) * size, -size))

    def block(self, carry: program.Carry, step: int) -> tuple[program.Carry, program.Averages]:
        """One block of all draws, chunk by chunk."""
        now = jnp.asarray(step)
        if self.chunk >= self.draws:
            return self.run(self.plan, carry, self.params, self.system, self.conditions, now)
        made = []
        for first in range(0, self.draws, self.chunk):
            # the last chunk is filled up with draws done before: one shape, one program
            low = min(first, self.draws - self.chunk)
            part = jax.tree.map(
                lambda x, low=low: x[low : low + self.chunk], (carry, self.params, self.conditions)
            )
            one = self.run(self.plan, *part[:2], self.system, part[2], now)
            skip = first - low
            new, averages = one
            recorded = averages.frames
            averages = averages._replace(frames=None)
            new, averages = jax.tree.map(lambda x, s=skip: x[s:], (new, averages))
            if recorded is not None:
                recorded = jax.tree.map(lambda x, s=skip: x[:, s:], recorded)
            made.append(((new, averages), recorded))
        whole = jax.tree.map(lambda *x: jnp.concatenate(x), *(m[0] for m in made))
        recorded = None
        if made[0][1] is not None:
            recorded = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *(m[1] for m in made))
        return whole[0], whole[1]._replace(frames=recorded)

    def grow(self, old: program.Carry, crowded: np.ndarray, step: int) -> program.Carry:
        """``old`` with lists half as large again, on a grid for the cells of now.

        Replicas that need more than ``MOST_ROOM`` times the first lists have collapsed and are
        given up.
        """
        lists = old.neighbors
        assert isinstance(lists, NeighborList)
        slots = int(np.ceil(lists.index.shape[-1] * 1.5)) + 1
        if slots > MOST_ROOM * self.first_slots:
            lost = jnp.asarray(crowded)
            return old._replace(
                reason=jnp.where(lost, COLLAPSED, old.reason),
                failed_at=jnp.where(lost & (old.failed_at < 0), step, old.failed_at),
            )
        where = np.argwhere(crowded)[0]
        one = jax.tree.map(lambda x: x[tuple(where)], old.states)
        here = program.configuration(one, self.system)
        fresh = allocate(
            here, lists.cutoff, lists.skin, "list", capacity_factor=1.5, cell_margin=0.1
        )
        assert not isinstance(fresh, AllPairs)
        assert fresh.grid is not None
        shape = (*lists.index.shape[:-1], slots)
        grown = dataclasses.replace(
            lists,
            index=jnp.zeros(shape, lists.index.dtype),
            shift=jnp.zeros((*shape, 3), lists.shift.dtype),
            overflow=jnp.zeros_like(lists.overflow),
            grid=fresh.grid.wider(lists.grid),
        )
        cells = jax.vmap(jax.vmap(lambda s: program.configuration(s, self.system).cell))(old.states)
        return old._replace(
            neighbors=program.rebuild(grown, old.states.position, cells, self.system)
        )


@functools.cache
def _sharded(mesh: jax.sharding.Mesh) -> Any:
    """The block with draws spread over devices; each decides its own rebuilds."""
    spread = jax.sharding.PartitionSpec(mesh.axis_names[0])
    whole = jax.sharding.PartitionSpec()

    @functools.partial(jax.jit, static_argnums=0)
    def run(plan: program.Plan, *arguments: Any) -> Any:
        frames = None
        if plan.record:
            axis = jax.sharding.PartitionSpec(None, mesh.axis_names[0])
            frames = (axis, axis)
        mapped = jax.shard_map(
            functools.partial(program.block, plan),
            mesh=mesh,
            in_specs=(spread, spread, whole, spread, whole),
            out_specs=(spread, program.Averages(spread, spread, frames)),
            check_vma=False,
        )
        return mapped(*arguments)

    return run
