"""Heavy atoms of alanine dipeptide from OpenMM, in its own environment; kept from call to call."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.alanine.molecule import DATA

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".peers" / "md" / "bin" / "python"
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
    if not where.exists():
        if not PYTHON.exists():
            raise SystemExit("the atomistic frames need OpenMM: run benchmarks/peers.sh md first")
        print(f"atomistic: {nanoseconds:g} ns, seed {seed}", flush=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        partial = where.with_name("partial.npz")
        command = [str(PYTHON), str(ROOT / "benchmarks" / "peer_alanine.py")]
        given = (DATA / "heavy_atoms.gro", nanoseconds, INTERVAL, seed, partial)
        library = {"LD_LIBRARY_PATH": str(PYTHON.parents[1] / "lib")}
        done = subprocess.run(
            [*command, *map(str, given)], capture_output=True, text=True, check=False,
            env=os.environ | library,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"OpenMM failed: {done.stderr.strip().splitlines()[-1]}")
        partial.replace(where)
    with np.load(where) as made:
        return Frames(made["positions"], made["forces"], float(made["seconds"]))
