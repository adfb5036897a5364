"""Harmonic bonds and angles, physics priors for molecules."""

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
        i, j = np.asarray(self.bonds, int).reshape(-1, 2).T
        distances = safe_norm(system.positions[j] - system.positions[i])
        dtype = system.positions.dtype
        stretch = distances - jnp.asarray(self.lengths, dtype)
        half = 0.25 * jnp.asarray(self.stiffness, dtype) * stretch**2
        return jnp.zeros(len(system.positions), dtype).at[i].add(half).at[j].add(half)


@dataclasses.dataclass(frozen=True)
class HarmonicAngles(Potential):
    """``sum_a k_a/2 (theta_a - theta0_a)^2`` over fixed angles of one molecule in open space.

    Attributes:
        angles: triples of atom indices, the middle one at the corner.
        sizes: theta0 in radians.
        stiffness: k in eV/radian^2.
    """

    angles: tuple[tuple[int, int, int], ...] = ()
    sizes: tuple[float, ...] = ()
    stiffness: tuple[float, ...] = ()

    @classmethod
    def from_fluctuations(
        cls, angles: tuple[tuple[int, int, int], ...], positions: np.ndarray, temperature: float
    ) -> HarmonicAngles:
        """``k = k_B T / Var[theta]`` around the mean (methods.md section 5).

        Args:
            angles: triples of atom indices, the middle one at the corner.
            positions: (frames, atoms, 3) at equilibrium, Angstrom.
            temperature: of those frames, K.
        """
        i, j, k = np.asarray(angles).T
        one, two = positions[:, i] - positions[:, j], positions[:, k] - positions[:, j]
        cross = np.linalg.norm(np.cross(one, two), axis=-1)
        sizes = np.arctan2(cross, np.sum(one * two, axis=-1))
        stiffness = BOLTZMANN * temperature / sizes.var(axis=0, ddof=1)
        return cls(
            tuple((int(a), int(b), int(c)) for a, b, c in angles),
            tuple(float(x) for x in sizes.mean(axis=0)),
            tuple(float(x) for x in stiffness),
        )

    @property
    def cutoff(self) -> float:
        """Angles need no neighbours."""
        return 0.0

    def init(self, key: jax.Array, system: System) -> Params:
        """Nothing to learn."""
        del key, system
        return {}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Each angle to its corner, eV."""
        del params, neighbors
        i, j, k = np.asarray(self.angles, int).reshape(-1, 3).T
        at = system.positions
        one, two = at[i] - at[j], at[k] - at[j]
        sine, cosine = safe_norm(jnp.cross(one, two)), jnp.sum(one * two, axis=-1)
        # straight angles: safe_norm has no slope there; coinciding atoms make no angle at all
        exists = (sine > 0) | (cosine != 0)
        theta = jnp.arctan2(jnp.where(exists, sine, 1.0), jnp.where(exists, cosine, 0.0))
        bend = theta - jnp.asarray(self.sizes, at.dtype)
        energies = 0.5 * jnp.asarray(self.stiffness, at.dtype) * bend**2
        return jnp.zeros(len(at), at.dtype).at[j].add(energies)
