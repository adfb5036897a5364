"""Resampling of whole frames: the numbers of one frame are correlated, frames are not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from scipy import sparse, stats

FEWEST = 5
"""Frames below which no interval is given."""

REPLICATES = 500
"""Of everything that is a function of sums over frames."""

ENTRIES = 6_000_000
"""Replicates times numbers of what needs sorted numbers."""


@dataclasses.dataclass(frozen=True)
class Resampling:
    """How often each frame occurs in each replicate (Efron; Davison & Hinkley 1997, section 3.8).

    Attributes:
        frame: (n,) place of each number's frame, 0 to C-1.
        weights: (replicates, C) counts.
    """

    frame: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, cluster: np.ndarray, seed: int) -> Resampling:
        """Whole clusters drawn with replacement; the same seed gives the same replicates."""
        frame = np.unique(cluster, return_inverse=True)[1]
        count = int(frame.max()) + 1
        rng = np.random.default_rng(seed)
        replicates = REPLICATES if count <= 20_000 else REPLICATES // 5
        weights = np.empty((replicates, count), np.uint16)
        for row in weights:
            row[:] = np.bincount(rng.integers(count, size=count), minlength=count)
        return cls(frame, weights)

    @property
    def frames(self) -> int:
        """C."""
        return self.weights.shape[1]

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        return np.bincount(self.frame, minlength=self.frames).astype(float)

    def means(self, columns: np.ndarray) -> np.ndarray:
        """(replicates, J) means over the resampled numbers of (n, J) columns."""
        totals = np.column_stack([self.sums(columns), self._sizes])
        made = self.over_frames(totals)
        return made[:, :-1] / made[:, -1:]

    def ratios(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """(replicates, J) ratios of sums of two sets of (n, J) columns; NaN for 0/0."""
        both = self.over_frames(self.sums(np.hstack([first, second])))
        with np.errstate(invalid="ignore", divide="ignore"):
            return both[:, : first.shape[1]] / both[:, first.shape[1] :]

    def sums(self, columns: np.ndarray) -> np.ndarray:
        """(C, J) sums over each frame."""
        n = len(self.frame)
        gather = sparse.csr_array((np.ones(n), (self.frame, np.arange(n))), shape=(self.frames, n))
        return np.asarray(gather @ columns)

    def parts(self) -> Iterator[Resampling]:
        """Some of the replicates, a few at a time, for what sorts numbers; then memory does not
        grow with them, and there are fewer for more numbers."""
        n = len(self.frame)
        few = min(len(self.weights), int(np.clip(ENTRIES // n, 50, 200)))
        rows = max(1, 1_000_000 // n)
        for i in range(0, few, rows):
            yield Resampling(self.frame, self.weights[i : min(i + rows, few)])

    def of_numbers(self, order: np.ndarray) -> np.ndarray:
        """(replicates, n) weight of each number, in that order."""
        return self.weights[:, self.frame[order]].astype(np.float32)

    def over_frames(self, totals: np.ndarray) -> np.ndarray:
        """(replicates, J) sums over the resampled frames of (C, J) totals."""
        rows = max(1, 4_000_000 // self.frames)
        parts = [
            self.weights[i : i + rows].astype(float) @ totals
            for i in range(0, len(self.weights), rows)
        ]
        return np.concatenate(parts)

    def interval(self, replicates: np.ndarray) -> tuple[float, float]:
        """95 % percentile interval, expanded for few frames (Hesterberg 2015, section 4.4).

        NaN where there are fewer than ``FEWEST`` frames.
        """
        values = replicates[np.isfinite(replicates)]
        if self.frames < FEWEST or len(values) < len(replicates) / 2:
            return float("nan"), float("nan")
        tail = tail_of(self.frames)
        low, high = np.quantile(values, (tail, 1 - tail))
        return float(low), float(high)


def tail_of(frames: int) -> float:
    """Level of the lower percentile: that of a t interval, which percentiles are too narrow for."""
    wide = np.sqrt(frames / (frames - 1)) * stats.t.ppf(0.025, frames - 1)
    return float(stats.norm.cdf(wide))
