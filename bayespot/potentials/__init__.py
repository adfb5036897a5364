"""Potentials: one file each, one contract, sums with ``+``."""

from bayespot.potentials.base import Potential, Sum, energy_and_forces, stress
from bayespot.potentials.harmonic import HarmonicBonds
from bayespot.potentials.lennard_jones import LennardJones
from bayespot.potentials.pair_mlp import PairMLP
from bayespot.potentials.schnet import SchNet

__all__ = [
    "HarmonicBonds",
    "LennardJones",
    "PairMLP",
    "Potential",
    "SchNet",
    "Sum",
    "energy_and_forces",
    "stress",
]
