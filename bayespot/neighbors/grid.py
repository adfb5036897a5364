"""A grid of bins over any cell, and the atoms near an atom.

Bins are cut along the lattice vectors; an atom looks into all bins within its reach, counted
without wrapping round, so that a bin met again one cell further is another image.  One grid thus
serves triclinic cells, mixed boundaries and cells smaller than the reach, where it has a single
bin and looks into its images.

Where there are few atoms, those images of every atom are candidates that can be near at all: the
nearest one where the cell is twice as wide as the reach.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class Grid:
    """What is static about a grid.

    Attributes:
        shape: bins along each lattice vector.
        reach: how many bins to look to either side along each.
        capacity: atoms a bin can hold.
        split: bins to a reach along open axes.
        images: of every atom along each lattice vector, in place of bins; None where there are
            bins.
    """

    shape: tuple[int, int, int]
    reach: tuple[int, int, int]
    capacity: int
    split: int = 1
    images: tuple[int, int, int] | None = None

    @property
    def bins(self) -> int:
        """Number of bins."""
        return int(np.prod(self.shape))

    @property
    def stencil(self) -> np.ndarray:
        """(bins in reach, 3) offsets."""
        return np.array(list(itertools.product(*(range(-r, r + 1) for r in self.reach))))

    def wider(self, other: Grid | None) -> Grid:
        """This grid, with half as much room again as ``other`` had."""
        if other is None or self.bins == 1:
            return self
        return dataclasses.replace(self, capacity=max(self.capacity, int(1.5 * other.capacity)))


def heights(cell: jax.Array) -> jax.Array:
    """(3,) distances between opposite faces of the cell."""
    return 1 / jnp.linalg.norm(jnp.linalg.inv(cell), axis=0)


def plan(system: System, reach: float, margin: float, capacity_factor: float) -> Grid:
    """The grid for a concrete ``system`` with the fewest places to look into.

    Bins of half the reach fit the sphere better, and hold so few atoms that more places stay empty.

    Args:
        system: one configuration.
        reach: Angstrom.
        margin: how far the cell may shrink, relative to its size, before bins are too narrow.
        capacity_factor: room in a bin over the fullest of this configuration.
    """
    positions = np.asarray(system.positions)[np.asarray(system.mask)]
    lengths = np.array(heights(system.cell), float)
    fractional = positions @ np.linalg.inv(np.asarray(system.cell))
    if len(positions):
        lengths *= np.where(system.pbc, 1.0, np.ptp(fractional, axis=0))
    atoms, far = system.positions.shape[0], reach * (1 + margin)
    found = []
    for split in (1, 2):
        shape = np.maximum(1, (split * lengths / far).astype(int))
        look = np.where(
            system.pbc,
            np.ceil(far * shape / np.maximum(lengths, 1e-9)),
            np.minimum(split, shape - 1),
        )
        one = Grid(_three(shape), _three(look), 1, split)
        if one.bins > 1:
            fullest = int(jnp.max(_filled(system, one, reach)))
            room = int(np.ceil(fullest * capacity_factor)) + 2
        else:
            room = atoms
        found.append(dataclasses.replace(one, capacity=min(atoms, room)))
    best = min(found, key=_places)
    images = np.where(system.pbc, np.ceil(2 * far / np.maximum(lengths, 1e-9)), 1)
    if atoms * np.prod(images) <= _places(best):
        return Grid((1, 1, 1), (0, 0, 0), 1, images=_three(images))
    return best


def _places(grid: Grid) -> int:
    return len(grid.stencil) * grid.capacity


@functools.partial(jax.jit, static_argnums=(1, 2))
def _filled(system: System, grid: Grid, reach: float) -> jax.Array:
    return _fill(system, grid, reach)[1]


def _three(numbers: np.ndarray) -> tuple[int, int, int]:
    a, b, c = (int(n) for n in numbers)
    return a, b, c


def candidates(
    system: System, grid: Grid, reach: float
) -> tuple[
    Int[Array, "atoms near"], Float[Array, "atoms stencil 3"], Float[Array, "atoms 3"], jax.Array
]:
    """Which atoms may lie within reach of each atom.

    Returns:
        (index of the atom, ``atoms`` for an empty place; shift in lattice vectors of each bin of
        the stencil for each atom (atoms, stencil, 3), to be added to the wrapped position; whole
        cells taken off each position in wrapping it; True where a bin was too full or too narrow).
    """
    if grid.images is not None:
        return _images(system, np.array(grid.images), reach)
    atoms = system.positions.shape[0]
    where, fill, wrap = _fill(system, grid, reach)
    shape = np.array(grid.shape)
    # place of an atom in its bin: rank among the atoms sorted by bin
    number = jnp.where(system.mask, _number(where, grid), grid.bins)
    order = jnp.argsort(number)
    first = jnp.concatenate([jnp.zeros(1, fill.dtype), jnp.cumsum(fill)])
    rank = jnp.arange(atoms) - first[number[order]]
    table = jnp.full((grid.bins, grid.capacity), atoms, jnp.int32)
    table = table.at[number[order], rank].set(order.astype(jnp.int32), mode="drop")

    near = where[:, None] + jnp.asarray(grid.stencil)  # (atoms, stencil, 3), not wrapped round
    periodic = jnp.asarray(system.pbc)
    exists = jnp.all(periodic | ((near >= 0) & (near < shape)), axis=-1)
    # floats: dividing integers takes longer than all the rest
    turns = jnp.floor((near + 0.5) * jnp.asarray(1 / shape, system.positions.dtype))
    shift = jnp.where(periodic, turns, 0.0)
    inside = jnp.clip(near - shift.astype(jnp.int32) * shape, 0, shape - 1)
    index = jnp.where(exists[..., None], table[_number(inside, grid)], atoms)
    crowded = jnp.max(fill) > grid.capacity
    width = heights(system.cell) * np.array(grid.reach) / shape
    # along open axes the reach is ``split`` bins by construction
    narrow = jnp.any(jnp.where(periodic, width < reach * (1 - 1e-6), False))
    return index.reshape(atoms, -1), shift, wrap, crowded | narrow


def _images(
    system: System, images: np.ndarray, reach: float
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """As ``candidates``, every image of every atom a bin of its own.

    The coordinate of what lies within reach is below ``images / 2`` along a lattice vector whose
    height is at least ``2 reach / images``; as many images have such a coordinate.
    """
    atoms = system.positions.shape[0]
    fractional = system.positions @ jnp.linalg.inv(system.cell)
    away = fractional - fractional[:, None]
    dtype = system.positions.dtype
    first = -jnp.floor(away + jnp.asarray(images / 2, dtype))  # of atom j seen from atom i
    steps = jnp.asarray(list(itertools.product(*(range(n) for n in images))), dtype)
    periodic = jnp.asarray(system.pbc)
    shift = jnp.where(periodic, first[:, None] + steps[:, None], 0.0)
    index = jnp.where(system.mask, jnp.arange(atoms), atoms)
    width = heights(system.cell) * images / 2
    narrow = jnp.any(jnp.where(periodic, width < reach * (1 - 1e-6), False))
    index = jnp.broadcast_to(index, (atoms, len(steps), atoms)).reshape(atoms, -1)
    return index, shift.reshape(atoms, -1, 3), jnp.zeros_like(fractional), narrow


def _number(where: jax.Array, grid: Grid) -> jax.Array:
    return (where[..., 0] * grid.shape[1] + where[..., 1]) * grid.shape[2] + where[..., 2]


def _fill(
    system: System, grid: Grid, reach: float
) -> tuple[Int[Array, "atoms 3"], Int[Array, " bins"], Float[Array, "atoms 3"]]:
    """Bin of each atom, number of atoms in each bin, and whole cells to take off each position."""
    fractional = system.positions @ jnp.linalg.inv(system.cell)
    periodic = jnp.asarray(system.pbc)
    wrap = jnp.where(periodic, jnp.floor(fractional), 0.0)
    shape = np.array(grid.shape)
    lowest = jnp.min(jnp.where(system.mask[:, None], fractional, jnp.inf), axis=0)
    # open axes: bins counted from the lowest atom; the last holds the rest
    width = reach / grid.split
    steps = jnp.where(
        periodic, (fractional - wrap) * shape, (fractional - lowest) * heights(system.cell) / width
    )
    steps = jnp.where(jnp.isfinite(steps), steps, 0.0)
    where = jnp.clip(jnp.floor(steps).astype(jnp.int32), 0, shape - 1)
    number = jnp.where(system.mask, _number(where, grid), grid.bins)
    return where, jnp.zeros(grid.bins, jnp.int32).at[number].add(1, mode="drop"), wrap
