"""One batched engine: draws x replicas (x state points) of MD, observables inside the scan.

The host side: checks at the door, neighbour capacity, chunks that keep to a memory budget,
checkpoints, progress, trajectories on disk.  The compiled side is ``program.py``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bayespot.errors import UserError
from bayespot.md import door, program
from bayespot.md.batch import Batch
from bayespot.md.checkpoint import Store
from bayespot.md.ensembles import NPT, Ensemble, Length, whole_number
from bayespot.md.stability import Stability
from bayespot.md.trajectory import Recorder
from bayespot.observables import Observable
from bayespot.potentials import Potential
from bayespot.system import System


class Progress(NamedTuple):
    """What the engine tells its caller after each block."""

    step: int
    num_steps: int
    seconds: float  # of an average block
    replica_steps: int  # of a block
    seconds_left: float
    alive: np.ndarray


class Frames(NamedTuple):
    """Kept configurations of the production, (draw, replica, frame) leading axes.

    Attributes:
        positions: (..., atoms, 3) Angstrom.
        cell: (..., 3, 3) Angstrom.
        energy: potential energy, eV, of the draw that made them.
    """

    positions: np.ndarray
    cell: np.ndarray
    energy: np.ndarray


class Trajectories(NamedTuple):
    """Averages of every block of every replica.

    Attributes:
        means: observable name -> its snapshot dict, arrays (block, draw, replica, ...).
        temperature: (block, draw, replica) mean kinetic temperature, K.
        reason: (draw, replica) index into ``stability.REASONS``; 0 is stable.
        failed_at: (draw, replica) step (equilibration included) of failure, -1 where none.
        capacity_retries: how often a neighbour list overflowed and the block was repeated.
        final: the last configuration, (draw, replica) leading axes.
        acceptance: (draw, replica) share of the barostat's moves that were accepted, or None.
        frames: kept configurations, or None.

    Averages of a replica that failed count its missing frames as zero: look at ``reason`` first.
    """

    means: dict[str, dict[str, np.ndarray]]
    temperature: np.ndarray
    reason: np.ndarray
    failed_at: np.ndarray
    capacity_retries: int
    final: System | None = None
    acceptance: np.ndarray | None = None
    frames: Frames | None = None


class Simulation:
    """Batched MD to be run again and again, with other parameters or from other starts.

    What one run learns, sizes of neighbour lists and chunks, serves the next: it compiles nothing
    anew.  ``simulate`` runs one once.
    """

    def __init__(
        self,
        potential: Potential,
        system: System,
        ensemble: Ensemble,
        length: Length,
        observables: Sequence[Observable] = (),
        *,
        stability: Stability | None = None,
        skin: float = 0.5,
        memory: float = 4e9,
        mesh: jax.sharding.Mesh | None = None,
        keep: int = 0,
    ) -> None:
        """Args:
        potential: shared by all draws.
        system: what is simulated, and where from.
        ensemble: thermodynamic conditions: one for all, or a number for each replica.
        length: steps, frames and blocks.
        observables: averaged inside the scan.
        stability: criteria beyond "finite".
        skin: of neighbour lists, Angstrom.
        memory: bytes the simulation may need at once; draws, and replicas of one draw, are run in
            chunks that keep to it.
        mesh: one-dimensional device mesh to spread the draws over, all at once.
        keep: frames (of ``length.stride`` steps) between two configurations that are kept; 0
            keeps none.

        Raises:
            UserError: elements the potential does not know, an impossible density, constant
                pressure without a periodic cell, a history longer than the equilibration.
        """
        door.check_settings(skin=skin, memory=memory)
        if keep:
            whole_number("keep", keep, 1)
        door.check(potential, system, ensemble)
        door.check_history(length, observables)
        self.potential, self.system, self.ensemble = potential, system, ensemble
        self.length, self.observables = length, tuple(observables)
        self.stability, self.skin = stability or Stability(), skin
        self.memory, self.mesh, self.keep = memory, mesh, keep
        self._lists: Any = None  # of one replica, as large as any run needed
        self._shape: tuple[int, int] | None = None  # of the last run
        self._chunk: tuple[int, int] | None = None

    def run(
        self,
        key: jax.Array,
        params: Any,
        *,
        starts: jax.Array | None = None,
        cells: jax.Array | None = None,
        replicas: int = 1,
        trajectory: Path | None = None,
        trajectory_stride: int = 1,
        checkpoint: Path | None = None,
        fingerprint: str = "",
        callback: Callable[[Progress], None] | None = None,
    ) -> Trajectories:
        """``replicas`` trajectories for every draw of ``params``; arguments as for ``simulate``."""
        door.check_settings(replicas=replicas, trajectory_stride=trajectory_stride)
        door.check_key(key)
        starts = door.starts_of(self.system, params, starts, replicas)
        draws, replicas = starts.shape[:2]
        plan = self._plan(None if trajectory is None else trajectory_stride)
        if self.keep and checkpoint is not None:
            raise UserError(
                "kept frames stay in memory, and a checkpoint would not have them",
                "Write a trajectory, or leave out keep",
            )
        ensemble, length = self.ensemble, self.length
        conditions = ensemble.conditions(draws, replicas)
        conditions["cell"] = door.cells_of(self.system, cells, draws, replicas)
        varies = ensemble.varies_cell or cells is not None
        batch = Batch(plan, params, self.system, conditions, self.memory, self.mesh)
        keys = jax.random.key_data(jax.random.split(key, draws * replicas))
        keys = keys.reshape(draws, replicas, -1)
        identity = (keys, params, self.system, conditions, starts)
        store = Store(checkpoint, plan, identity, self.skin, fingerprint)
        carry = batch.start(keys, starts, self.skin, varies, self._lists)
        equilibration_blocks = length.equilibration // length.block_steps
        num_blocks = equilibration_blocks + length.blocks
        recorder = Recorder(trajectory, store.folder) if trajectory is not None else None
        done, carry, blocks, chunk = store.load(carry)
        batch.divide(carry, chunk or self._chunk_for(draws, replicas))
        retries, started, done_before = 0, time.perf_counter(), done
        kept: list[Any] = []
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
            if done >= equilibration_blocks:
                if recorder is not None:
                    recorder.add(done - equilibration_blocks, recorded)
                elif self.keep:
                    kept.append(recorded)
            done += 1
            store.save(done, carry, blocks[-1], batch.chunk)
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
        self._lists = batch.empty_lists(carry)
        self._chunk = batch.chunk
        production = jax.tree.map(lambda *x: np.stack(x), *blocks[equilibration_blocks:])
        means, temperature = production
        reason, failed_at = np.asarray(carry.reason), np.asarray(carry.failed_at)
        if recorder is not None:
            time_step = np.broadcast_to(np.asarray(ensemble.time_step, float), (draws, replicas))
            between = length.stride * trajectory_stride * time_step
            lost = np.where(failed_at < 0, np.inf, (failed_at - length.equilibration) * time_step)
            recorder.finish(self.system, length.blocks, between, reason, lost)
        final = _configurations(carry.states, self.system, conditions)
        acceptance = _acceptance(ensemble, carry, reason, num_blocks * length.block_steps)
        frames = None
        if kept:
            frames = Frames(*(np.concatenate(x, axis=2) for x in zip(*kept, strict=True)))
        return Trajectories(
            means, temperature, reason, failed_at, retries, final, acceptance, frames
        )

    def _plan(self, trajectory_stride: int | None) -> program.Plan:
        record = trajectory_stride or self.keep
        frames = self.length.block_steps // self.length.stride
        if record and frames % record:
            raise UserError(
                f"{frames} frames of a block do not divide by a trajectory stride of {record}",
                "Choose a stride that divides it",
            )
        if trajectory_stride and self.keep:
            raise UserError("a trajectory is written and frames are kept", "Choose one of the two")
        return program.Plan(
            self.potential,
            int(np.sum(np.asarray(self.system.mask))),
            self.ensemble.shape,
            self.length,
            self.observables,
            self.stability,
            record,
        )

    def _chunk_for(self, draws: int, replicas: int) -> tuple[int, int] | None:
        """Of the last run, where it had as many trajectories."""
        if self._shape != (draws, replicas):
            self._shape, self._chunk = (draws, replicas), None
        return self._chunk


@jax.jit
def _configurations(states: Any, system: System, conditions: Any) -> System:
    return jax.vmap(jax.vmap(lambda s, at: program.configuration(s, system, at)))(
        states, conditions
    )


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
    cells: jax.Array | None = None,
    replicas: int = 1,
    stability: Stability | None = None,
    skin: float = 0.5,
    memory: float = 4e9,
    mesh: jax.sharding.Mesh | None = None,
    keep: int = 0,
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
        cells: (draws, replicas, 3, 3) Angstrom, where trajectories have cells of their own.
        replicas: trajectories per draw where ``starts`` is not given.
        stability: criteria beyond "finite".
        skin: of neighbour lists, Angstrom.
        memory: bytes the simulation may need at once; draws, and replicas of one draw, are run in
            chunks that keep to it.
        mesh: one-dimensional device mesh to spread the draws over, all at once.
        keep: frames (of ``length.stride`` steps) between two configurations that are returned; 0
            returns none.
        trajectory: write frames there: HDF5 (``.h5``) or, one file for each replica, extxyz
            (a folder).
        trajectory_stride: frames (of ``length.stride`` steps) between two that are written.
        checkpoint: folder to write after each block and to resume from, bit for bit.
        fingerprint: what the checkpoint must agree with besides settings, parameters and starts.
        callback: called after each block.

    A replica's trajectory does not depend on the others beyond rounding: they share the times at
    which neighbour lists are rebuilt.

    Raises:
        UserError: elements the potential does not know, atoms on top of each other, an impossible
            density, constant pressure without a periodic cell, a checkpoint of something else.
    """
    made = Simulation(
        potential, system, ensemble, length, observables,
        stability=stability, skin=skin, memory=memory, mesh=mesh, keep=keep,
    )  # fmt: skip
    return made.run(
        key, params, starts=starts, cells=cells, replicas=replicas, trajectory=trajectory,
        trajectory_stride=trajectory_stride, checkpoint=checkpoint, fingerprint=fingerprint,
        callback=callback,
    )  # fmt: skip


FEW = 0.2
"""Accepted moves of the barostat below which the volume hardly samples its law."""


def _acceptance(
    ensemble: Ensemble, carry: program.Carry, reason: np.ndarray, steps: int
) -> np.ndarray | None:
    """Share of accepted moves; a low one is worth a warning."""
    if not isinstance(ensemble, NPT):
        return None
    made = np.asarray(carry.states.accepted) / max(1, steps // ensemble.barostat_interval)
    poor = (made < FEW) & (reason == 0)
    if poor.any():
        logging.getLogger("bayespot").warning(
            "only %.0f %% of the cell moves of %d of %d replicas were accepted: the volume hardly"
            " moves. Lower compressibility or barostat_interval, or raise barostat_time",
            100 * made[poor].mean(), poor.sum(), poor.size,
        )  # fmt: skip
    return made
