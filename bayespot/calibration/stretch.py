"""By how much standard deviations would have to be multiplied, with its interval."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

from bayespot.calibration.bootstrap import FEWEST, Resampling
from bayespot.calibration.predictive import LARGE, Predictive, VectorPredictive

NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Stretch:
    """The factor that makes the mean squared z-score 1.

    Attributes:
        value: the factor; NaN where all errors are 0.
        low, high: 95 % bootstrap interval over frames, and no narrower than what as many
            independent Gaussian errors leave, which a few squares do not show of themselves; NaN
            for too few frames.
        spread: standard error of its logarithm, likewise.
        frames, count: it rests on.
    """

    value: float
    low: float
    high: float
    spread: float
    frames: int
    count: int

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def lower(self, comparisons: int) -> float:
        """Lower end that holds for ``comparisons`` factors together (Bonferroni, t interval)."""
        if not self.known:
            return 0.0
        t = stats.t.ppf(1 - 0.025 / comparisons, self.frames - 1)
        return float(np.exp(np.log(self.value) - t * self.spread))


class Ladder:
    """Squared z-scores of all numbers for several factors: any subset's factor follows.

    Args:
        made: the predictive distribution.
    """

    def __init__(self, made: Predictive | VectorPredictive) -> None:
        self.start = _root(made)
        self.degrees = 3 if isinstance(made, VectorPredictive) else 1  # of each square
        gaussian = bool(np.all(made.dof >= LARGE))
        steps = np.array([0.0, 1.0]) if gaussian else np.linspace(-1.6, 1.6, 9)
        self.steps = steps + np.log(self.start if self.start > 0 else 1.0)
        # of Gaussians the logarithm of the mean is a straight line
        self.columns = np.column_stack([made.squares(float(np.exp(x))) for x in self.steps])

    def stretch(self, resampling: Resampling, use: np.ndarray | None = None) -> Stretch:
        """Of the numbers ``use`` (mask), whose own frames ``resampling`` draws; None for all."""
        columns = self.columns if use is None else self.columns[use]
        value = float(self._solve(columns.mean(axis=0)[None])[0])
        count, frames = len(columns), resampling.frames
        if not value > 0:
            return Stretch(NAN, NAN, NAN, NAN, frames, count)
        if frames < FEWEST:
            return Stretch(value, NAN, NAN, NAN, frames, count)
        replicates = self._solve(resampling.means(columns))
        low, high = resampling.interval(replicates)
        usable = replicates[replicates > 0]
        spread = np.std(np.log(usable), ddof=1) * np.sqrt(frames / (frames - 1))
        # sums of squares of a right committee follow chi-square
        degrees = count * self.degrees
        least, most = np.sqrt(degrees / stats.chi2.ppf((0.975, 0.025), degrees))
        return Stretch(
            value, min(low, value * least), max(high, value * most),
            max(float(spread), (2 * degrees) ** -0.5), frames, count,
        )  # fmt: skip

    def _solve(self, means: np.ndarray) -> np.ndarray:
        """Factors where the (replicates, steps) means are 1, straight lines in logarithms."""
        with np.errstate(divide="ignore", invalid="ignore"):
            height = np.log(means)
            segment = np.clip(np.sum(height > 0, axis=1), 1, means.shape[1] - 1)
            row = np.arange(len(means))
            first, second = height[row, segment - 1], height[row, segment]
            x = self.steps[segment - 1]
            width = self.steps[segment] - x
            made = np.exp(x + first / (first - second) * width)
        return np.where(means[:, 0] > 0, made, 0.0)


def _root(made: Predictive | VectorPredictive) -> float:
    """Factor of all numbers; in logarithms the step is a contraction, for the mean falls no faster
    than the inverse square of the factor."""
    factor = 1.0
    for _ in range(60):
        mean = float(np.mean(made.squares(factor)))
        if not mean > 0:
            return 0.0
        factor *= np.sqrt(mean)
        if abs(mean - 1) < 1e-6:
            break
    return float(factor)


def taken(made: Predictive | VectorPredictive, use: np.ndarray) -> Predictive | VectorPredictive:
    """Those numbers only."""
    fields = {f.name: getattr(made, f.name)[use] for f in dataclasses.fields(made)}
    return dataclasses.replace(made, **fields)
