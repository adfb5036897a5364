"""Neighbours of every atom for structural observables, at a cost that grows with their number.

They come from the potential's list where it reaches far enough, else from a list made for the
frame, whose static numbers were settled when the observable was made.  An atom with more
neighbours than there is room for is reported, and observables turn it into NaN.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.neighbors import Grid, NeighborList, allocate
from bayespot.observables.frame import Frame
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class Search:
    """What is static about a list.

    Attributes:
        cutoff: Angstrom.
        slots: neighbours that an atom may have.
        grid: how they are found.
    """

    cutoff: float
    slots: int
    grid: Grid

    @classmethod
    def of(cls, system: System, cutoff: float, room: float, shrink: float = 0.1) -> Search:
        """With room for ``room`` times the neighbours that atoms of ``system`` have now, in a cell
        that may become shorter by the fraction ``shrink``."""
        lists = allocate(system, cutoff, 0.0, "list", room, cell_margin=shrink)
        assert isinstance(lists, NeighborList)
        assert lists.grid is not None
        return cls(cutoff, lists.index.shape[-1], lists.grid)

    def lists(self, system: System) -> NeighborList:
        """For where the atoms are now; nothing to differentiate through."""
        system = jax.lax.stop_gradient(system)
        atoms, dtype = system.positions.shape[0], system.positions.dtype
        return NeighborList(
            index=jnp.zeros((atoms, self.slots), jnp.int32),
            shift=jnp.zeros((atoms, self.slots, 3), dtype),
            reference=system.positions,
            reference_cell=system.cell,
            overflow=jnp.asarray(False),
            grid=self.grid,
            cutoff=self.cutoff,
            skin=0.0,
        ).update(system)


class Nearby(NamedTuple):
    """Neighbours of every atom in a fixed number of slots.

    Attributes:
        vectors: (atoms, slots, 3) from the atom to the neighbour, Angstrom.
        distances: (atoms, slots) Angstrom.
        species: (atoms, slots) atomic numbers; 0 for slots without an atom, or with one beyond
            the cut-off.
        crowded: True where some neighbours found no slot.
    """

    vectors: jax.Array
    distances: jax.Array
    species: jax.Array
    crowded: jax.Array

    def closest(self, most: int) -> Nearby:
        """At most ``most`` neighbours, the closest first, and crowded only as before."""
        far = jnp.where(self.species > 0, jax.lax.stop_gradient(self.distances), jnp.inf)
        order = jax.lax.top_k(-far, min(most, far.shape[1]))[1]
        return Nearby(
            jnp.take_along_axis(self.vectors, order[..., None], axis=1),
            jnp.take_along_axis(self.distances, order, axis=1),
            jnp.take_along_axis(self.species, order, axis=1),
            self.crowded,
        )


def nearby(frame: Frame, cutoff: float, search: Search | None) -> Nearby:
    """Neighbours up to ``cutoff`` Angstrom, images included.

    Raises:
        UserError: neither the potential's list nor ``search`` reaches so far.
    """
    system = frame.system
    pairs = frame.pairs(cutoff)
    if pairs is not None:
        assert frame.neighbors is not None
        crowded = getattr(frame.neighbors, "overflow", jnp.asarray(False))
    elif search is not None and search.cutoff >= cutoff:
        lists = search.lists(system)
        pairs, crowded = lists.pairs(system), lists.overflow
    else:
        raise UserError(
            f"an observable needs neighbours up to {cutoff:g} Angstrom, and no list reaches so far",
            'Make the observable with its "of", which settles how they are found',
        )
    there = pairs.mask & (pairs.distances < cutoff)
    species = jnp.where(there, pairs.gather(system.species), 0)
    return Nearby(pairs.vectors, pairs.distances, species, crowded)


def triplets(near: Nearby, search: Search | None) -> Nearby:
    """The same with no more slots than ``search`` has: the cost of triplets grows with their
    square, and the list of a potential may reach much further."""
    if search is None or near.species.shape[1] <= search.slots:
        return near
    more = jnp.any(jnp.sum(near.species > 0, axis=1) > search.slots)
    return near.closest(search.slots)._replace(crowded=near.crowded | more)


def unless_crowded(near: Nearby, value: jax.Array) -> jax.Array:
    """The value, or NaN where neighbours are missing."""
    return jnp.where(near.crowded, jnp.nan, value)


def check_elements(name: str, system: System, elements: tuple[int, ...]) -> None:
    """Refuse elements that ``system`` lacks.

    Raises:
        UserError: there is one.
    """
    missing = sorted(set(elements) - {int(z) for z in np.unique(np.asarray(system.species))})
    if missing:
        raise UserError(
            f"{name} is of element {missing[0]}, which the system does not hold",
            "Name elements that are simulated",
        )
