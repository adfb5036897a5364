"""Densities of bond lengths, bond angles and torsions of chosen atoms."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables.base import Context, Observable
from bayespot.observables.bins import Bins
from bayespot.observables.frame import Frame
from bayespot.observables.geometry import bond_angles, bond_lengths, torsions
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class CoordinateDensity(Observable, abc.ABC):
    """Density of an internal coordinate, averaged over several groups of atoms.

    Values outside the range count in the normalisation only.
    """

    @property
    @abc.abstractmethod
    def grid(self) -> Bins:
        """Where it is tabulated."""

    @abc.abstractmethod
    def coordinate(self, system: System) -> jax.Array:
        """(groups,) values, in the unit of ``grid``."""

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins."""
        return self.grid.centers

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Fraction of the groups in each bin."""
        values = self.coordinate(frame.system)
        return {"counts": self.grid.counts(values) / values.shape[0]}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Fractions to a density."""
        del context
        return mean["counts"] / self.grid.width


@dataclasses.dataclass(frozen=True)
class BondDistribution(CoordinateDensity):
    """Density of bond lengths in 1/Angstrom.

    Attributes:
        atoms: pairs of atom indices.
        low, high: range, Angstrom.
        bins: number of bins.
        smooth: Gaussian bins.
    """

    atoms: tuple[tuple[int, int], ...] = ((0, 1),)
    low: float = 0.8
    high: float = 2.0
    bins: int = 120
    smooth: bool = False

    @property
    def unit(self) -> str:
        """1/Angstrom."""
        return "1/Å"

    @property
    def title(self) -> str:
        """For figures."""
        return "bond lengths"

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return "r / Å"

    @property
    def grid(self) -> Bins:
        """Angstrom."""
        return Bins(self.low, self.high, self.bins, self.smooth)

    def coordinate(self, system: System) -> jax.Array:
        """Lengths."""
        return bond_lengths(system, self.atoms)


@dataclasses.dataclass(frozen=True)
class BondAngleDistribution(CoordinateDensity):
    """Density of bond angles on [0, 180] degrees, in 1/degree.

    Attributes:
        atoms: triples of atom indices, the vertex in the middle.
        bins: number of bins.
        smooth: Gaussian bins.
    """

    atoms: tuple[tuple[int, int, int], ...] = ((0, 1, 2),)
    bins: int = 90
    smooth: bool = False

    @property
    def unit(self) -> str:
        """1/degree."""
        return "1/°"

    @property
    def title(self) -> str:
        """For figures."""
        return "bond angles"

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return "angle / °"

    @property
    def grid(self) -> Bins:
        """Degrees."""
        return Bins(0.0, 180.0, self.bins, self.smooth)

    def coordinate(self, system: System) -> jax.Array:
        """Angles; a straight one is in the last bin."""
        degrees = jnp.rad2deg(bond_angles(system, self.atoms))
        return degrees if self.smooth else jnp.minimum(degrees, 180.0 * (1 - 1e-6))


@dataclasses.dataclass(frozen=True)
class DihedralDistribution(CoordinateDensity):
    """Density of a torsion angle on (-180, 180] degrees, IUPAC sign, in 1/degree.

    Attributes:
        atoms: four atom indices a-b-c-d, or several such; 0 is cis (a and d eclipsed), 180 trans.
        bins: number of bins.
        smooth: Gaussian bins, periodic.
    """

    atoms: tuple[int, int, int, int] | tuple[tuple[int, int, int, int], ...] = (0, 1, 2, 3)
    bins: int = 36
    smooth: bool = False

    @property
    def unit(self) -> str:
        """1/degree."""
        return "1/°"

    @property
    def title(self) -> str:
        """For figures."""
        return "dihedral " + ", ".join("–".join(map(str, four)) for four in several(self.atoms))

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return "angle / °"

    @property
    def grid(self) -> Bins:
        """Degrees."""
        return Bins(-180.0, 180.0, self.bins, self.smooth, periodic=True)

    def coordinate(self, system: System) -> jax.Array:
        """Angles."""
        return jnp.rad2deg(torsions(system, several(self.atoms)))


def several(atoms: tuple[Any, ...]) -> tuple[tuple[int, ...], ...]:
    """One tuple of indices, or many, as many."""
    return atoms if isinstance(atoms[0], tuple) else (atoms,)
