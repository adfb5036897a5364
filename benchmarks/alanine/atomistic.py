"""Heavy atoms of alanine dipeptide from OpenMM, in its own environment; kept from call to call."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.alanine.molecule import DATA
from benchmarks.openmm import kept

INTERVAL = 0.5  # ps
KEPT = Path("runs/alanine")


class Frames(NamedTuple):
    """Of one run.

    Attributes:
        positions: (frames, beads, 3) Angstrom.
        forces: (frames, beads, 3) eV/Angstrom, those of hydrogens added to their atom's.
        seconds: that OpenMM took.
    """

    positions: np.ndarray
    forces: np.ndarray
    seconds: float


def frames(nanoseconds: float, seed: int) -> Frames:
    """Read, or made by ``benchmarks/peer_alanine.py``.

    Raises:
        SystemExit: OpenMM is not there, or fails.
    """
    where = KEPT / f"atomistic_{nanoseconds:g}_{INTERVAL:g}_{seed}.npz"
    kept("peer_alanine.py", (DATA / "heavy_atoms.gro", nanoseconds, INTERVAL, seed), where)
    with np.load(where) as made:
        return Frames(made["positions"], made["forces"], float(made["seconds"]))
