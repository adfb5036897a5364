"""Angular distribution function: the angles at an atom between its neighbours."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables.base import Context, Observable, namespace
from bayespot.observables.bins import FAR, Bins
from bayespot.observables.frame import Frame
from bayespot.observables.geometry import angle_between
from bayespot.observables.nearby import Search, check_elements, nearby, triplets, unless_crowded
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class ADF(Observable):
    """Density of the angles i-j-k at centres j, over [0, pi], normalised to 1.

    A triplet counts for ``1 - Phi((max(r_ij, r_kj) - cutoff)/spread)`` with the Gaussian
    cumulative distribution Phi (DiffTRe, Supplementary Method 3, eq. 6).  Counts are averaged over
    frames, then normalised.  Where a list has no room for all neighbours the value is NaN.

    Attributes:
        cutoff: Angstrom; 3.18 is that of the oxygens of water (Soper & Benmore 2008).
        bins: number of bins.
        triple: atomic numbers of i, j (the centre) and k; None takes all atoms.
        spread: width of the smooth cut-off, Angstrom; 0 is a sharp one.
        smooth: Gaussian bins.
        search: how neighbours are found; see ``of``.
    """

    cutoff: float = 3.18
    bins: int = 150
    triple: tuple[int, int, int] | None = None
    spread: float = 0.1
    smooth: bool = False
    search: Search | None = None

    @classmethod
    def of(
        cls,
        name: str,
        system: System,
        cutoff: float = 3.18,
        bins: int = 150,
        triple: tuple[int, int, int] | None = None,
        spread: float = 0.1,
        smooth: bool = False,
        room: float = 2.0,
    ) -> ADF:
        """With room for ``room`` times the neighbours that atoms of ``system`` have now.

        Raises:
            UserError: ``triple`` names an element that ``system`` lacks.
        """
        check_elements(name, system, triple or ())
        search = Search.of(system, cutoff + FAR * spread, room)
        return cls(name, cutoff, bins, triple, spread, smooth, search)

    @property
    def unit(self) -> str:
        """1/rad."""
        return "1/rad"

    @property
    def _bins(self) -> Bins:
        return Bins(0.0, math.pi, self.bins, self.smooth)

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins, rad."""
        return self._bins.centers

    @property
    def axis_label(self) -> str:
        """Angle."""
        return "angle / rad"

    @property
    def title(self) -> str:
        """For figures."""
        return "angular distribution function"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Weights of the triplets in each bin, each triplet once."""
        near = nearby(frame, self.cutoff + FAR * self.spread, self.search)
        near = triplets(near, self.search)
        i, j = np.triu_indices(near.species.shape[1], 1)
        one, other = near.species[:, i], near.species[:, j]
        if self.triple is None:
            chosen = (one > 0) & (other > 0)
        else:
            a, centre, b = self.triple
            chosen = ((one == a) & (other == b)) | ((one == b) & (other == a))
            chosen &= (frame.system.species == centre)[:, None]
        furthest = jnp.maximum(near.distances[:, i], near.distances[:, j])
        weights = jnp.where(chosen, self._within(furthest), 0.0)
        angles = angle_between(near.vectors[:, i], near.vectors[:, j])
        return {"triplets": unless_crowded(near, self._bins.counts(angles, weights))}

    def _within(self, distances: jax.Array) -> jax.Array:
        if self.spread == 0:
            return (distances < self.cutoff).astype(distances.dtype)
        return jax.scipy.stats.norm.cdf((self.cutoff - distances) / self.spread)

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Over the whole, and the width of a bin; 0 where there never was a triplet."""
        del context
        whole = mean["triplets"].sum(axis=-1, keepdims=True)
        return mean["triplets"] / namespace(mean).maximum(whole, 1e-30) / self._bins.width
