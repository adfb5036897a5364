"""Structure of molecules: distance distribution h(r) and dihedral densities."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables.base import Context, Observable, histogram
from bayespot.observables.frame import Frame


@dataclasses.dataclass(frozen=True)
class DistanceDistribution(Observable):
    """``h(r) = 1/(N(N-1)) sum_{i != j} delta(r - r_ij)``, a density over all pairs of an open
    system (methods.md section 4), in 1/Angstrom.

    Attributes:
        low, high: range in Angstrom; pairs outside count in the normalisation only.
        bins: number of bins.
    """

    low: float = 0.8
    high: float = 4.8
    bins: int = 100

    @property
    def unit(self) -> str:
        """1/Angstrom."""
        return "1/Å"

    @property
    def title(self) -> str:
        """For figures."""
        return "interatomic distances h(r)"

    @property
    def axis(self) -> np.ndarray:
        """Bin centres, Angstrom."""
        edges = np.linspace(self.low, self.high, self.bins + 1)
        return (edges[1:] + edges[:-1]) / 2

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return "r / Å"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Counts over unordered pairs."""
        system = frame.system
        i, j = np.triu_indices(system.positions.shape[0], 1)
        distances = jnp.linalg.norm(system.positions[i] - system.positions[j], axis=-1)
        distances = jnp.where(system.mask[i] & system.mask[j], distances, jnp.inf)
        return {"counts": histogram(distances, self.low, self.high, self.bins)}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Counts per frame to a density."""
        pairs = context.num_atoms * (context.num_atoms - 1) / 2
        return mean["counts"] / pairs / ((self.high - self.low) / self.bins)


@dataclasses.dataclass(frozen=True)
class DihedralDistribution(Observable):
    """Density of a torsion angle on (-180, 180] degrees, IUPAC sign, in 1/degree.

    Attributes:
        atoms: four atom indices a-b-c-d; 0 is cis (a and d eclipsed), 180 trans.
        bins: number of bins.
    """

    atoms: tuple[int, int, int, int] = (0, 1, 2, 3)
    bins: int = 36

    @property
    def unit(self) -> str:
        """1/degree."""
        return "1/°"

    @property
    def title(self) -> str:
        """For figures."""
        return "dihedral " + "–".join(map(str, self.atoms))

    @property
    def axis(self) -> np.ndarray:
        """Bin centres, degrees."""
        edges = np.linspace(-180.0, 180.0, self.bins + 1)
        return (edges[1:] + edges[:-1]) / 2

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return "angle / °"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Which bin the angle is in."""
        angle = dihedral(*(frame.system.positions[i] for i in self.atoms))
        degrees = jnp.minimum(jnp.rad2deg(angle), 180.0 * (1 - 1e-6))  # +180 is in the last bin
        return {"counts": histogram(degrees[None], -180.0, 180.0, self.bins)}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Fraction per bin to a density."""
        del context
        return mean["counts"] * (self.bins / 360.0)


def dihedral(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
    """Torsion angle of a-b-c-d in rad, IUPAC sign, in (-pi, pi]."""
    b1, b2, b3 = b - a, c - b, d - c
    n1, n2 = jnp.cross(b1, b2), jnp.cross(b2, b3)
    y = jnp.dot(jnp.cross(n1, n2), b2) / jnp.linalg.norm(b2)
    return jnp.arctan2(y, jnp.dot(n1, n2))
