"""Verlet lists with lattice shifts, a skin and an overflow flag.

Lists store the lattice shift of each neighbour, so cells smaller than the cut-off are right (an
atom may then be its own neighbour), positions need no wrapping and derivatives with respect to
the cell come for free.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayespot.neighbors.grid import Grid, candidates, plan
from bayespot.neighbors.pairs import AllPairs, GivenPairs, Pairs, safe_norm
from bayespot.system import System


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NeighborList:
    """A Verlet list.

    Attributes:
        index: (atoms, slots) neighbour's index; ``atoms`` marks an empty slot.
        shift: (atoms, slots, 3) lattice vectors to add to the neighbour's position.
        reference: (atoms, 3) positions at the last build.
        reference_cell: (3, 3) cell at the last build.
        overflow: True when an atom had more neighbours than slots, or the grid no longer served:
            results are wrong, allocate anew.
        grid: static, how candidates are found; None for a list that is never rebuilt.
        cutoff, skin: static, Angstrom; the list holds pairs up to their sum.
        half: static, each pair is listed at one of its atoms only.
    """

    index: Int[Array, "*batch atoms slots"]
    shift: Float[Array, "*batch atoms slots 3"]
    reference: Float[Array, "*batch atoms 3"]
    reference_cell: Float[Array, "*batch 3 3"]
    overflow: Bool[Array, "*batch"]
    grid: Grid | None = dataclasses.field(metadata={"static": True})
    cutoff: float = dataclasses.field(metadata={"static": True})
    skin: float = dataclasses.field(metadata={"static": True})
    half: bool = dataclasses.field(default=False, metadata={"static": True})

    def pairs(self, system: System) -> Pairs:
        """The view for ``system``; right while ``needs_update`` is False."""
        atoms = system.positions.shape[0]
        mask = self.index < atoms
        index = jnp.where(mask, self.index, 0)
        # written out: XLA's CPU matrix product with a 3 x 3 takes longer than all the rest
        shift = sum(self.shift[..., k, None] * system.cell[k] for k in range(3))
        vectors = system.positions[index] + shift - system.positions[:, None]
        vectors = jnp.where(mask[..., None], vectors, 1.0)
        weight = 1.0 if self.half else 0.5
        return Pairs(vectors, safe_norm(vectors), mask, lambda x: x[index], weight)

    def needs_update(self, system: System, strain_to_come: float | None = None) -> jax.Array:
        """True once a pair may have come within the cut-off that is not listed.

        A homogeneous strain ``F`` since the build shrinks listed distances by at most ``1 - |F-1|``
        (Frobenius norm bounds the spectral one); what atoms moved besides counts twice.

        Args:
            system: where the atoms are now.
            strain_to_come: room to keep for further strain; None where the cell never changes.
        """
        if strain_to_come is None:
            moved = jnp.sum((system.positions - self.reference) ** 2, axis=-1)
            return jnp.any(jnp.where(system.mask, moved, 0.0) > (self.skin / 2) ** 2)
        deformation = jnp.linalg.solve(self.reference_cell, system.cell)
        carried = self.reference @ deformation
        moved = jnp.sum((system.positions - carried) ** 2, axis=-1)
        strain = jnp.linalg.norm(deformation - jnp.eye(3, dtype=deformation.dtype))
        room = (self.cutoff + self.skin) * (1 - strain - strain_to_come) - self.cutoff
        far = jnp.max(jnp.where(system.mask, moved, 0.0))
        return 4 * far > jnp.maximum(room, 0.0) ** 2

    def update(self, system: System) -> NeighborList:
        """Rebuilt for ``system``; an earlier overflow stays marked."""
        assert self.grid is not None
        index, shift, count, unfit = _build(
            system, self.grid, self.cutoff + self.skin, self.index.shape[-1], self.half
        )
        return dataclasses.replace(
            self,
            index=index,
            shift=shift,
            reference=system.positions,
            reference_cell=system.cell,
            overflow=self.overflow | unfit | (count > self.index.shape[-1]),
        )


SMALL = 32
"""Open systems of up to so many atoms take all pairs."""

Lists = AllPairs | NeighborList
"""What can be brought up to date."""

Neighbors = Lists | GivenPairs


def allocate(
    system: System,
    cutoff: float,
    skin: float = 0.5,
    kind: str = "auto",
    capacity_factor: float = 1.25,
    half: bool = False,
    cell_margin: float = 0.0,
) -> Lists:
    """Neighbours for ``system`` (concrete, not traced), with room to grow.

    Args:
        system: one configuration.
        cutoff: interaction range in Angstrom.
        skin: extra range of a list, in Angstrom.
        kind: "all" (open systems only), "list", or "auto": all pairs for small open systems, and
            where the cut-off is zero.
        capacity_factor: slots over the present largest number of neighbours.
        half: list each pair once; for potentials that are sums over pairs.
        cell_margin: relative shrinking of the cell that the list can follow (constant pressure).

    Raises:
        ValueError: all pairs of a periodic system, or an unknown kind.
    """
    periodic = any(system.pbc)
    if kind not in ("auto", "all", "list"):
        raise ValueError(f'neighbour kind must be "auto", "all" or "list", not "{kind}"')
    if kind == "all" and periodic:
        raise ValueError('a periodic system needs kind="list": all pairs know no images')
    atoms = system.positions.shape[-2]
    nobody = kind == "auto" and cutoff == 0  # who does not interact needs no list
    if not half and (
        kind == "all" or nobody or (kind == "auto" and not periodic and atoms <= SMALL)
    ):
        return AllPairs(jnp.asarray(False))
    reach = cutoff + skin
    grid = plan(system, reach, cell_margin, capacity_factor)
    count = int(_count(system, grid, reach, half))
    capacity = max(1, int(np.ceil(count * capacity_factor)) + (2 if capacity_factor > 1 else 0))
    fresh = NeighborList(
        index=jnp.zeros((atoms, capacity), jnp.int32),
        shift=jnp.zeros((atoms, capacity, 3), system.positions.dtype),
        reference=system.positions,
        reference_cell=system.cell,
        overflow=jnp.asarray(False),
        grid=grid,
        cutoff=cutoff,
        skin=skin,
        half=half,
    )
    return _update(fresh, system)


@jax.jit
def _update(lists: NeighborList, system: System) -> NeighborList:
    return lists.update(system)


def sizes_of(lists: Lists | None) -> dict[str, Any] | None:
    """What is static about a list, as JSON; None where nothing is."""
    if not isinstance(lists, NeighborList) or lists.grid is None:
        return None
    return {
        "slots": lists.index.shape[-1],
        "grid": dataclasses.asdict(lists.grid),
        "cutoff": lists.cutoff,
        "skin": lists.skin,
        "half": lists.half,
    }


def lists_of(sizes: dict[str, Any] | None, system: System) -> NeighborList | None:
    """An empty list with the ``sizes_of`` another, for one configuration of ``system``."""
    if sizes is None:
        return None
    stored = sizes["grid"]
    made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
    grid = Grid(**made)
    atoms = system.positions.shape[-2]
    return NeighborList(
        index=jnp.full((atoms, sizes["slots"]), atoms, jnp.int32),
        shift=jnp.zeros((atoms, sizes["slots"], 3), system.positions.dtype),
        reference=system.positions,
        reference_cell=system.cell,
        overflow=jnp.asarray(False),
        grid=grid,
        cutoff=sizes["cutoff"],
        skin=sizes["skin"],
        half=sizes["half"],
    )


def placeholder(system: System) -> NeighborList:
    """One made-up neighbour for each atom: for tracing shapes, also where positions are traced."""
    atoms = system.positions.shape[-2]
    dtype = system.positions.dtype
    return NeighborList(
        index=((jnp.arange(atoms) + 1) % atoms)[:, None].astype(jnp.int32),
        shift=jnp.zeros((atoms, 1, 3), dtype),
        reference=system.positions,
        reference_cell=system.cell,
        overflow=jnp.asarray(False),
        grid=None,
        cutoff=1.0,
        skin=0.0,
    )


def _within(
    system: System, grid: Grid, reach: float, half: bool
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """(mask, index, shift of each bin, whole cells of each atom, unfit) of all candidates."""
    atoms = system.positions.shape[0]
    index, shift, wrap, unfit = candidates(system, grid, reach)
    wrapped = system.positions - wrap @ system.cell
    offset = sum(shift[..., k, None] * system.cell[k] for k in range(3))  # (atoms, stencil, 3)
    neighbor = jnp.minimum(index, atoms - 1)
    base = offset - wrapped[:, None]
    vectors = _take(wrapped, neighbor) + jnp.repeat(base, grid.capacity, axis=1)
    within = (jnp.sum(vectors**2, axis=-1) < reach**2) & (index < atoms) & system.mask[:, None]
    me = jnp.arange(atoms)[:, None]
    if half:
        # the parity of the sum shares pairs out evenly; of an image of itself, the upper half
        first = jnp.where((me + index) % 2 == 0, me < index, me > index)
        x, y, z = (jnp.repeat(shift[..., axis], grid.capacity, axis=1) for axis in range(3))
        upper = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
        within &= jnp.where(index == me, upper, first)
    else:
        home = jnp.all(shift == 0, axis=-1)
        within &= (index != me) | ~jnp.repeat(home, grid.capacity, axis=1)
    return within, index, shift, wrap, unfit


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _count(system: System, grid: Grid, reach: float, half: bool) -> jax.Array:
    """The largest number of neighbours."""
    return jnp.max(jnp.sum(_within(system, grid, reach, half)[0], axis=1))


def _build(
    system: System, grid: Grid, reach: float, slots: int, half: bool
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Index and shift in ``slots`` slots, the largest number of neighbours, and unfitness."""
    atoms = system.positions.shape[0]
    within, index, shift, wrap, unfit = _within(system, grid, reach, half)
    number = _running_number(within)
    count = jnp.max(jnp.sum(within, axis=1))
    near = within.shape[1]
    fits = within & (number < slots)
    place = jnp.where(fits, jnp.arange(atoms)[:, None] * slots + number, atoms * slots)
    candidate = jnp.broadcast_to(jnp.arange(near, dtype=jnp.int32), place.shape)
    chosen = jnp.full(atoms * slots, near, jnp.int32)
    chosen = chosen.at[place.ravel()].set(candidate.ravel(), mode="drop").reshape(atoms, slots)
    filled = chosen < near
    chosen = jnp.where(filled, chosen, 0)
    rows = jnp.arange(atoms)[:, None]
    found = jnp.where(filled, _take(index.ravel(), rows * near + chosen), atoms)
    stencil = shift.shape[1]
    moved = _take(shift.reshape(-1, 3), rows * stencil + chosen // grid.capacity)
    moved = moved + wrap[:, None] - _take(wrap, jnp.minimum(found, atoms - 1))
    return found.astype(jnp.int32), jnp.where(filled[..., None], moved, 0.0), count, unfit


def _take(values: jax.Array, index: jax.Array) -> jax.Array:
    """``values[index]`` for indices that are right."""
    return values.at[index].get(mode="promise_in_bounds")


def _running_number(within: jax.Array, width: int = 64) -> jax.Array:
    """How many are True before each entry of a row.

    Products with a triangle of ones, in two levels: XLA's running sums on a CPU take longer than
    all the rest of a list.
    """
    atoms, near = within.shape
    groups = -(-near // width)
    padded = jnp.pad(within, ((0, 0), (0, groups * width - near)))
    ones = padded.reshape(atoms, groups, width).astype(jnp.float32)
    inside = ones @ jnp.triu(jnp.ones((width, width), jnp.float32), 1)
    before = jnp.sum(ones, axis=2) @ jnp.triu(jnp.ones((groups, groups), jnp.float32), 1)
    number = (inside + before[..., None]).astype(jnp.int32)
    return number.reshape(atoms, -1)[:, :near]
