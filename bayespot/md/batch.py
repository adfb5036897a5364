"""All draws and replicas of a simulation: which program runs them, and in which chunks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md import door, program
from bayespot.md.stability import COLLAPSED
from bayespot.neighbors import AllPairs, Lists, NeighborList, allocate
from bayespot.system import System

MOST_ROOM = 8.0
"""Times its first slots that a list may grow to, and at least to those of condensed matter:"""

DENSEST = 0.2
"""atoms in a cubic Angstrom; diamond has 0.18.  Beyond both, atoms have fallen onto each other."""

CACHE = 4e7
"""Bytes of temporaries that a CPU handles well at once."""

STARTED = 8
"""Trajectories whose start is computed at once."""


class Batch:
    """Draws x replicas as one; every array has these two leading axes.

    Attributes:
        chunk: (draws, replicas) that go through the program at once.
    """

    def __init__(
        self,
        plan: program.Plan,
        params: Any,
        system: System,
        conditions: dict[str, jax.Array],
        memory: float,
        mesh: jax.sharding.Mesh | None,
    ) -> None:
        self.plan, self.params, self.system, self.conditions = plan, params, system, conditions
        self.draws, self.replicas = next(iter(conditions.values())).shape
        self.memory, self.mesh = memory, mesh
        self.chunk = (self.draws, self.replicas)
        self.first_slots = 0
        if mesh is not None and (len(mesh.axis_names) != 1 or self.draws % mesh.size):
            raise UserError(
                f"{self.draws} draws cannot be spread over a mesh of shape {dict(mesh.shape)}",
                "Give a mesh of one axis that divides the number of draws",
            )
        self.run: Any = program.run_block
        if mesh is not None:  # explicit axes (make_mesh's default) would want specs on arguments
            self.run = _sharded(jax.sharding.Mesh(mesh.devices, mesh.axis_names))

    def start(
        self,
        keys: jax.Array,
        starts: jax.Array,
        skin: float,
        varies_cell: bool,
        like: Lists | None = None,
    ) -> program.Carry:
        """Momenta, forces and lists, which are at least as large as ``like``; they grow until they
        hold the densest start."""
        margin = 0.1 if varies_cell else 0.0

        def lists(draw: int, replica: int) -> Lists:
            cell = self.conditions["cell"][draw, replica]
            here = self.system.replace(positions=starts[draw, replica], cell=cell)
            cutoff = self.plan.potential.cutoff
            return allocate(here, cutoff, skin, cell_margin=margin)

        replicas = min(self.replicas, STARTED)
        size = (max(1, min(self.draws, STARTED // replicas)), replicas)
        first = lists(0, 0) if like is None else like
        while True:
            carry, nearest = self._in_chunks(
                lambda part, params, at, like=first: program.start(
                    self.plan, part[0], params, self.system, at, part[1], like
                ),
                (keys, starts),
                size,
            )
            crowded = np.argwhere(np.asarray(carry.neighbors.overflow))
            if not len(crowded):
                break
            draw, replica = (int(i) for i in crowded[0])
            other = lists(draw, replica)
            assert isinstance(first, NeighborList)
            assert isinstance(other, NeighborList)
            first = _roomier(first, other, other.index.shape[-1])
        door.check_starts(np.asarray(nearest))
        if isinstance(first, NeighborList):
            self.first_slots = first.index.shape[-1]
        return carry

    def divide(self, carry: program.Carry, chunk: tuple[int, int] | None = None) -> None:
        """Chunks whose program needs no more than the budget, or those of an earlier call.

        On a CPU they shall fit its caches as well: 8 draws of a SchNet on 64 atoms at once take
        a fifth less time each than 32.

        Raises:
            UserError: one trajectory alone needs more.
        """
        if chunk is not None or self.mesh is not None:
            self.chunk = chunk or self.chunk
            return
        # what is there whatever the chunks: the state before and after, and the parameters
        kept = sum(x.nbytes for x in jax.tree.leaves((carry, carry, self.params)))
        while True:
            needs = program.memory_needed(self.plan, *self._piece(carry, self.chunk))
            if needs is None:  # a backend that does not tell
                return
            for_each = max(needs / (self.chunk[0] * self.chunk[1]), 1.0)
            room = int(max(self.memory - kept, 0.0) / for_each)
            if self.chunk == (1, 1) and not room:
                raise UserError(
                    f"one trajectory needs {(kept + for_each) / 1e9:.3g} GB and memory is"
                    f" {self.memory / 1e9:.3g} GB",
                    "Raise memory, or simulate fewer atoms, draws or replicas",
                )
            if jax.default_backend() == "cpu":
                room = min(room, int(CACHE / for_each))
            room = max(room, 1)
            if room >= self.chunk[0] * self.chunk[1]:
                return
            if room >= self.replicas:
                self.chunk = (_evenly(self.draws, room // self.replicas), self.replicas)
            else:
                self.chunk = (1, _evenly(self.replicas, room))

    def block(self, carry: program.Carry, step: int) -> tuple[program.Carry, program.Averages]:
        """One block of everything, chunk by chunk."""
        now = jnp.asarray(step)
        return self._in_chunks(
            lambda part, params, at: self.run(self.plan, part, params, self.system, at, now),
            carry,
            self.chunk,
        )

    def grow(self, old: program.Carry, crowded: np.ndarray, step: int) -> program.Carry:
        """``old`` with lists half as large again, on a grid for the cells of now.

        Replicas that need more than condensed matter could have collapsed and are given up.
        """
        lists = old.neighbors
        assert isinstance(lists, NeighborList)
        slots = int(np.ceil(lists.index.shape[-1] * 1.5)) + 1
        sphere = 4 / 3 * np.pi * (lists.cutoff + lists.skin) ** 3
        if slots > max(MOST_ROOM * self.first_slots, DENSEST * sphere):
            lost = jnp.asarray(crowded)
            return old._replace(
                reason=jnp.where(lost, COLLAPSED, old.reason),
                failed_at=jnp.where(lost & (old.failed_at < 0), step, old.failed_at),
            )
        where = tuple(np.argwhere(crowded)[0])
        state, at = jax.tree.map(lambda x: x[where], (old.states, self.conditions))
        here = program.configuration(state, self.system, at)
        fresh = allocate(here, lists.cutoff, lists.skin, "list", cell_margin=0.1)
        assert not isinstance(fresh, AllPairs)
        roomier = _roomier(lists, fresh, slots)
        neighbors = self._in_chunks(
            lambda states, params, at: program.rebuild(roomier, states, self.system, at),
            old.states,
            self.chunk,
        )
        grown = old._replace(neighbors=neighbors)
        self.divide(grown)
        return grown

    def restart(self, states: Any, like: Lists, old: program.Carry) -> program.Carry:
        """``states`` with this batch's parameters, everyone stable; lists as large as ``like``."""
        neighbors, states = self._in_chunks(
            lambda states, params, at: program.restart(
                self.plan, like, states, params, self.system, at
            ),
            states,
            self.chunk,
        )
        nought = jnp.zeros_like(old.reason)
        history = jax.tree.map(jnp.zeros_like, old.history)
        watch = jax.tree.map(jnp.zeros_like, old.watch)
        return program.Carry(states, neighbors, nought, nought - 1, history, watch)

    def empty_lists(self, carry: program.Carry) -> Lists:
        """Of one replica, as large as those of ``carry``."""
        one = jax.tree.map(lambda x: x[0, 0], carry.neighbors)
        return dataclasses.replace(one, overflow=jnp.asarray(False))

    def _piece(self, carry: Any, size: tuple[int, int]) -> tuple[Any, ...]:
        """Arguments of a program for the first ``size`` draws and replicas."""
        part = jax.tree.map(lambda x: x[: size[0], : size[1]], (carry, self.conditions))
        params = jax.tree.map(lambda x: x[: size[0]], self.params)
        return part[0], params, self.system, part[1], jnp.asarray(0)

    def _in_chunks(
        self, function: Callable[[Any, Any, Any], Any], tree: Any, size: tuple[int, int]
    ) -> Any:
        """``function(tree, params, conditions)`` over chunks of ``size``, joined again."""
        if size == (self.draws, self.replicas):
            return function(tree, self.params, self.conditions)
        rows = []
        for draw, skip in _spans(self.draws, size[0]):
            row = []
            params = jax.tree.map(lambda x, a=draw: x[a : a + size[0]], self.params)
            for replica, jump in _spans(self.replicas, size[1]):
                part = jax.tree.map(
                    lambda x, a=draw, b=replica: x[a : a + size[0], b : b + size[1]],
                    (tree, self.conditions),
                )
                made = function(part[0], params, part[1])
                row.append(jax.tree.map(lambda x, a=skip, b=jump: x[a:, b:], made))
            rows.append(jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *row))
        return jax.tree.map(lambda *x: jnp.concatenate(x), *rows)


