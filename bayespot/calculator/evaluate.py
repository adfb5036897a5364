"""All members on one configuration, fast from call to call.

One program makes energies, forces and stresses of all members by one differentiation.  Numbers of
atoms and of neighbours are padded to sizes that stay while they serve, so that moving atoms, or
changing their number a little, compiles nothing; neighbours are listed with a skin.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.neighbors import AllPairs, NeighborList, allocate
from bayespot.system import System

if TYPE_CHECKING:
    import ase

    from bayespot.committee import Committee
    from bayespot.neighbors import Lists
    from bayespot.potentials import Potential

SHRINK = 0.1
"""How far a cell may shrink before lists are laid out anew."""

AT_ONCE = 2**18
"""Slots of neighbours, over members, that are evaluated together: more do not fit into caches."""


class Evaluated(NamedTuple):
    """Of one configuration by K members, float64.

    Attributes:
        energy: (K,) total, eV.
        energies: (K, atoms) of each atom, eV; their sum is ``energy``.
        forces: (K, atoms, 3) eV/Angstrom.
        stress: (K, 3, 3) eV/Angstrom^3, tension positive; None unless periodic in all directions.
    """

    energy: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None


class Evaluator:
    """Members of a committee on one configuration after another.

    Args:
        committee: whose members.
        skin: extra range of neighbour lists, Angstrom.
    """

    def __init__(self, committee: Committee, skin: float = 0.5) -> None:
        self.committee = committee
        self.skin = skin
        with jax.enable_x64(committee.float64):
            self._all = jax.tree.map(jnp.asarray, committee.params)
        self._chosen: dict[int, Any] = {}
        self._program = _program(committee.potential)
        self._lists: Lists | None = None
        self._species = np.zeros(0, np.int32)
        self._pbc = (False, False, False)

    def __call__(self, atoms: ase.Atoms, member: int | None = None) -> Evaluated:
        """Evaluate all members, or one (K = 1).

        Args:
            atoms: any size, elements, cell and periodicity.
            member: its number; None evaluates all.

        Raises:
            UserError: elements that the potential or the energies do not know, a periodic
                direction without a cell vector, or no atoms.
        """
        shift = self._shift(atoms)
        with jax.enable_x64(self.committee.float64):
            lists, arguments = self._arguments(atoms)
            index, moved = (
                (lists.index, lists.shift) if isinstance(lists, NeighborList) else (None, None)
            )
            params = self._all if member is None else self._one(member)
            count = self.committee.members if member is None else 1
            slots = len(self._species) * (len(self._species) if index is None else index.shape[1])
            made = self._program(
                params, *arguments, index, moved, self._pbc, max(1, min(count, AT_ONCE // slots))
            )
        energies, forces, stress = (None if x is None else np.asarray(x, float) for x in made)
        assert energies is not None
        assert forces is not None
        here = len(atoms)
        energies = energies[:, :here] + shift
        return Evaluated(energies.sum(axis=1), energies, forces[:, :here], stress)

    def _shift(self, atoms: ase.Atoms) -> np.ndarray:
        """(atoms,) eV, in float64: total energies have more digits than float32."""
        if not len(atoms):
            raise UserError("there are no atoms", "Give a structure with at least one")
        shift = self.committee.shift
        known = self.committee.potential.elements
        present = {int(z) for z in atoms.numbers}
        unknown = sorted(z for z in present if z < 1 or (known is not None and z not in known))
        if unknown:
            raise UserError(
                f"{self.committee.name} knows no atoms of number {unknown}",
                "Train on data with them",
            )
        shift.of(atoms.numbers)  # says which elements training lacked
        table = np.zeros(120)
        table[list(shift.elements)] = shift.energies
        return table[atoms.numbers]

    def _one(self, member: int) -> Any:
        if member not in self._chosen:
            self._chosen = {member: jax.tree.map(lambda x: x[member][None], self._all)}
        return self._chosen[member]

    def _arguments(self, atoms: ase.Atoms) -> tuple[Lists, tuple[np.ndarray, ...]]:
        """Lists that are right for ``atoms``, and its padded arrays."""
        dtype = np.float64 if self.committee.float64 else np.float32
        pbc = (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2]))
        cell = np.asarray(atoms.cell.array, float)
        if any(pbc[k] and not cell[k].any() for k in range(3)):
            raise UserError(
                "the structure is periodic along a vector of length zero",
                "Give its cell, or set pbc to False",
            )
        cell = np.asarray(atoms.cell.complete().array, dtype)
        size = len(self._species)
        anew = self._lists is None or pbc != self._pbc
        if not size / 2 <= len(atoms) <= size:
            size, anew = bucket(len(atoms)), True
        species = np.zeros(size, np.int32)
        species[: len(atoms)] = atoms.numbers
        positions = np.zeros((size, 3), dtype)
        positions[: len(atoms)] = atoms.positions
        arrays = (positions, species, cell)
        lists = self._lists
        if anew or lists is None:
            lists = self._allocate(_system(arrays, pbc), None)
        elif isinstance(lists, NeighborList):
            other = not np.array_equal(species, self._species)
            if other or _stale(lists, *arrays, pbc):
                lists = _update(lists, *arrays, pbc)
            if lists is not self._lists and lists.overflow:
                lists = self._allocate(_system(arrays, pbc), lists)
        self._lists, self._species, self._pbc = lists, species, pbc
        return lists, arrays

    def _allocate(self, system: System, before: Lists | None) -> Lists:
        cutoff = self.committee.potential.cutoff
        lists = allocate(system, cutoff, self.skin, cell_margin=SHRINK)
        if isinstance(lists, AllPairs):
            return lists
        atoms, slots = lists.index.shape
        wide = bucket(slots)
        if isinstance(before, NeighborList) and before.index.shape[0] == atoms:
            wide = max(wide, before.index.shape[1])
        room = ((0, 0), (0, wide - slots))
        return dataclasses.replace(
            lists,
            index=jnp.pad(lists.index, room, constant_values=atoms),
            shift=jnp.pad(lists.shift, (*room, (0, 0))),
        )


def bucket(count: int) -> int:
    """The next size: four to each doubling, so that a fifth at most is padding.

    >>> [bucket(n) for n in (1, 9, 17, 64, 65)]
    [4, 10, 20, 64, 80]
    """
    step = max(1, 2 ** (max(count - 1, 1).bit_length() - 1) // 4)
    return max(4, -(-count // step) * step)


def _system(arrays: tuple[Any, ...], pbc: tuple[bool, bool, bool]) -> System:
    positions, species, cell = (jnp.asarray(x) for x in arrays)
    return System(positions, species, jnp.ones_like(positions[:, 0]), cell, pbc)


@functools.partial(jax.jit, static_argnames="pbc")
def _stale(lists: NeighborList, positions: Any, species: Any, cell: Any, pbc: Any) -> jax.Array:
    # zero strain to come: the cell may have changed since the build, not after this
    return lists.needs_update(_system((positions, species, cell), pbc), 0.0)


@functools.partial(jax.jit, static_argnames="pbc")
def _update(lists: NeighborList, positions: Any, species: Any, cell: Any, pbc: Any) -> NeighborList:
    return lists.update(_system((positions, species, cell), pbc))


def _program(potential: Potential) -> Any:
    """Compiled once for all evaluators of an equal potential; each its own where it has no hash."""
    try:
        hash(potential)
    except TypeError:
        return jax.jit(functools.partial(_evaluate, potential), static_argnums=(6, 7))
    return functools.partial(_shared, potential)


def _evaluate(
    potential: Potential,
    params: Any,
    positions: Any,
    species: Any,
    cell: Any,
    index: Any,
    moved: Any,
    pbc: tuple[bool, bool, bool],
    at_once: int,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Energies of atoms, forces and stress of all members, ``at_once`` of them together."""
    system = _system((positions, species, cell), pbc)
    never = jnp.asarray(False)
    if index is None:
        neighbors: Any = AllPairs(never)
    else:
        # nothing of how the list was made: another grid is no other program
        neighbors = NeighborList(
            index, moved, system.positions, system.cell, never, None, potential.cutoff, 0.0
        )

    def energy(positions: jax.Array, strain: jax.Array | None, one: Any) -> Any:
        here = system.replace(positions=positions)
        if strain is not None:
            bent = jnp.eye(3, dtype=strain.dtype) + (strain + strain.T) / 2
            here = system.replace(positions=positions @ bent, cell=system.cell @ bent)
        energies = potential.atomic_energies(one, here, neighbors)
        energies = jnp.where(system.mask, energies, 0.0)
        return jnp.sum(energies), energies

    def member(one: Any) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        if not all(pbc):
            down, energies = jax.grad(energy, has_aux=True)(system.positions, None, one)
            return energies, -down, None
        none = jnp.zeros((3, 3), system.positions.dtype)
        made = jax.grad(energy, (0, 1), has_aux=True)(system.positions, none, one)
        (down, slope), energies = made
        return energies, -down, slope / jnp.abs(jnp.linalg.det(system.cell))

    count = len(jax.tree.leaves(params)[0])
    if at_once >= count:
        return jax.vmap(member)(params)
    return jax.lax.map(member, params, batch_size=at_once)


_shared = jax.jit(_evaluate, static_argnums=(0, 7, 8))
