"""Lennard-Jones between listed pairs of atoms, a physics prior for molecules."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors, safe_norm
from bayespot.potentials.base import Params, Potential
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class ListedPairs(Potential):
    """``4 eps ((s/d)^12 - (s/d)^6)`` or ``eps (s/d)^12`` over fixed pairs of one molecule in open
    space, without a cut-off: what a force field leaves of a molecule's pairs, its neighbours along
    bonds excluded.

    Below a fifth of sigma the energy stays at its value there.

    Attributes:
        pairs: of atom indices.
        sigma: of each pair, Angstrom.
        epsilon: of each pair, eV.
        repulsion_only: the repulsive prior of methods.md section 5.
    """

    pairs: tuple[tuple[int, int], ...] = ()
    sigma: tuple[float, ...] = ()
    epsilon: tuple[float, ...] = ()
    repulsion_only: bool = False

    @property
    def cutoff(self) -> float:
        """Listed pairs need no neighbours."""
        return 0.0

    def init(self, key: jax.Array, system: System) -> Params:
        """Nothing to learn."""
        del key, system
        return {}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each pair to each atom, eV."""
        del params, neighbors
        i, j = np.asarray(self.pairs, int).reshape(-1, 2).T
        dtype = system.positions.dtype
        sigma, epsilon = (jnp.asarray(x, dtype) for x in (self.sigma, self.epsilon))
        distances = safe_norm(system.positions[j] - system.positions[i])
        sixth = (sigma / jnp.maximum(distances, 0.2 * sigma)) ** 6
        curve = sixth**2 if self.repulsion_only else 4 * (sixth**2 - sixth)
        half = 0.5 * epsilon * curve
        return jnp.zeros(len(system.positions), dtype).at[i].add(half).at[j].add(half)
