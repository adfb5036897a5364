"""Radial distribution function of periodic systems, images included."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.neighbors import safe_norm
from bayespot.neighbors.grid import heights
from bayespot.observables.base import Context, Observable
from bayespot.observables.bins import Bins
from bayespot.observables.frame import Frame
from bayespot.observables.nearby import Search, check_elements, nearby, unless_crowded
from bayespot.system import System

FEW = 200
"""Systems of up to so many atoms take all pairs of atoms: that is faster than to sort them."""


@dataclasses.dataclass(frozen=True)
class RDF(Observable):
    """``g(r) = V/(N_a N_b V_shell) <pairs in the shell>``; 1 - 1/N for an ideal gas of one species.

    Every image within ``high`` counts, so that ``high`` may exceed half the cell.  Pairs come from
    the potential's list where it reaches ``high``, else from ``search``, else from all pairs of
    atoms.  Where a list has no room for all neighbours the value is NaN.

    Attributes:
        high: largest distance, Angstrom.
        bins: number of bins from 0 to ``high``.
        pair: atomic numbers of the two species; None takes all atoms.
        images: how far to look along each lattice vector; see ``of``.
        smooth: Gaussian bins (DiffTRe, Supplementary Method 3, eq. 5).
        search: how neighbours are found in a large system; see ``of``.
    """

    high: float = 6.0
    bins: int = 120
    pair: tuple[int, int] | None = None
    images: tuple[int, int, int] = (1, 1, 1)
    smooth: bool = False
    search: Search | None = None

    @classmethod
    def of(
        cls,
        name: str,
        system: System,
        high: float,
        bins: int,
        pair: tuple[int, int] | None = None,
        smooth: bool = False,
        room: float = 1.5,
    ) -> RDF:
        """With images and room enough for ``system``, should it shrink by a tenth too.

        Args:
            name: unique in a run.
            system: what is simulated.
            high, bins, pair, smooth: as the attributes.
            room: neighbours that an atom may come to have, over the most that one has now.

        Raises:
            UserError: ``pair`` names an element that ``system`` lacks.
        """
        check_elements(name, system, pair or ())
        far = high + Bins(0.0, high, bins, smooth).reach
        tall = np.asarray(heights(system.cell))
        # a difference of positions is wrapped first, to at most half a cell
        reach = [
            int(far / (0.9 * h) + 0.5) if p else 0 for h, p in zip(tall, system.pbc, strict=True)
        ]
        search = None
        if system.positions.shape[0] > FEW:
            search = Search.of(system, far, room)
        return cls(name, high, bins, pair, (reach[0], reach[1], reach[2]), smooth, search)

    @property
    def unit(self) -> str:
        """A number."""
        return ""

    @property
    def _bins(self) -> Bins:
        return Bins(0.0, self.high, self.bins, self.smooth)

    @property
    def edges(self) -> np.ndarray:
        """(bins + 1,) Angstrom."""
        return self._bins.edges

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins, Angstrom."""
        return self._bins.centers

    @property
    def axis_label(self) -> str:
        """Distance."""
        return "r / Å"

    @property
    def title(self) -> str:
        """For figures."""
        return "radial distribution function"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Pairs in each bin times ``V/(N_a N_b)``: the volume changes from frame to frame."""
        system = frame.system
        first, second = self.pair or (None, None)
        a = system.mask if first is None else system.species == first
        b = system.mask if second is None else system.species == second
        cutoff = self.high + self._bins.reach
        if self.search is None and frame.pairs(cutoff) is None:
            counts = self._of_all(system, a, b)
        else:
            near = nearby(frame, cutoff, self.search)
            to = near.species > 0 if second is None else near.species == second
            counted = (a[:, None] & to).astype(near.distances.dtype)
            counts = unless_crowded(near, self._bins.counts(near.distances, counted))
        pairs = (jnp.sum(a) * jnp.sum(b)).astype(counts.dtype)
        return {"pairs": counts * frame.volume / pairs}

    def _of_all(self, system: System, a: jax.Array, b: jax.Array) -> jax.Array:
        """Counts from every pair of atoms and every image."""
        dtype = system.positions.dtype
        fractional = (system.positions[None] - system.positions[:, None]) @ jnp.linalg.inv(
            system.cell
        )
        wrapped = fractional - jnp.where(jnp.asarray(system.pbc), jnp.round(fractional), 0.0)
        base = wrapped @ system.cell
        both = a[:, None] & b[None, :]
        itself = jnp.eye(len(base), dtype=bool)
        counts = jnp.zeros(self.bins, dtype)
        for shift in itertools.product(*(range(-n, n + 1) for n in self.images)):
            distances = safe_norm(base + jnp.asarray(shift, dtype) @ system.cell)
            counted = both & ~itself if shift == (0, 0, 0) else both
            counts += self._bins.counts(distances, counted.astype(dtype))
        return counts

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Over the volume of each shell."""
        del context
        shells = 4 / 3 * np.pi * np.diff(self.edges**3)
        return mean["pairs"] / shells
