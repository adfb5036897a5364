"""Sections of the observables, and the choice among all.

Each has the defaults of its class in ``bayespot.observables``, whose docstring explains its
options.  Elements are chemical symbols, atoms count from 0; the rest comes from the simulation.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bayespot.config.base import Count, Finite, Name, Positive, Section
from bayespot.config.structure import (
    ADFObservable,
    BondAngleObservable,
    BondLengthObservable,
    DihedralObservable,
    DihedralSurfaceObservable,
    DistanceObservable,
    FreeEnergyObservable,
    NotNegative,
    RDFObservable,
    TCFObservable,
    TetrahedralOrderDistributionObservable,
    TetrahedralOrderObservable,
)


class EnergyObservable(Section):
    """Mean potential energy."""

    kind: Literal["mean_energy"]
    name: Name = "mean_energy"


class HeatCapacityObservable(Section):
    """At constant volume, from energy fluctuations."""

    kind: Literal["heat_capacity"]
    name: Name = "heat_capacity"


class IsobaricHeatCapacityObservable(Section):
    """At constant pressure, from enthalpy fluctuations."""

    kind: Literal["isobaric_heat_capacity"]
    name: Name = "isobaric_heat_capacity"


class ThermalExpansionObservable(Section):
    """Of the volume, from fluctuations at constant pressure."""

    kind: Literal["thermal_expansion"]
    name: Name = "thermal_expansion"


class DensityObservable(Section):
    """Mass density."""

    kind: Literal["density"]
    name: Name = "density"


class LatticeConstantObservable(Section):
    """Edge of the conventional cell of a cubic crystal."""

    kind: Literal["lattice_constant"]
    name: Name = "lattice_constant"
    atoms_per_cell: Count


class BulkModulusObservable(Section):
    """From volume fluctuations at constant pressure."""

    kind: Literal["bulk_modulus"]
    name: Name = "bulk_modulus"


class CompressibilityObservable(Section):
    """From volume fluctuations at constant pressure."""

    kind: Literal["compressibility"]
    name: Name = "compressibility"


class PressureObservable(Section):
    """Mean pressure."""

    kind: Literal["pressure"]
    name: Name = "pressure"


class StressObservable(Section):
    """Mean stress, six components."""

    kind: Literal["stress"]
    name: Name = "stress"


class StiffnessObservable(Section):
    """Elastic constants or moduli from stress fluctuations at constant volume."""

    kind: Literal["stiffness"]
    name: Name = "stiffness"
    symmetry: Literal["triclinic", "cubic", "hexagonal"] = "cubic"
    quantity: Literal["constants", "bulk", "shear", "young", "poisson"] = "constants"
    average: Literal["voigt", "reuss", "hill", "axial"] = "hill"
    convention: Literal["free_energy", "stress_strain"] = "free_energy"
    reference: tuple[Finite, Finite, Finite, Finite, Finite, Finite] = (
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    )


class InTime(Section):
    """``lags`` frames, from a moment back to the earliest; of all atoms or of one element."""

    lags: Annotated[int, Field(ge=2)]
    element: str | None = None
    remove_drift: bool = True


class VACFObservable(InTime):
    """Velocity autocorrelation."""

    kind: Literal["vacf"]
    name: Name = "vacf"
    normalised: bool = False


class VDOSObservable(InTime):
    """Vibrational density of states."""

    kind: Literal["vdos"]
    name: Name = "vdos"
    taper: Literal["hann", "none"] = "hann"
    wavenumbers: bool = False


class MSDObservable(InTime):
    """Mean squared displacement."""

    kind: Literal["msd"]
    name: Name = "msd"


class EinsteinDiffusionObservable(InTime):
    """Self-diffusion from the slope of the mean squared displacement."""

    kind: Literal["einstein_diffusion"]
    name: Name = "einstein_diffusion"
    fit: tuple[NotNegative, Positive] = (0.5, 1.0)


class GreenKuboDiffusionObservable(InTime):
    """Self-diffusion from the integral of the velocity autocorrelation."""

    kind: Literal["green_kubo_diffusion"]
    name: Name = "green_kubo_diffusion"
    running: bool = False


ObservableConfig = Annotated[
    DistanceObservable
    | BondLengthObservable
    | BondAngleObservable
    | DihedralObservable
    | DihedralSurfaceObservable
    | FreeEnergyObservable
    | RDFObservable
    | ADFObservable
    | TCFObservable
    | TetrahedralOrderObservable
    | TetrahedralOrderDistributionObservable
    | EnergyObservable
    | HeatCapacityObservable
    | IsobaricHeatCapacityObservable
    | ThermalExpansionObservable
    | DensityObservable
    | LatticeConstantObservable
    | BulkModulusObservable
    | CompressibilityObservable
    | PressureObservable
    | StressObservable
    | StiffnessObservable
    | VACFObservable
    | VDOSObservable
    | MSDObservable
    | EinsteinDiffusionObservable
    | GreenKuboDiffusionObservable,
    Field(discriminator="kind"),
]
