"""Distances of all atoms: the distribution h(r)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from bayespot.neighbors import safe_norm
from bayespot.observables.base import Context, Observable
from bayespot.observables.bins import Bins
from bayespot.observables.frame import Frame
from bayespot.observables.geometry import nearest_image


@dataclasses.dataclass(frozen=True)
class DistanceDistribution(Observable):
    """``h(r) = 1/(N(N-1)) sum_{i != j} delta(r - r_ij)``, a density over all pairs of atoms, in
    1/Angstrom (methods.md section 4; StABlE, appendix A.4).

    In a periodic system each pair counts once, by its nearest image, and the same number of pairs
    normalises: h(r) is right up to half the smallest height of the cell (in a rectangular cell,
    all of it is that of nearest images), falls with the size of the system, and integrates to 1
    over all distances of nearest images.

    Attributes:
        low, high: range in Angstrom; pairs outside count in the normalisation only.
        bins: number of bins.
        smooth: Gaussian bins.
    """

    low: float = 0.8
    high: float = 4.8
    bins: int = 100
    smooth: bool = False

    @property
    def unit(self) -> str:
        """1/Angstrom."""
        return "1/Å"

    @property
    def title(self) -> str:
        """For figures."""
        return "interatomic distances h(r)"

    @property
    def _bins(self) -> Bins:
        return Bins(self.low, self.high, self.bins, self.smooth)

    @property
    def axis(self) -> np.ndarray:
        """Bin centres, Angstrom."""
        return self._bins.centers

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return "r / Å"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Counts over unordered pairs."""
        system = frame.system
        i, j = np.triu_indices(system.positions.shape[0], 1)
        vectors = nearest_image(system.positions[i] - system.positions[j], system)
        both = (system.mask[i] & system.mask[j]).astype(vectors.dtype)
        return {"counts": self._bins.counts(safe_norm(vectors), both)}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Counts per frame to a density."""
        pairs = context.num_atoms * (context.num_atoms - 1) / 2
        return mean["counts"] / pairs / self._bins.width
