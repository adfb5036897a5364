"""Observables: what is averaged over a trajectory, and how averages become a value."""

from bayespot.observables.base import Context, Observable, blocks_to_value
from bayespot.observables.crystal import BulkModulus, Density, LatticeConstant
from bayespot.observables.frame import Frame
from bayespot.observables.rdf import RDF
from bayespot.observables.structure import DihedralDistribution, DistanceDistribution
from bayespot.observables.thermodynamics import HeatCapacity, MeanEnergy

__all__ = [
    "RDF",
    "BulkModulus",
    "Context",
    "Density",
    "DihedralDistribution",
    "DistanceDistribution",
    "Frame",
    "HeatCapacity",
    "LatticeConstant",
    "MeanEnergy",
    "Observable",
    "blocks_to_value",
]
