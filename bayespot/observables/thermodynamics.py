"""Mean potential energy and heat capacity from fluctuations."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from bayespot.observables.base import Context, Observable
from bayespot.observables.frame import Frame
from bayespot.units import BOLTZMANN


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
