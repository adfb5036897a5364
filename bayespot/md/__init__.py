"""Molecular dynamics of many draws and replicas as one program."""

from bayespot.md.engine import NVT, Length, Progress, Trajectories, simulate
from bayespot.md.stability import REASONS, Stability

__all__ = ["NVT", "REASONS", "Length", "Progress", "Stability", "Trajectories", "simulate"]
