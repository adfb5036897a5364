"""Who interacts with whom: all pairs of an open system, or a list with an overflow flag.

Both kinds give a potential the same view, ``Pairs``: for every atom its neighbours in a fixed
number of slots, with a mask.  Lists store the lattice shift of each neighbour, so cells smaller
than the cut-off are right (an atom may then be its own neighbour), positions need no wrapping and
derivatives with respect to the cell come for free.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayespot.system import System


class Pairs(NamedTuple):
    """Neighbours of every atom in ``slots`` slots.

    Attributes:
        vectors: (atoms, slots, 3) from the atom to the neighbour, Angstrom.
        distances: (atoms, slots); 0 with zero derivative where two atoms coincide.
        mask: (atoms, slots) True for pairs that exist.
        gather: (atoms, ...) -> (atoms, slots, ...), a property of the atoms seen by neighbours;
            broadcastable to that shape where all atoms are neighbours.
    """

    vectors: Float[Array, "atoms slots 3"]
    distances: Float[Array, "atoms slots"]
    mask: Bool[Array, "atoms slots"]
    gather: Callable[[jax.Array], jax.Array]


def safe_norm(vectors: jax.Array) -> jax.Array:
    """Euclidean norm over the last axis with derivative 0, not NaN, at the origin."""
    squared = jnp.sum(vectors**2, axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AllPairs:
    """Every pair of an open system; nothing to rebuild, nothing to gather."""

    overflow: Bool[Array, "*batch"]

    def pairs(self, system: System) -> Pairs:
        """The view for ``system``."""
        vectors = system.positions[None, :, :] - system.positions[:, None, :]
        mask = system.mask[None, :] & system.mask[:, None] & ~jnp.eye(len(vectors), dtype=bool)
        vectors = jnp.where(mask[..., None], vectors, 1.0)
        return Pairs(vectors, safe_norm(vectors), mask, lambda x: x[None])

    def needs_update(self, system: System) -> jax.Array:
        """Never."""
        del system
        return jnp.asarray(False)

    def update(self, system: System) -> AllPairs:
        """Itself."""
        del system
        return self


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeighborList:
    """A full Verlet list.

    Attributes:
        index: (atoms, slots) neighbour's index; ``atoms`` marks an empty slot.
        shift: (atoms, slots, 3) lattice vectors to add to the neighbour's position.
        reference: (atoms, 3) positions at the last build.
        overflow: True when an atom had more neighbours than slots: results are wrong, allocate
            anew with more capacity.
        images: static, candidate lattice shifts.
        cutoff, skin: static, Angstrom; the list holds pairs up to their sum.
    """

    index: Int[Array, "*batch atoms slots"]
    shift: Float[Array, "*batch atoms slots 3"]
    reference: Float[Array, "*batch atoms 3"]
    overflow: Bool[Array, "*batch"]
    images: tuple[tuple[int, int, int], ...] = dataclasses.field(metadata={"static": True})
    cutoff: float = dataclasses.field(metadata={"static": True})
    skin: float = dataclasses.field(metadata={"static": True})

    def pairs(self, system: System) -> Pairs:
        """The view for ``system``; right while no atom moved more than half the skin."""
        atoms = system.positions.shape[0]
        mask = self.index < atoms
        index = jnp.where(mask, self.index, 0)
        vectors = system.positions[index] + self.shift @ system.cell - system.positions[:, None]
        vectors = jnp.where(mask[..., None], vectors, 1.0)
        return Pairs(vectors, safe_norm(vectors), mask, lambda x: x[index])

    def needs_update(self, system: System) -> jax.Array:
        """True once an atom has moved more than half the skin since the last build."""
        moved = jnp.sum((system.positions - self.reference) ** 2, axis=-1)
        return jnp.any(jnp.where(system.mask, moved, 0.0) > (self.skin / 2) ** 2)

    def update(self, system: System) -> NeighborList:
        """Rebuilt for ``system``; an earlier overflow stays marked."""
        index, shift, count = _build(system, self.images, self.cutoff + self.skin, self.index)
        overflow = self.overflow | (count > self.index.shape[-1])
        return dataclasses.replace(
            self, index=index, shift=shift, reference=system.positions, overflow=overflow
        )


Neighbors = AllPairs | NeighborList


def allocate(
    system: System,
    cutoff: float,
    skin: float = 0.5,
    kind: str = "auto",
    capacity_factor: float = 1.25,
) -> Neighbors:
    """Neighbours for ``system`` (concrete, not traced), with room to grow.

    Args:
        system: one configuration.
        cutoff: interaction range in Angstrom.
        skin: extra range of a list, in Angstrom.
        kind: "all" (open systems only), "list", or "auto": all pairs for open systems of up to
            32 atoms.
        capacity_factor: slots over the present largest number of neighbours.

    Raises:
        ValueError: all pairs of a periodic system, or an unknown kind.
    """
    periodic = any(system.pbc)
    if kind not in ("auto", "all", "list"):
        raise ValueError(f'neighbour kind must be "auto", "all" or "list", not "{kind}"')
    if kind == "all" and periodic:
        raise ValueError('a periodic system needs kind="list": all pairs know no images')
    if kind == "all" or (kind == "auto" and not periodic and system.positions.shape[-2] <= 32):
        return AllPairs(jnp.asarray(False))
    images = _images(np.asarray(system.cell), system.pbc, cutoff + skin)
    slots = system.positions.shape[-2]
    empty = jnp.zeros((slots, slots * len(images)), jnp.int32)
    _, _, count = _build(system, images, cutoff + skin, empty)
    capacity = max(1, min(empty.shape[1], int(np.ceil(int(count) * capacity_factor)) + 2))
    fresh = NeighborList(
        index=jnp.zeros((slots, capacity), jnp.int32),
        shift=jnp.zeros((slots, capacity, 3), system.positions.dtype),
        reference=system.positions,
        overflow=jnp.asarray(False),
        images=images,
        cutoff=cutoff,
        skin=skin,
    )
    return fresh.update(system)


def _images(
    cell: np.ndarray, pbc: tuple[bool, bool, bool], reach: float
) -> tuple[tuple[int, int, int], ...]:
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    # one more than the reach: wrapped atoms differ by up to one cell before the shift
    reps = [int(np.ceil(reach / h)) if p else 0 for h, p in zip(heights, pbc, strict=True)]
    return tuple(itertools.product(*(range(-n, n + 1) for n in reps)))  # type: ignore[return-value]


def _build(
    system: System, images: tuple[tuple[int, int, int], ...], reach: float, like: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Index and shift with ``like.shape[1]`` slots, and the largest number of neighbours."""
    atoms = system.positions.shape[0]
    dtype = system.positions.dtype
    candidates = jnp.asarray(images, dtype)  # (images, 3)
    fractional = system.positions @ jnp.linalg.inv(system.cell)
    wrap = jnp.where(jnp.asarray(system.pbc), jnp.floor(fractional), 0.0)
    wrapped = system.positions - wrap @ system.cell
    vectors = (
        wrapped[None, :, None] + (candidates @ system.cell)[None, None] - wrapped[:, None, None]
    )  # (atoms, atoms, images, 3)
    within = jnp.sum(vectors**2, axis=-1) < reach**2
    home = jnp.all(candidates == 0, axis=-1)
    itself = jnp.eye(atoms, dtype=bool)[:, :, None] & home
    within &= ~itself & system.mask[:, None, None] & system.mask[None, :, None]
    within = within.reshape(atoms, -1)
    count = jnp.max(jnp.sum(within, axis=1))
    code = jnp.where(within, jnp.arange(within.shape[1]), within.shape[1])
    code = jnp.sort(code, axis=1)[:, : like.shape[1]]
    index = jnp.where(code < within.shape[1], code // len(images), atoms).astype(jnp.int32)
    neighbor = jnp.minimum(index, atoms - 1)
    shift = candidates[code % len(images)] + wrap[:, None] - wrap[neighbor]
    return index, jnp.where((index < atoms)[..., None], shift, 0.0).astype(dtype), count
