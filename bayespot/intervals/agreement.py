"""Whether two ways to the same intervals agree, as far as their sampling errors let one tell."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

from bayespot.uncertainty import Estimate


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of two estimates of one observable over the same draws.

    Attributes:
        z: difference of the means over its sampling error; of curves the root mean square over
            bins.
        width: ratio of the second total width to the first; of curves the median over bins.
        correlation: of the draws' values; of curves over draws and bins about each bin's mean.
        agree: means within 2.6 (root mean square 1.6) errors, and widths within what as many
            draws let one tell.
        sentence: in words.
    """

    z: float
    width: float
    correlation: float
    agree: bool
    sentence: str


def agreement(first: Estimate, second: Estimate, names: tuple[str, str]) -> Agreement:
    """Compare; the draws of both must be the same and in the same order.

    Args:
        first, second: estimates of one observable.
        names: of the two ways.

    Raises:
        ValueError: other numbers of draws.
    """
    if first.values.shape != second.values.shape:
        raise ValueError(f"{first.values.shape} and {second.values.shape} are not the same draws")
    error = np.sqrt(first.md_of_mean**2 + second.md_of_mean**2)
    known = np.isfinite(error) & (error > 0) & (first.total > 0)
    if not known.any():
        return Agreement(0.0, 1.0, 1.0, True, f"{names[0]} and {names[1]} both give a constant")
    gaps = np.where(known, first.mean - second.mean, 0.0)[known] / error[known]
    z = float(np.sqrt(np.mean(gaps**2)))
    width = float(np.median(second.total[known] / first.total[known]))
    away = [e.values[:, known] if e.values.ndim > 1 else e.values[:, None] for e in (first, second)]
    away = [(x - x.mean(axis=0)) / (x.std(axis=0, ddof=1) + 1e-300) for x in away]
    correlation = float(np.mean(away[0] * away[1]) * first.draws / (first.draws - 1))
    # both widths are of the same draws, so that their own scatter bounds their ratio from above
    room = float(np.sqrt(stats.chi2.ppf(0.995, first.draws - 1) / (first.draws - 1)))
    limit = 2.6 if first.values.ndim == 1 else 1.6
    agree = bool(z <= limit and 1 / room <= width <= room)
    text = (
        f"means differ by {z:.1f} sampling errors, widths by a factor of {width:.2f},"
        f" draws correlate at {correlation:.2f}"
    )
    word = "agree" if agree else "disagree"
    return Agreement(z, width, correlation, agree, f"{names[0]} and {names[1]} {word}: {text}")
