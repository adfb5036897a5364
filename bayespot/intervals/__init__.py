"""Intervals of observables by several ways, whether they agree, and what a narrower one costs."""

from bayespot.intervals.agreement import Agreement, agreement
from bayespot.intervals.planning import Plan, plan
from bayespot.intervals.reweighted import Reweighted, reweighted
from bayespot.intervals.ways import Setting, Ways, compared, other_ways

__all__ = [
    "Agreement",
    "Plan",
    "Reweighted",
    "Setting",
    "Ways",
    "agreement",
    "compared",
    "other_ways",
    "plan",
    "reweighted",
]
