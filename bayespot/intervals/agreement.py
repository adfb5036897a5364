"""Whether two ways to the same intervals agree, as far as their sampling errors let one tell."""

from __future__ import annotations

import dataclasses

import numpy as np

from bayespot.uncertainty import Estimate


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of two estimates of one observable over the same draws.

    Attributes:
        z: difference of the means over its sampling error; of curves the root mean square over
            bins.
        spread_z: difference of the variances over the posterior, MD noise removed, over its
            sampling error; of curves the same of their means over bins.
        width: ratio of the second total width to the first; of curves the median over bins.  A
            noisier way is wider and no less right.
        correlation: of the draws' values; of curves over draws and bins about each bin's mean.
        agree: both differences within 2.6 errors (means of curves: root mean square 1.6).
        sentence: in words.
    """

    z: float
    spread_z: float
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
    known = np.asarray(np.isfinite(error) & (error > 0) & (first.total > 0))
    if not known.any():
        return Agreement(
            0.0, 0.0, 1.0, 1.0, True, f"{names[0]} and {names[1]} both give a constant"
        )
    gaps = np.where(known, first.mean - second.mean, 0.0)[known] / error[known]
    z = float(np.sqrt(np.mean(gaps**2)))
    width = float(np.median(second.total[known] / first.total[known]))
    away = [e.values[:, known] if e.values.ndim > 1 else e.values[:, None] for e in (first, second)]
    away = [(x - x.mean(axis=0)) / (x.std(axis=0, ddof=1) + 1e-300) for x in away]
    correlation = float(np.mean(away[0] * away[1]) * first.draws / (first.draws - 1))
    spread_z = _of_variances(first, second, known)
    limit = 2.6 if first.values.ndim == 1 else 1.6
    agree = bool(z <= limit and spread_z <= 2.6)
    text = (
        f"means differ by {z:.1f} sampling errors, spreads of the draws by {spread_z:.1f};"
        f" widths by a factor of {width:.2f}; draws correlate at {correlation:.2f}"
    )
    word = "agree" if agree else "disagree"
    sentence = f"{names[0]} and {names[1]} {word}: {text}"
    return Agreement(z, spread_z, width, correlation, agree, sentence)


def _of_variances(first: Estimate, second: Estimate, known: np.ndarray) -> float:
    """The draws are the same: what their values differ by beyond that is noise, which alone makes
    the two variances scatter."""
    made = []
    for one in (first, second):
        noise = np.square(one.md[known])
        # not cut off at zero, as ``parameter`` is
        spread = np.var(one.values, axis=0, ddof=1)[known] - noise
        made.append((spread, noise))
    common = np.maximum((made[0][0] + made[1][0]) / 2, 0.0)
    errors = [(2 * noise**2 + 4 * common * noise) / (first.draws - 1) for _, noise in made]
    # bins of a curve move together: the error of their mean is that of one
    gap, error = np.mean(made[0][0] - made[1][0]), np.mean(np.sqrt(errors[0] + errors[1]))
    return float(np.abs(gap) / error) if error > 0 else 0.0
