"""Mean energy, and what fluctuations of energy and enthalpy say: heat capacities, expansion."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from bayespot.observables.base import Context, Observable
from bayespot.observables.frame import Frame
from bayespot.units import BOLTZMANN, GPA


@dataclasses.dataclass(frozen=True)
class MeanEnergy(Observable):
    """Mean potential energy ``<U>`` in eV, the per-species shift included."""

    @property
    def unit(self) -> str:
        """eV."""
        return "eV"

    @property
    def title(self) -> str:
        """For figures."""
        return "mean potential energy"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """The energy."""
        return {"energy": frame.energy}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Put the shift back."""
        return mean["energy"] + context.energy_shift


@dataclasses.dataclass(frozen=True)
class HeatCapacity(Observable):
    """``C_V = Var(U)/(k_B T^2) + 3/2 N k_B`` of the classical canonical ensemble, in units of k_B.

    The kinetic half is exact for unconstrained atoms, so only the configurational half is
    sampled.

    Attributes:
        reference: eV near the mean energy, subtracted before squaring: float32 sums of squares of
            hundreds of eV would lose the variance.  Zero suits energies without the per-species
            shift.
    """

    reference: float = 0.0

    @property
    def unit(self) -> str:
        """k_B per system."""
        return "k_B"

    @property
    def title(self) -> str:
        """For figures."""
        return "heat capacity C_V"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """First two moments of the energy about ``reference``."""
        excess = frame.energy - self.reference
        return {"energy": excess, "energy_squared": excess**2}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Variance over (k_B T)^2 plus the kinetic part."""
        variance = mean["energy_squared"] - mean["energy"] ** 2
        return variance / (BOLTZMANN * context.temperature) ** 2 + 1.5 * context.num_atoms


@dataclasses.dataclass(frozen=True)
class _Isobaric(Observable):
    """Observables of the fluctuations of ``U + P V`` and ``V`` at constant pressure.

    Momenta fluctuate independently of the configuration, so that they need no samples.

    Attributes:
        pressure: GPa, of the ensemble.
        reference: eV near the mean potential energy, subtracted before squaring: float32 sums of
            squares of hundreds of eV would lose the variance.
        volume: Angstrom^3 near the mean volume, subtracted likewise.
    """

    pressure: float = 0.0
    reference: float = 0.0
    volume: float = 0.0

    def excess(self, frame: Frame) -> tuple[jax.Array, jax.Array]:
        """Volume and configurational enthalpy about what they are near, Angstrom^3 and eV."""
        larger = frame.volume - self.volume
        return larger, frame.energy - self.reference + self.pressure * GPA * larger


@dataclasses.dataclass(frozen=True)
class IsobaricHeatCapacity(_Isobaric):
    """``C_P = Var(U + P V)/(k_B T^2) + 3/2 N k_B`` at constant pressure, in units of k_B."""

    @property
    def unit(self) -> str:
        """k_B per system."""
        return "k_B"

    @property
    def title(self) -> str:
        """For figures."""
        return "heat capacity C_P"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """First two moments of the enthalpy about its reference."""
        _, enthalpy = self.excess(frame)
        return {"enthalpy": enthalpy, "enthalpy_squared": enthalpy**2}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Variance over (k_B T)^2 plus the kinetic part."""
        variance = mean["enthalpy_squared"] - mean["enthalpy"] ** 2
        return variance / (BOLTZMANN * context.temperature) ** 2 + 1.5 * context.num_atoms


@dataclasses.dataclass(frozen=True)
class ThermalExpansion(_Isobaric):
    """``alpha = (dV/dT)/V = Cov(V, U + P V)/(k_B T^2 <V>)``, of the volume.

    Edges of a cubic crystal grow by a third of it.
    """

    @property
    def unit(self) -> str:
        """1/K."""
        return "1/K"

    @property
    def title(self) -> str:
        """For figures."""
        return "thermal expansion"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Volume and enthalpy about their references, and their product."""
        larger, enthalpy = self.excess(frame)
        return {"excess": larger, "enthalpy": enthalpy, "product": larger * enthalpy}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Covariance over k_B T^2 and the mean volume."""
        covariance = mean["product"] - mean["excess"] * mean["enthalpy"]
        whole = mean["excess"] + self.volume
        return covariance / (BOLTZMANN * context.temperature**2 * whole)
