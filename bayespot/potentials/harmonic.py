"""Harmonic bonds, a physics prior for molecules."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors, safe_norm
from bayespot.potentials.base import Params, Potential
from bayespot.system import System
from bayespot.units import BOLTZMANN


@dataclasses.dataclass(frozen=True)
class HarmonicBonds(Potential):
    """``sum_b k_b/2 (d_b - d0_b)^2`` over fixed bonds of one molecule in open space.

    Attributes:
        bonds: pairs of atom indices.
        lengths: d0 in Angstrom.
        stiffness: k in eV/Angstrom^2.
    """

    bonds: tuple[tuple[int, int], ...] = ()
    lengths: tuple[float, ...] = ()
    stiffness: tuple[float, ...] = ()

    @classmethod
    def from_fluctuations(
        cls, bonds: tuple[tuple[int, int], ...], positions: np.ndarray, temperature: float
    ) -> HarmonicBonds:
        """``k = k_B T / Var[d]`` around the mean (methods.md section 5).

        Args:
            bonds: pairs of atom indices.
            positions: (frames, atoms, 3) at equilibrium, Angstrom.
            temperature: of those frames, K.
        """
        i, j = np.asarray(bonds).T
        distances = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)
        stiffness = BOLTZMANN * temperature / distances.var(axis=0, ddof=1)
        return cls(
            tuple((int(a), int(b)) for a, b in bonds),
            tuple(float(x) for x in distances.mean(axis=0)),
            tuple(float(x) for x in stiffness),
        )

    @property
    def cutoff(self) -> float:
        """Bonds need no neighbours."""
        return 0.0

    def init(self, key: jax.Array, system: System) -> Params:
        """Nothing to learn."""
        del key, system
        return {}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each bond to each end, eV."""
        del params, neighbors
        i, j = np.asarray(self.bonds).T
        distances = safe_norm(system.positions[j] - system.positions[i])
        dtype = system.positions.dtype
        stretch = distances - jnp.asarray(self.lengths, dtype)
        half = 0.25 * jnp.asarray(self.stiffness, dtype) * stretch**2
        return jnp.zeros(len(system.positions), dtype).at[i].add(half).at[j].add(half)
