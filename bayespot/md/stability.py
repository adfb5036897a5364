"""Stability criteria, checked inside the scan; a replica that fails one freezes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.neighbors import Neighbors
from bayespot.system import System

REASONS = (
    "stable",
    "a number is not finite",
    "a bond left its length",
    "two atoms came too close",
    "atoms fell together: no neighbour list could hold them",
    "it blew up: shorten the time step, or minimise the start first",
)
"""Texts of the codes that ``check`` returns, and of what the engine adds."""

NOT_FINITE, COLLAPSED, BLOWN_UP = 1, 4, 5


@dataclasses.dataclass(frozen=True)
class Stability:
    """What a healthy configuration looks like (methods.md section 3, StABlE).

    Attributes:
        bonds: pairs of atom indices.
        lengths: their equilibrium lengths in Angstrom.
        max_bond_deviation: largest |d - d0| in Angstrom.
        min_distance: smallest distance of any two atoms that share no bond, Angstrom.
    """

    bonds: tuple[tuple[int, int], ...] = ()
    lengths: tuple[float, ...] = ()
    max_bond_deviation: float = 0.5
    min_distance: float = 0.0

    def check(self, system: System, momenta: jax.Array, neighbors: Neighbors) -> jax.Array:
        """Code of the first criterion that fails, 0 where none does."""
        finite = jnp.all(jnp.isfinite(system.positions)) & jnp.all(jnp.isfinite(momenta))
        code = jnp.where(finite, 0, NOT_FINITE)
        if self.bonds:
            i, j = np.asarray(self.bonds).T
            vectors = system.positions[i] - system.positions[j]
            if any(system.pbc):  # the bond is the nearest image's
                turns = jnp.round(vectors @ jnp.linalg.inv(system.cell))
                vectors -= jnp.where(jnp.asarray(system.pbc), turns, 0.0) @ system.cell
            length = jnp.linalg.norm(vectors, axis=-1)
            deviation = jnp.max(jnp.abs(length - jnp.asarray(self.lengths, length.dtype)))
            code = jnp.where((code == 0) & (deviation > self.max_bond_deviation), 2, code)
        if self.min_distance > 0:
            pairs = neighbors.pairs(system)
            distances = jnp.where(pairs.mask, pairs.distances, jnp.inf)
            if self.bonds:
                # the smallest over unbonded pairs: bonded atoms may be closer
                bonded = np.zeros((system.positions.shape[0],) * 2, bool)
                bonded[i, j] = bonded[j, i] = True
                near = pairs.gather(jnp.arange(len(bonded)))
                row = jnp.arange(len(bonded))[:, None]
                distances = jnp.where(jnp.asarray(bonded)[row, near], jnp.inf, distances)
            too_close = jnp.min(distances) < self.min_distance
            code = jnp.where((code == 0) & too_close, 3, code)
        return code
