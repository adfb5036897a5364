"""Observables: what is averaged over a trajectory, and how averages become a value."""

from bayespot.observables.base import Context, Observable, blocks_to_value
from bayespot.observables.structure import DihedralDistribution, DistanceDistribution
from bayespot.observables.thermodynamics import HeatCapacity, MeanEnergy

__all__ = [
    "Context",
    "DihedralDistribution",
    "DistanceDistribution",
    "HeatCapacity",
    "MeanEnergy",
    "Observable",
    "blocks_to_value",
]