def _spans(count: int, size: int) -> list[tuple[int, int]]:
    """(first, how many of them were done before): the last span is filled up with those."""
    firsts = [(min(i, count - size), i) for i in range(0, count, size)]
    return [(low, i - low) for low, i in firsts]


def _evenly(count: int, room: int) -> int:
    """Of the chunk sizes not far below ``room``, the one that wastes least in the last chunk."""
    room = min(room, count)
    sizes = range(max(1, room // 2), room + 1)
    return min(sizes, key=lambda size: (-(-count // size) * size, -size))


def _roomier(lists: NeighborList, fresh: NeighborList, slots: int) -> NeighborList:
    """An empty list of one replica like ``lists`` with at least ``slots`` slots."""
    assert fresh.grid is not None
    atoms = fresh.index.shape[0]
    slots = max(slots, lists.index.shape[-1])
    return dataclasses.replace(
        fresh,
        index=jnp.zeros((atoms, slots), fresh.index.dtype),
        shift=jnp.zeros((atoms, slots, 3), fresh.shift.dtype),
        overflow=jnp.asarray(False),
        grid=fresh.grid.wider(lists.grid),
    )


@functools.cache
def _sharded(mesh: jax.sharding.Mesh) -> Any:
    """The block with draws spread over devices; each decides its own rebuilds."""
    spread = jax.sharding.PartitionSpec(mesh.axis_names[0])
    whole = jax.sharding.PartitionSpec()

    @functools.partial(jax.jit, static_argnums=0)
    def run(plan: program.Plan, *arguments: Any) -> Any:
        mapped = jax.shard_map(
            functools.partial(program.block, plan),
            mesh=mesh,
            in_specs=(spread, spread, whole, spread, whole),
            out_specs=spread,
            check_vma=False,
        )
        return mapped(*arguments)

    return run
