"""Frames of TIP4P/2005 that OpenMM makes, in its own environment; kept from call to call."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.openmm import kept


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
    kept("peer_tip4p2005.py", (molecules, equilibration, count, interval), where)
    with np.load(where) as made:
        return Frames(
            made["positions"], float(made["side"]), float(made["interval_ps"]),
            float(made["seconds"]),
        )  # fmt: skip
