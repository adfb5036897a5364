"""Proper dihedrals, a physics prior for molecules."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class ProperDihedrals(Potential):
    """``sum k (1 + cos(n phi - phi0))`` over fixed chains of four atoms of one molecule in open
    space.

    phi is 0 where the ends eclipse each other and positive clockwise down the middle bond (IUPAC).
    Several terms of one chain are several entries.  Where three atoms of a chain lie on a line,
    phi does not exist: the term then has phi = 0 and no force.

    Attributes:
        dihedrals: four atom indices a term, along the chain.
        multiplicity: n.
        phase: phi0 in radians.
        stiffness: k in eV.
    """

    dihedrals: tuple[tuple[int, int, int, int], ...] = ()
    multiplicity: tuple[int, ...] = ()
    phase: tuple[float, ...] = ()
    stiffness: tuple[float, ...] = ()

    @property
    def cutoff(self) -> float:
        """Dihedrals need no neighbours."""
        return 0.0

    def init(self, key: jax.Array, system: System) -> Params:
        """Nothing to learn."""
        del key, system
        return {}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each term to each of its middle atoms, eV."""
        del params, neighbors
        chains = np.asarray(self.dihedrals, int).reshape(-1, 4)
        dtype = system.positions.dtype
        phi = dihedral_angles(system.positions, chains)
        n, phase, k = (
            jnp.asarray(x, dtype) for x in (self.multiplicity, self.phase, self.stiffness)
        )
        half = 0.5 * k * (1 + jnp.cos(n * phi - phase))
        energies = jnp.zeros(len(system.positions), dtype)
        return energies.at[chains[:, 1]].add(half).at[chains[:, 2]].add(half)


def dihedral_angles(positions: jax.Array, chains: np.ndarray) -> jax.Array:
    """Angle of each chain of four in radians; 0 with zero derivative where it does not exist."""
    a, b, c, d = (positions[chains[:, m]] for m in (0, 1, 2, 3))
    one, two, three = b - a, c - b, d - c
    left, right = jnp.cross(one, two), jnp.cross(two, three)
    length2 = jnp.sum(two**2, axis=-1)
    # below 1e-6 of its largest value the sine is rounding, and its derivative noise
    sides = jnp.sum(one**2, axis=-1) * length2**2 * jnp.sum(three**2, axis=-1)
    area = jnp.sum(left**2, axis=-1) * jnp.sum(right**2, axis=-1)
    exists = area > 1e-12 * sides
    length = jnp.sqrt(jnp.where(exists, length2, 1.0))
    x = jnp.where(exists, jnp.sum(left * right, axis=-1), 1.0)
    y = jnp.where(exists, length * jnp.sum(one * right, axis=-1), 0.0)
    return jnp.arctan2(y, x)
