"""Frames of TIP4P/2005 that OpenMM makes, in its own environment; kept from call to call."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".peers" / "md" / "bin" / "python"


class Frames(NamedTuple):
    """Centres of mass.

    Attributes:
        positions: (frames, molecules, 3) Angstrom, not wrapped.
        side: of the cube, Angstrom.
        interval: ps between two frames.
        seconds: that OpenMM took.
    """

    positions: np.ndarray
    side: float
    interval: float
    seconds: float

    def diffusion(self) -> float:
        """1e-9 m^2/s, from the mean squared displacement between 1 and 2 ps."""
        drift = self.positions.mean(axis=1, keepdims=True)
        free = (self.positions - drift).astype(float)
        low, high = round(1.0 / self.interval), round(2.0 / self.interval)
        lags = np.arange(low, high + 1)
        msd = [np.mean(np.sum((free[n:] - free[:-n]) ** 2, axis=-1)) for n in lags]
        slope = np.polyfit(lags * self.interval, msd, 1)[0]  # Angstrom^2/ps
        return float(slope / 6 * 10.0)


def frames(molecules: int, equilibration: float, count: int, interval: float, to: Path) -> Frames:
    """Read, or made by ``benchmarks/peer_tip4p2005.py``.

    Raises:
        SystemExit: OpenMM is not there, or fails.
    """
    where = to / f"tip4p2005_{molecules}_{equilibration:g}_{count}_{interval:g}.npz"
    if not where.exists():
        if not PYTHON.exists():
            raise SystemExit("relative entropy needs OpenMM: run benchmarks/peers.sh md first")
        to.mkdir(parents=True, exist_ok=True)
        partial = where.with_name("partial.npz")
        command = [str(PYTHON), str(ROOT / "benchmarks" / "peer_tip4p2005.py")]
        command += [str(x) for x in (molecules, equilibration, count, interval, partial)]
        library = {"LD_LIBRARY_PATH": str(PYTHON.parents[1] / "lib")}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | library
        )
        if done.returncode:
            raise SystemExit(f"OpenMM failed: {done.stderr.strip().splitlines()[-1]}")
        partial.replace(where)
    with np.load(where) as made:
        return Frames(
            made["positions"], float(made["side"]), float(made["interval_ps"]),
            float(made["seconds"]),
        )  # fmt: skip
