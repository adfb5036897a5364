"""Potentials: one file each, one contract, sums with ``+``."""

from bayespot.potentials.base import Potential, Sum, energy_and_forces, stress
from bayespot.potentials.behler_parrinello import BehlerParrinello
from bayespot.potentials.committee import (
    Biased,
    CommitteeMean,
    Fallback,
    WeightedBaseline,
    WithMembers,
)
from bayespot.potentials.dihedrals import ProperDihedrals
from bayespot.potentials.dimenet import DimeNetPP
from bayespot.potentials.force_field import read_force_field
from bayespot.potentials.gemnet import GemNetT
from bayespot.potentials.harmonic import HarmonicAngles, HarmonicBonds
from bayespot.potentials.lennard_jones import LennardJones
from bayespot.potentials.linear import Linear
from bayespot.potentials.listed_pairs import ListedPairs
from bayespot.potentials.mace import MACE
from bayespot.potentials.nequip import NequIP
from bayespot.potentials.painn import PaiNN
from bayespot.potentials.pair_mlp import PairMLP
from bayespot.potentials.scaled import Scaled
from bayespot.potentials.schnet import SchNet
from bayespot.potentials.spline import CubicSpline
from bayespot.potentials.stillinger_weber import StillingerWeber
from bayespot.potentials.tabulated import Tabulated
from bayespot.potentials.ultra_fast import UltraFast
from bayespot.potentials.zbl import ZBL

__all__ = [
    "MACE",
    "ZBL",
    "BehlerParrinello",
    "Biased",
    "CommitteeMean",
    "CubicSpline",
    "DimeNetPP",
    "Fallback",
    "GemNetT",
    "HarmonicAngles",
    "HarmonicBonds",
    "LennardJones",
    "Linear",
    "ListedPairs",
    "NequIP",
    "PaiNN",
    "PairMLP",
    "Potential",
    "ProperDihedrals",
    "Scaled",
    "SchNet",
    "StillingerWeber",
    "Sum",
    "Tabulated",
    "UltraFast",
    "WeightedBaseline",
    "WithMembers",
    "energy_and_forces",
    "read_force_field",
    "stress",
]
