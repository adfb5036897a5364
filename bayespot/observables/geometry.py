"""Bond lengths, angles and torsions of chosen atoms, by the nearest image."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.neighbors import safe_norm
from bayespot.system import System

Tuples = tuple[tuple[int, ...], ...]


def nearest_image(vectors: jax.Array, system: System) -> jax.Array:
    """Differences of positions (..., 3) taken to less than half a cell along each lattice vector.

    These are the shortest of their images where shorter than half the smallest height of the
    cell, and always in a rectangular one.
    """
    if not any(system.pbc):
        return vectors
    turns = jnp.round(vectors @ jnp.linalg.inv(system.cell))
    return vectors - jnp.where(jnp.asarray(system.pbc), turns, 0.0) @ system.cell


def steps(system: System, atoms: Tuples) -> list[jax.Array]:
    """From each atom of the tuples to the next: one (tuples, 3) less than a tuple has atoms.

    Raises:
        UserError: an index is not that of an atom.
    """
    index, size = np.asarray(atoms), system.positions.shape[0]
    if index.size == 0 or index.min() < 0 or index.max() >= size:
        raise UserError(
            f"an observable is of atoms {np.unique(index).tolist()}, and there are {size}",
            f"Give indices from 0 to {size - 1}",
        )
    places = [system.positions[i] for i in index.T]
    return [nearest_image(b - a, system) for a, b in itertools.pairwise(places)]


def bond_lengths(system: System, atoms: Tuples) -> jax.Array:
    """(pairs,) Angstrom."""
    return safe_norm(steps(system, atoms)[0])


def bond_angles(system: System, atoms: Tuples) -> jax.Array:
    """(triples,) rad in [0, pi], at the middle atom."""
    first, second = steps(system, atoms)
    return angle_between(-first, second)


def torsions(system: System, atoms: Tuples) -> jax.Array:
    """(quadruples,) rad in (-pi, pi], IUPAC sign: 0 is cis, pi trans."""
    b1, b2, b3 = steps(system, atoms)
    n1, n2 = jnp.cross(b1, b2), jnp.cross(b2, b3)
    y = jnp.sum(jnp.cross(n1, n2) * b2, axis=-1) / safe_norm(b2)
    return jnp.arctan2(y, jnp.sum(n1 * n2, axis=-1))


def angle_between(a: jax.Array, b: jax.Array) -> jax.Array:
    """Angle in rad of two vectors (..., 3); exact and with finite derivatives at 0 and pi too."""
    return jnp.arctan2(safe_norm(jnp.cross(a, b)), jnp.sum(a * b, axis=-1))
