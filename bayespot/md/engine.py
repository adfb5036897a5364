"""One call for a batch of trajectories: draws x replicas (x state points)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from bayespot.md.ensembles import Ensemble, Length
from bayespot.md.monitor import Monitor
from bayespot.md.results import Progress, Trajectories
from bayespot.md.simulation import Simulation
from bayespot.md.stability import Stability
from bayespot.observables import Observable
from bayespot.potentials import Potential
from bayespot.system import System


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
    monitor: Monitor | None = None,
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
        monitor: of the disagreement of a committee; ``md.watched`` reads what it saw.
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
        stability=stability, skin=skin, memory=memory, mesh=mesh, keep=keep, monitor=monitor,
    )  # fmt: skip
    return made.run(
        key, params, starts=starts, cells=cells, replicas=replicas, trajectory=trajectory,
        trajectory_stride=trajectory_stride, checkpoint=checkpoint, fingerprint=fingerprint,
        callback=callback,
    )  # fmt: skip
