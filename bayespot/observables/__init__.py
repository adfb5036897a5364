"""Observables: what is averaged over a trajectory, and how averages become a value."""

from bayespot.observables.angles import ADF
from bayespot.observables.base import Context, Observable, blocks_to_value
from bayespot.observables.correlation import TimeCorrelation, VelocityCorrelation
from bayespot.observables.crystal import BulkModulus, Compressibility, Density, LatticeConstant
from bayespot.observables.custom import Custom
from bayespot.observables.densities import (
    BondAngleDistribution,
    BondDistribution,
    DihedralDistribution,
)
from bayespot.observables.elastic import Stiffness
from bayespot.observables.frame import Frame
from bayespot.observables.order import TetrahedralOrder, TetrahedralOrderDistribution
from bayespot.observables.pressure import Pressure, Stress
from bayespot.observables.rdf import RDF
from bayespot.observables.spectra import VDOS
from bayespot.observables.structure import DistanceDistribution
from bayespot.observables.surface import DihedralSurface, FreeEnergy
from bayespot.observables.thermodynamics import (
    HeatCapacity,
    IsobaricHeatCapacity,
    MeanEnergy,
    ThermalExpansion,
)
from bayespot.observables.transport import MSD, VACF, EinsteinDiffusion, GreenKuboDiffusion
from bayespot.observables.triplets import TCF

__all__ = [
    "ADF",
    "MSD",
    "RDF",
    "TCF",
    "VACF",
    "VDOS",
    "BondAngleDistribution",
    "BondDistribution",
    "BulkModulus",
    "Compressibility",
    "Context",
    "Custom",
    "Density",
    "DihedralDistribution",
    "DihedralSurface",
    "DistanceDistribution",
    "EinsteinDiffusion",
    "Frame",
    "FreeEnergy",
    "GreenKuboDiffusion",
    "HeatCapacity",
    "IsobaricHeatCapacity",
    "LatticeConstant",
    "MeanEnergy",
    "Observable",
    "Pressure",
    "Stiffness",
    "Stress",
    "TetrahedralOrder",
    "TetrahedralOrderDistribution",
    "ThermalExpansion",
    "TimeCorrelation",
    "VelocityCorrelation",
    "blocks_to_value",
]
