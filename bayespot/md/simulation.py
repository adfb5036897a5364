"""Batched MD to be run again and again; the host side of the engine.

Checks at the door, checkpoints, progress, trajectories on disk; ``session.py`` makes the blocks,
``batch.py`` divides them into chunks that keep to a memory budget, ``program.py`` is compiled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayespot.errors import UserError
from bayespot.md import door, program
from bayespot.md.checkpoint import Store
from bayespot.md.ensembles import NPT, Ensemble, Length, whole_number
from bayespot.md.monitor import Monitor
from bayespot.md.results import Frames, Progress, Trajectories
from bayespot.md.session import Learned, Session
from bayespot.md.stability import Stability
from bayespot.md.trajectory import Recorder
from bayespot.neighbors import lists_of, sizes_of
from bayespot.observables import Observable
from bayespot.potentials import Potential
from bayespot.system import System


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
        monitor: Monitor | None = None,
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
        monitor: of the disagreement of a committee; ``md.watched`` reads what it saw.

        Raises:
            UserError: elements the potential does not know, an impossible density, constant
                pressure without a periodic cell, a history longer than the equilibration, a
                monitor of a potential without members.
        """
        door.check_settings(skin=skin, memory=memory)
        if keep:
            whole_number("keep", keep, 1)
        door.check(potential, system, ensemble)
        door.check_history(system, ensemble, length, observables)
        if monitor is not None:
            monitor.check(potential)
        self.potential, self.system, self.ensemble = potential, system, ensemble
        self.length, self.observables = length, tuple(observables)
        self.stability, self.skin = stability or Stability(), skin
        self.memory, self.mesh, self.keep, self.monitor = memory, mesh, keep, monitor
        self.learned = Learned()

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
        session = Session(self, plan, key, params, starts, cells)
        identity = (session.keys, params, self.system, session.conditions, starts)
        store = Store(checkpoint, plan, identity, self.skin, fingerprint)
        equilibration_blocks = length.equilibration // length.block_steps
        num_blocks = equilibration_blocks + length.blocks
        recorder = Recorder(trajectory, store.folder) if trajectory is not None else None
        session.blocks, session.carry, blocks, chunk = store.load(session.carry)
        session.divide(chunk)
        started, done_before = time.perf_counter(), session.blocks
        kept: list[Any] = []
        while session.blocks < num_blocks:
            means, temperature, recorded = jax.tree.map(np.asarray, session.advance())
            blocks.append((means, temperature))
            if session.blocks > equilibration_blocks:
                if recorder is not None:
                    recorder.add(session.blocks - 1 - equilibration_blocks, recorded)
                elif self.keep:
                    kept.append(recorded)
            store.save(session.blocks, session.carry, blocks[-1], session.batch.chunk)
            if callback is not None:
                elapsed = (time.perf_counter() - started) / (session.blocks - done_before)
                callback(
                    Progress(
                        session.step,
                        num_blocks * length.block_steps,
                        elapsed,
                        length.block_steps * draws * replicas,
                        elapsed * (num_blocks - session.blocks),
                        session.stable,
                    )
                )
        production = jax.tree.map(lambda *x: np.stack(x), *blocks[equilibration_blocks:])
        means, temperature = production
        reason, failed_at = (np.asarray(x) for x in (session.carry.reason, session.carry.failed_at))
        if recorder is not None:
            time_step = np.broadcast_to(np.asarray(ensemble.time_step, float), (draws, replicas))
            between = length.stride * trajectory_stride * time_step
            lost = np.where(failed_at < 0, np.inf, (failed_at - length.equilibration) * time_step)
            recorder.finish(self.system, length.blocks, between, reason, lost)
        acceptance = _acceptance(ensemble, session.carry, reason, session.step)
        frames = None
        if kept:
            frames = Frames(*(np.concatenate(x, axis=2) for x in zip(*kept, strict=True)))
        return Trajectories(
            means, temperature, reason, failed_at, session.retries, session.configuration,
            acceptance, frames,
        )  # fmt: skip

    def session(
        self,
        key: jax.Array,
        params: Any,
        starts: jax.Array | None = None,
        cells: jax.Array | None = None,
        replicas: int = 1,
    ) -> Session:
        """Trajectories to be driven block by block; ``length.equilibration`` means nothing here."""
        door.check_key(key)
        starts = door.starts_of(self.system, params, starts, replicas)
        made = Session(self, self._plan(None), key, params, starts, cells)
        made.divide(None)
        return made

    def sizes(self) -> dict[str, Any]:
        """Sizes of lists and chunks that runs grew, as JSON: rounding depends on them."""
        lists, shape, chunk = self.learned
        return {"lists": sizes_of(lists), "shape": shape, "chunk": chunk}

    def restore_sizes(self, sizes: dict[str, Any]) -> None:
        """Take over what ``sizes`` gave in another process."""
        shape, chunk = (x and tuple(x) for x in (sizes["shape"], sizes["chunk"]))
        self.learned = Learned(lists_of(sizes["lists"], self.system), shape, chunk)

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
            self.monitor,
        )


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
