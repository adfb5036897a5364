"""Tetrahedral order parameter of Errington and Debenedetti (2001)."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables.base import Context, Observable
from bayespot.observables.bins import Bins
from bayespot.observables.frame import Frame
from bayespot.observables.nearby import Search, check_elements, nearby
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class TetrahedralOrder(Observable):
    """Mean of ``q = 1 - 3/8 sum_{j<k} (cos psi_jik + 1/3)^2`` over atoms i, with j and k among the
    four nearest neighbours of i; 1 in a perfect tetrahedron, 0 on average at random.

    Where an atom has fewer than four neighbours within the cut-off, or too many for its list, the
    value is NaN.

    Attributes:
        cutoff: how far to look for four neighbours, Angstrom.
        element: atomic number of the atoms and neighbours; None takes all.
        search: how neighbours are found; see ``of``.
    """

    cutoff: float = 5.0
    element: int | None = None
    search: Search | None = None

    @classmethod
    def of(
        cls,
        name: str,
        system: System,
        cutoff: float = 5.0,
        element: int | None = None,
        room: float = 1.5,
    ) -> TetrahedralOrder:
        """With room for ``room`` times the neighbours that atoms of ``system`` have now.

        Raises:
            UserError: ``system`` lacks the element.
        """
        check_elements(name, system, () if element is None else (element,))
        return cls(name, cutoff, element, Search.of(system, cutoff, room))

    @property
    def unit(self) -> str:
        """A number."""
        return ""

    @property
    def title(self) -> str:
        """For figures."""
        return "tetrahedral order q"

    def of_atoms(self, frame: Frame) -> tuple[jax.Array, jax.Array]:
        """(q of each atom, whether it counts), (atoms,) each."""
        near = nearby(frame, self.cutoff, self.search)
        counted = frame.system.mask
        if self.element is not None:
            counted = frame.system.species == self.element
            same = jnp.where(near.species == self.element, near.species, 0)
            near = near._replace(species=same)
        near = near.closest(4)
        there = near.species > 0
        lonely = jnp.any(counted & (jnp.sum(there, axis=1) < 4))
        length = jnp.where(there, near.distances, 1.0)
        unit = near.vectors / jnp.where(length > 0, length, 1.0)[..., None]
        j, k = np.triu_indices(there.shape[1], 1)
        cosines = jnp.sum(unit[:, j] * unit[:, k], axis=-1)
        q = 1 - 3 / 8 * jnp.sum((cosines + 1 / 3) ** 2, axis=1)
        return jnp.where(near.crowded | lonely, jnp.nan, q), counted

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Mean over the atoms."""
        q, counted = self.of_atoms(frame)
        return {"q": jnp.sum(jnp.where(counted, q, 0.0)) / jnp.sum(counted)}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """The mean."""
        del context
        return mean["q"]


@dataclasses.dataclass(frozen=True)
class TetrahedralOrderDistribution(TetrahedralOrder):
    """Density of q over atoms.

    Attributes:
        low, high: range; q lies between -3 and 1, and what is outside counts in the normalisation
            only.
        bins: number of bins.
        smooth: Gaussian bins.
    """

    low: float = -1.0
    high: float = 1.0
    bins: int = 100
    smooth: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        system: System,
        cutoff: float = 5.0,
        element: int | None = None,
        room: float = 1.5,
        low: float = -1.0,
        high: float = 1.0,
        bins: int = 100,
        smooth: bool = False,
    ) -> TetrahedralOrderDistribution:
        """With room for ``room`` times the neighbours that atoms of ``system`` have now.

        Raises:
            UserError: ``system`` lacks the element.
        """
        mean = TetrahedralOrder.of(name, system, cutoff, element, room)
        return cls(name, cutoff, element, mean.search, low, high, bins, smooth)

    @property
    def _bins(self) -> Bins:
        return Bins(self.low, self.high, self.bins, self.smooth)

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins."""
        return self._bins.centers

    @property
    def axis_label(self) -> str:
        """The order parameter."""
        return "q"

    @property
    def title(self) -> str:
        """For figures."""
        return "density of the tetrahedral order q"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Fraction of the atoms in each bin."""
        q, counted = self.of_atoms(frame)
        share = counted.astype(q.dtype) / jnp.sum(counted)
        # a perfect tetrahedron is in the last bin
        inside = jnp.where(q == self.high, self.high - 0.5 * self._bins.width, q)
        counts = self._bins.counts(jnp.where(jnp.isnan(q), self.high, inside), share)
        return {"q": jnp.where(jnp.any(jnp.isnan(q)), jnp.nan, counts)}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Fractions to a density."""
        del context
        return mean["q"] / self._bins.width
