"""Molecular dynamics of many draws and replicas as one program."""

from bayespot.md.engine import Progress, Trajectories, simulate
from bayespot.md.ensembles import NPT, NVE, NVT, Ensemble, Length
from bayespot.md.minimize import Minimum, minimize
from bayespot.md.stability import REASONS, Stability

__all__ = [
    "NPT",
    "NVE",
    "NVT",
    "REASONS",
    "Ensemble",
    "Length",
    "Minimum",
    "Progress",
    "Stability",
    "Trajectories",
    "minimize",
    "simulate",
]
