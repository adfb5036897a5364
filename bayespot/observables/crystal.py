"""What the volume of a periodic system says: density, lattice constant, stiffness against
pressure."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bayespot.observables.base import Context, Observable, namespace
from bayespot.observables.frame import Frame
from bayespot.units import BOLTZMANN, GPA

GRAM_PER_CM3 = 1.66053906660
"""1 u/Angstrom^3 in g/cm^3."""


@dataclasses.dataclass(frozen=True)
class Density(Observable):
    """Mean mass density, mass over mean volume."""

    @property
    def unit(self) -> str:
        """g/cm^3."""
        return "g/cm³"

    @property
    def title(self) -> str:
        """For figures."""
        return "density"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Volume, and the mass, which never changes."""
        mass = jnp.sum(jnp.where(frame.system.mask, frame.system.masses, 0.0))
        return {"volume": frame.volume, "mass": mass}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Mass over volume."""
        del context
        return GRAM_PER_CM3 * mean["mass"] / mean["volume"]


@dataclasses.dataclass(frozen=True)
class LatticeConstant(Observable):
    """``(<V>/cells)^(1/3)``, the edge of the conventional cell of a cubic crystal.

    Attributes:
        cells: conventional cells in the simulated one.
    """

    cells: int = 1

    @property
    def unit(self) -> str:
        """Angstrom."""
        return "Å"

    @property
    def title(self) -> str:
        """For figures."""
        return "lattice constant"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """The volume."""
        return {"volume": frame.volume}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Cube root of the mean volume of a cell."""
        del context
        return namespace(mean).cbrt(mean["volume"] / self.cells)


@dataclasses.dataclass(frozen=True)
class BulkModulus(Observable):
    """Isothermal bulk modulus from volume fluctuations at constant pressure,
    ``K = k_B T <V> / Var(V)``.

    Short runs give too high a value: by about 3/n for n independent volumes.

    Attributes:
        scale: Angstrom^3 near the mean volume, subtracted before squaring: float32 sums of
            squares would lose the variance.
    """

    scale: float = 0.0

    @property
    def unit(self) -> str:
        """GPa."""
        return "GPa"

    @property
    def title(self) -> str:
        """For figures."""
        return "bulk modulus"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """First two moments of the volume about ``scale``."""
        excess = frame.volume - self.scale
        return {"excess": excess, "excess_squared": excess**2}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """From mean and variance."""
        variance = mean["excess_squared"] - mean["excess"] ** 2
        compressible = namespace(mean).maximum(variance, 1e-30)
        whole = mean["excess"] + self.scale
        return BOLTZMANN * context.temperature * whole / compressible / GPA


@dataclasses.dataclass(frozen=True)
class Compressibility(Observable):
    """Isothermal compressibility from volume fluctuations at constant pressure,
    ``kappa = Var(V)/(k_B T <V>)``, the inverse of the bulk modulus.

    Attributes:
        scale: Angstrom^3 near the mean volume, subtracted before squaring as in ``BulkModulus``.
    """

    scale: float = 0.0

    @property
    def unit(self) -> str:
        """1/GPa."""
        return "1/GPa"

    @property
    def title(self) -> str:
        """For figures."""
        return "compressibility"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """First two moments of the volume about ``scale``."""
        excess = frame.volume - self.scale
        return {"excess": excess, "excess_squared": excess**2}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """From mean and variance."""
        variance = mean["excess_squared"] - mean["excess"] ** 2
        whole = mean["excess"] + self.scale
        return variance / (BOLTZMANN * context.temperature * whole) * GPA
