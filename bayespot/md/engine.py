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
from bayespot.md.ensembles import NPT, Ensemble, Length
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

    Averages of a replica that failed count its missing frames as zero: look at ``reason`` first.
    """

    means: dict[str, dict[str, np.ndarray]]
    temperature: np.ndarray
    reason: np.ndarray
    failed_at: np.ndarray
    capacity_retries: int
    final: System | None = None
    acceptance: np.ndarray | None = None


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
        memory: bytes the simulation may need at once; draws, and replicas of one draw, are run in
            chunks that keep to it.
        mesh: one-dimensional device mesh to spread the draws over, all at once.
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
    door.check_settings(
        skin=skin, memory=memory, replicas=replicas, trajectory_stride=trajectory_stride
    )
    door.check_key(key)
    door.check(potential, system, ensemble)
    starts = door.starts_of(system, params, starts, replicas)
    draws, replicas = starts.shape[:2]
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
    conditions = ensemble.conditions(draws, replicas)
    batch = Batch(plan, params, system, conditions, memory, mesh)
    keys = jax.random.key_data(jax.random.split(key, draws * replicas))
    keys = keys.reshape(draws, replicas, -1)
    identity = (keys, params, system, conditions, starts)
    store = Store(checkpoint, plan, identity, skin, fingerprint)
    carry = batch.start(keys, starts, skin, ensemble.varies_cell)
    equilibration_blocks = length.equilibration // length.block_steps
    num_blocks = equilibration_blocks + length.blocks
    recorder = Recorder(trajectory, store.folder) if trajectory is not None else None
    done, carry, blocks, chunk = store.load(carry)
    batch.divide(carry, chunk)
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
    production = jax.tree.map(lambda *x: np.stack(x), *blocks[equilibration_blocks:])
    means, temperature = production
    reason, failed_at = np.asarray(carry.reason), np.asarray(carry.failed_at)
    if recorder is not None:
        time_step = np.broadcast_to(np.asarray(ensemble.time_step, float), (draws, replicas))
        between = length.stride * trajectory_stride * time_step
        lost = np.where(failed_at < 0, np.inf, (failed_at - length.equilibration) * time_step)
        recorder.finish(system, length.blocks, between, reason, lost)
    final = jax.vmap(jax.vmap(lambda s: program.configuration(s, system)))(carry.states)
    acceptance = _acceptance(ensemble, carry, reason, num_blocks * length.block_steps)
    return Trajectories(means, temperature, reason, failed_at, retries, final, acceptance)


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
