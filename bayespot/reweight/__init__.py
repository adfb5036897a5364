"""Averages at other parameters, temperatures and pressures from configurations that are there."""

from bayespot.reweight.cumulant import cumulant_average
from bayespot.reweight.energies import Samples, energies, snapshots, with_lists
from bayespot.reweight.free_energy import bar, zwanzig
from bayespot.reweight.weights import State, average, effective_size, kish_size, log_weights

__all__ = [
    "Samples",
    "State",
    "average",
    "bar",
    "cumulant_average",
    "effective_size",
    "energies",
    "kish_size",
    "log_weights",
    "snapshots",
    "with_lists",
    "zwanzig",
]
