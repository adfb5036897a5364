"""Triplet correlation function at equilateral triangles."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.neighbors import safe_norm
from bayespot.observables.base import Context, Observable
from bayespot.observables.bins import Bins
from bayespot.observables.frame import Frame
from bayespot.observables.nearby import Search, check_elements, nearby, triplets, unless_crowded
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class TCF(Observable):
    """``g3(r, r, r)``: triangles with three sides near r, relative to an ideal gas.

    Ordered triplets with sides in ``dx dy dz`` of an ideal gas of density rho number
    ``N rho^2 8 pi^2 x y z dx dy dz`` (Bildstein & Kahl 1994; Dhabal et al. 2014), which also holds
    for the average over a cubic bin, sharp or Gaussian, where its sides make triangles: so N atoms
    at random give ``(1 - 1/N)(1 - 2/N)``.  Where a list has no room for all neighbours the value is
    NaN.

    Attributes:
        low, high: range of the sides, Angstrom; ``low`` must exceed a bin.
        bins: number of bins of each side.
        element: atomic number; None takes all atoms.
        smooth: a product of three Gaussian bins, as in the relative-entropy paper.
        search: how neighbours are found; see ``of``.
    """

    low: float = 2.0
    high: float = 5.0
    bins: int = 50
    element: int | None = None
    smooth: bool = False
    search: Search | None = None

    @classmethod
    def of(
        cls,
        name: str,
        system: System,
        low: float = 2.0,
        high: float = 5.0,
        bins: int = 50,
        element: int | None = None,
        smooth: bool = False,
        room: float = 1.5,
    ) -> TCF:
        """With room for ``room`` times the neighbours that atoms of ``system`` have now.

        Raises:
            UserError: ``system`` lacks the element.
        """
        check_elements(name, system, () if element is None else (element,))
        reach = high + Bins(low, high, bins, smooth).reach
        return cls(name, low, high, bins, element, smooth, Search.of(system, reach, room))

    @property
    def unit(self) -> str:
        """A number."""
        return ""

    @property
    def _bins(self) -> Bins:
        return Bins(self.low, self.high, self.bins, self.smooth)

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins, Angstrom."""
        return self._bins.centers

    @property
    def axis_label(self) -> str:
        """Side of the triangle."""
        return "r / Å"

    @property
    def title(self) -> str:
        """For figures."""
        return "equilateral triplet correlation"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Ordered triplets in each bin times ``V^2/N^3``."""
        system, bins = frame.system, self._bins
        near = triplets(nearby(frame, self.high + bins.reach, self.search), self.search)
        i, j = np.triu_indices(near.species.shape[1], 1)
        if self.element is None:
            centre, there = system.mask, near.species > 0
        else:
            centre, there = system.species == self.element, near.species == self.element
        counted = centre[:, None] & there[:, i] & there[:, j]
        sides = jnp.stack(
            [
                near.distances[:, i],
                near.distances[:, j],
                safe_norm(near.vectors[:, i] - near.vectors[:, j]),
            ]
        )
        mean = jnp.mean(sides, axis=0)
        if self.smooth:
            # three Gaussians at one r are one about the mean side, narrower by sqrt(3)
            unequal = jnp.sum((sides - mean) ** 2, axis=0) / (2 * bins.width**2)
            weights = jnp.where(counted, jnp.exp(-unequal), 0.0) / (2 * math.pi * math.sqrt(3))
            counts = bins.counts(mean, weights, spread=1 / math.sqrt(3))
        else:
            a, b, c = bins.shares(sides)[0][..., 0]
            equal = counted & (a == b) & (b == c)
            counts = bins.counts(sides[0], equal.astype(mean.dtype))
        number = jnp.sum(centre).astype(mean.dtype)
        ordered = 2 * counts * (frame.volume / number) ** 2 / number
        return {"triplets": unless_crowded(near, ordered)}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Over the volume of the cubic bins."""
        del context
        return mean["triplets"] / (8 * np.pi**2 * (self.axis * self._bins.width) ** 3)
