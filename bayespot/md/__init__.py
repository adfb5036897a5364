"""Molecular dynamics of many draws and replicas as one program."""

from bayespot.md.engine import simulate
from bayespot.md.ensembles import NPT, NVE, NVT, Ensemble, Length
from bayespot.md.minimize import Minimum, minimize
from bayespot.md.monitor import Monitor, Watched, watched
from bayespot.md.results import Frames, Progress, Trajectories
from bayespot.md.session import Session
from bayespot.md.simulation import Simulation
from bayespot.md.stability import REASONS, RDFDeviation, Stability

__all__ = [
    "NPT",
    "NVE",
    "NVT",
    "REASONS",
    "Ensemble",
    "Frames",
    "Length",
    "Minimum",
    "Monitor",
    "Progress",
    "RDFDeviation",
    "Session",
    "Simulation",
    "Stability",
    "Trajectories",
    "Watched",
    "minimize",
    "simulate",
    "watched",
]
