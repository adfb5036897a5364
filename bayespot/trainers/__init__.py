"""Trainers of point estimates: one contract, alone, as an ensemble, or taking turns."""

from bayespot.trainers.base import Fit, Record, Stop, Trainer, fit, patience
from bayespot.trainers.difftre import DiffTRe
from bayespot.trainers.force_matching import ForceMatching
from bayespot.trainers.interleave import Interleaved, give_up
from bayespot.trainers.label_errors import Weights
from bayespot.trainers.neighborhoods import Neighborhoods, PerNeighborhood
from bayespot.trainers.points import Point
from bayespot.trainers.pressure_matching import (
    coarse_virials,
    corrected_virials,
    with_virials,
)
from bayespot.trainers.reference import Reference, Resampler
from bayespot.trainers.relative_entropy import RelativeEntropy
from bayespot.trainers.stable import Phase, StABlE
from bayespot.trainers.targets import Target

__all__ = [
    "DiffTRe",
    "Fit",
    "ForceMatching",
    "Interleaved",
    "Neighborhoods",
    "PerNeighborhood",
    "Phase",
    "Point",
    "Record",
    "Reference",
    "RelativeEntropy",
    "Resampler",
    "StABlE",
    "Stop",
    "Target",
    "Trainer",
    "Weights",
    "coarse_virials",
    "corrected_virials",
    "fit",
    "give_up",
    "patience",
    "with_virials",
]
