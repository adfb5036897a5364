"""Intervals of observables by several ways, whether they agree, and what a narrower one costs."""

from bayespot.intervals.agreement import Agreement, agreement
from bayespot.intervals.planning import Plan, plan
from bayespot.intervals.reweighted import Reweighted, reweighted

__all__ = ["Agreement", "Plan", "Reweighted", "agreement", "plan", "reweighted"]
