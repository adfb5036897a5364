"""Sections of the observables."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bayespot.config.base import Count, Name, Positive, Section


class DistanceObservable(Section):
    """h(r)."""

    kind: Literal["distances"]
    name: Name = "h_r"
    low: Annotated[float, Field(ge=0)] = 0.8
    high: Positive = 4.8
    bins: Count = 100

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> DistanceObservable:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class DihedralObservable(Section):
    """Dihedral density of four atoms."""

    kind: Literal["dihedral"]
    name: Name = "dihedral"
    atoms: tuple[int, int, int, int]
    bins: Count = 36


class EnergyObservable(Section):
    """Mean potential energy."""

    kind: Literal["mean_energy"]
    name: Name = "mean_energy"


class HeatCapacityObservable(Section):
    """Heat capacity from energy fluctuations."""

    kind: Literal["heat_capacity"]
    name: Name = "heat_capacity"


class RDFObservable(Section):
    """Radial distribution function of a periodic system, of all atoms or of two elements."""

    kind: Literal["rdf"]
    name: Name = "rdf"
    high: Positive = 6.0
    bins: Count = 120
    elements: tuple[str, str] | None = None


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


ObservableConfig = Annotated[
    DistanceObservable
    | DihedralObservable
    | EnergyObservable
    | HeatCapacityObservable
    | RDFObservable
    | DensityObservable
    | LatticeConstantObservable
    | BulkModulusObservable,
    Field(discriminator="kind"),
]
