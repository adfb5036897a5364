"""How often intervals hold the truth, with error bars over training sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from bayespot.uncertainty import Estimate, coverage

LEVELS = (68, 95)


@dataclasses.dataclass(frozen=True)
class Interval:
    """What an estimate's interval is made of, to be stretched and widened.

    Attributes:
        mean: of the observable, a number or a curve.
        parameter: variance that the parameters give.
        md: variance that MD noise leaves in the mean.
        dof: degrees of freedom of Student's t.
    """

    mean: np.ndarray
    parameter: np.ndarray
    md: np.ndarray
    dof: float

    @classmethod
    def of(cls, made: Estimate) -> Interval:
        """The package's interval: the parameter part no smaller than MD noise can hide."""
        md = np.asarray(made.md_of_mean) ** 2
        return cls(made.mean, np.maximum(np.asarray(made.total) ** 2 - md, 0), md, made.draws - 1)

    @classmethod
    def of_noise(cls, value: np.ndarray, variance: np.ndarray, blocks: int) -> Interval:
        """One model's MD noise and nothing else, as error bars of simulations usually are."""
        value = np.asarray(value)
        return cls(value, np.zeros_like(value), np.asarray(variance), blocks - 1)

    def total(self, error: Any = 0.0, factor: float = 1.0) -> np.ndarray:
        """Standard deviation; arguments as for ``judged``."""
        return np.sqrt(factor**2 * self.parameter + self.md + np.asarray(error) ** 2)

    def reach(self, level: float) -> float:
        """Half the interval of so many percent, in standard deviations."""
        return float(stats.t.ppf(0.5 + level / 200, self.dof))

    def judged(
        self, truth: np.ndarray, error: np.ndarray, factor: float = 1.0
    ) -> dict[str, float] | None:
        """Whether it holds the truth; of curves, in which share of their bins.

        Args:
            truth: with the shape of ``mean``.
            error: its standard error, which widens the interval.
            factor: of the parameter part, from a recalibration.

        Returns:
            None where no bin of a curve is above the noise of the truth.
        """
        mean = np.asarray(self.mean, float)
        total = self.total(error, factor)
        ends = []
        for level in LEVELS:
            half = self.reach(level) * total
            ends += [np.asarray(mean - half), np.asarray(mean + half)]
        nothing = np.zeros_like(mean)
        made = Estimate(
            mean, np.asarray(total), nothing, nothing, nothing, *ends, draws=2, values=mean[None]
        )
        found = coverage(made, np.asarray(truth), np.asarray(error))
        if found is None:
            return None
        return {
            "68": found.inside68,
            "95": found.inside95,
            "width": found.relative_width95,
            "points": found.points,
        }


MISSED = {"68": 0.0, "95": 0.0, "width": float("nan"), "points": 0}
"""A set whose draws were not stable enough for an interval: it holds nothing."""


def expected(level: int, draws: int) -> float:
    """How often Student's interval of so many draws holds a truth that is one more of them.

    Their mean is off by a ``1/draws`` of the variance, which the interval does not know.
    """
    dof = draws - 1
    reach = stats.t.ppf(0.5 + level / 200, dof) / np.sqrt(1 + 1 / draws)
    return float(1 - 2 * stats.t.sf(reach, dof))


class Share(NamedTuple):
    """A share over training sets, with its 95 % interval."""

    mean: float
    low: float
    high: float

    def holds(self, nominal: float) -> bool:
        """Whether the nominal share is possible."""
        return self.low <= nominal <= self.high


def share(values: Sequence[float]) -> Share:
    """Mean of one number in [0, 1] for each training set, sets being independent.

    Bins of one set are not independent.  How far the mean varies over sets says of how many
    independent counts it is worth (the bootstrap over sets has the same variance), and Wilson's
    interval is taken for so many, never fewer than there are sets (Korn and Graubard 1998).
    """
    x = np.asarray(values, float)
    sets, p = len(x), float(np.mean(x))
    variance = float(np.var(x, ddof=1)) / sets if sets > 1 else 0.0
    count = max(sets, p * (1 - p) / variance) if variance > 0 else float(sets)
    z = stats.norm.ppf(0.975)
    centre = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    return Share(p, float(max(0.0, centre - half)), float(min(1.0, centre + half)))
