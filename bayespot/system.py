"""A configuration of atoms as a pytree; a leading axis on every array makes it a batch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

if TYPE_CHECKING:
    import ase

Periodicity = tuple[bool, bool, bool]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class System:
    """Atoms in a (possibly open) cell.  Atoms with species 0 are padding: they do not exist.

    Attributes:
        positions: (atoms, 3) in Angstrom, not necessarily wrapped into the cell.
        species: (atoms,) atomic numbers.
        masses: (atoms,) in u; 1 for padding.
        cell: (3, 3) rows are the lattice vectors in Angstrom (ASE's convention).
        pbc: which lattice vectors repeat; static.
        temperature: K, for potentials of mean force that depend on it; None where none is told.
            MD gives each replica that of its thermostat, where the system has one at all.
    """

    positions: Float[Array, "*batch atoms 3"]
    species: Int[Array, "*batch atoms"]
    masses: Float[Array, "*batch atoms"]
    cell: Float[Array, "*batch 3 3"]
    pbc: Periodicity = dataclasses.field(metadata={"static": True}, default=(False, False, False))
    temperature: Float[Array, "*batch"] | None = None

    @property
    def mask(self) -> jax.Array:
        """(atoms,) True for atoms that exist."""
        return self.species > 0

    def replace(self, **changes: object) -> System:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @classmethod
    def from_ase(cls, atoms: ase.Atoms, num_atoms: int | None = None) -> System:
        """From an ASE ``Atoms``, padded to ``num_atoms``.

        Raises:
            ValueError: ``num_atoms`` is smaller than the number of atoms, or a periodic
                direction has no cell vector.
        """
        size = len(atoms) if num_atoms is None else num_atoms
        if size < len(atoms):
            raise ValueError(f"cannot pad {len(atoms)} atoms to {size}")
        pbc = tuple(bool(p) for p in atoms.pbc)
        cell = np.asarray(atoms.cell.array, float)
        for axis in range(3):
            if pbc[axis] and not np.linalg.norm(cell[axis]) > 0:
                raise ValueError(f"the cell is periodic along vector {axis}, which has no length")
        # open directions get a unit vector orthogonal to the rest, so that the cell inverts
        cell = np.asarray(atoms.cell.complete().array)

        def padded(values: np.ndarray, fill: float) -> np.ndarray:
            extra = np.full((size - len(atoms), *values.shape[1:]), fill)
            return np.concatenate([values, extra])

        return cls(
            positions=jnp.asarray(padded(atoms.positions, 0.0), float),
            species=jnp.asarray(padded(atoms.numbers, 0.0), jnp.int32),
            masses=jnp.asarray(padded(atoms.get_masses(), 1.0), float),
            cell=jnp.asarray(cell, float),
            pbc=pbc,  # type: ignore[arg-type]
        )
