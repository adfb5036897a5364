"""Densities over two torsions, and free energies from densities."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables.base import Context, Observable, namespace
from bayespot.observables.bins import Bins, counts_in_plane
from bayespot.observables.densities import CoordinateDensity, several
from bayespot.observables.frame import Frame
from bayespot.observables.geometry import torsions
from bayespot.units import BOLTZMANN

Four = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class DihedralSurface(Observable):
    """Density of two torsions, (bins, bins) over [-180, 180)^2 degrees, in 1/degree^2; the
    Ramachandran diagram where they are phi and psi.

    Attributes:
        first: atom indices a-b-c-d of the torsion along the first axis, or several such.
        second: the same along the second, as many.
        bins: number of bins along each axis.
        smooth: Gaussian bins, periodic.
    """

    first: Four | tuple[Four, ...] = (0, 1, 2, 3)
    second: Four | tuple[Four, ...] = (1, 2, 3, 4)
    bins: int = 60
    smooth: bool = False

    @property
    def unit(self) -> str:
        """1/degree^2."""
        return "1/°²"

    @property
    def grid(self) -> Bins:
        """Degrees, of both axes."""
        return Bins(-180.0, 180.0, self.bins, self.smooth, periodic=True)

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins of either axis, degrees."""
        return self.grid.centers

    @property
    def shape(self) -> tuple[int, ...]:
        """(bins, bins)."""
        return (self.bins, self.bins)

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return "angle / °"

    @property
    def title(self) -> str:
        """For figures."""
        return "density of two dihedrals"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Fraction of the pairs of torsions in each bin."""
        x = jnp.rad2deg(torsions(frame.system, several(self.first)))
        y = jnp.rad2deg(torsions(frame.system, several(self.second)))
        return {"counts": counts_in_plane(self.grid, self.grid, x, y) / x.shape[0]}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Fractions to a density."""
        del context
        return mean["counts"] / self.grid.width**2


@dataclasses.dataclass(frozen=True)
class FreeEnergy(Observable):
    """``-k_B T ln p`` of a density p, in eV, 0 at its lowest; NaN in bins never visited.

    Nothing is taken off for the volume that belongs to a value of the coordinate, so that of a
    bond length holds ``-2 k_B T ln r``.

    Attributes:
        density: along one coordinate, or of two torsions.
    """

    density: CoordinateDensity | DihedralSurface

    @property
    def unit(self) -> str:
        """eV."""
        return "eV"

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins of the density."""
        return self.density.axis

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the density."""
        return self.density.shape

    @property
    def axis_label(self) -> str:
        """That of the density."""
        return self.density.axis_label

    @property
    def title(self) -> str:
        """For figures."""
        return "free energy, " + self.density.title

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """That of the density."""
        return self.density.snapshot(frame)

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """From the density."""
        math = namespace(mean)
        p = self.density.reduce(mean, context)
        seen = p > 0
        energy = -BOLTZMANN * context.temperature * math.log(math.where(seen, p, 1.0))
        over = (-2, -1) if isinstance(self.density, DihedralSurface) else (-1,)
        lowest = math.min(math.where(seen, energy, math.inf), axis=over, keepdims=True)
        return math.where(seen, energy - lowest, math.nan)
