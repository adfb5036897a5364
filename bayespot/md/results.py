"""What a simulation tells while it runs, and what it gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

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
        energy: potential energy, eV, of the draw that made them; NaN once a replica has failed,
            whose positions then stand still.
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
        restarted: (draw, replica) how many trajectories broke before this one, which started
            elsewhere; None where nothing is started again.

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
    restarted: np.ndarray | None = None
