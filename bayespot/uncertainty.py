"""Observables with intervals: parameter spread and MD noise told apart."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from bayespot.md import Trajectories
from bayespot.observables import Context, Observable, blocks_to_value


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A posterior estimate of an observable (scalar or curve; all arrays of the same shape).

    One draw's value is the truth for its parameters plus MD noise, so the variance over draws is
    ``parameter^2 + md^2``; ``md`` is known from replicas, and the difference is the parameter part.

    Attributes:
        mean: average over draws.
        total: standard deviation of the interval: ``sqrt(parameter^2 + md_of_mean^2)``, where
            ``parameter`` counts for no less than MD noise lets one resolve (see ``estimate``).
        parameter: standard deviation over the posterior (epistemic), MD noise removed; 0 where
            the draws differ by no more than MD noise.
        md: MD-sampling standard error of a single draw's value.
        md_of_mean: of the mean over draws.
        low68, high68, low95, high95: central intervals, Student's t over the draws.
        draws: how many draws entered.
        values: (draws, ...) the value of each draw.
        weights: (draws,) what each counts for, 1 together; None where all count alike.
    """

    mean: np.ndarray
    total: np.ndarray
    parameter: np.ndarray
    md: np.ndarray
    md_of_mean: np.ndarray
    low68: np.ndarray
    high68: np.ndarray
    low95: np.ndarray
    high95: np.ndarray
    draws: int
    values: np.ndarray
    weights: np.ndarray | None = None


def draw_values(
    observable: Observable, trajectories: Trajectories, context: Context
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value and MD variance of every usable draw.

    A draw is used if at least two of its replicas stayed stable (one, if it had only one); the
    failed replicas are left out whole, since their time averages stop at an arbitrary moment.

    The MD variance is a jackknife over independent replicas, which needs no correlation time;
    with a single replica it is one over time blocks, which must then be longer than it.

    Returns:
        values (draws, ...), variances (draws, ...), index of the draws used.
    """
    stable = trajectories.reason == 0
    blocks = trajectories.means[observable.name]
    replicas = stable.shape[1]
    used = np.flatnonzero(stable.sum(axis=1) >= min(2, replicas))
    values, variances = [], []
    for draw in used:
        cells = {k: v[:, draw][:, stable[draw]] for k, v in blocks.items()}  # (block, replica, ..)
        if stable[draw].sum() > 1:
            cells = {k: v.mean(axis=0, dtype=float) for k, v in cells.items()}
        else:
            cells = {k: v[:, 0].astype(float) for k, v in cells.items()}
        value, variance = jackknife(observable, cells, context)
        values.append(value)
        variances.append(variance)
    return np.asarray(values), np.asarray(variances), used


def jackknife(
    observable: Observable, cells: dict[str, np.ndarray], context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """Value pooled over independent cells (first axis), and its variance, leave-one-out."""
    count = len(next(iter(cells.values())))
    weights = np.ones(count)
    value = blocks_to_value(observable, cells, weights, context)
    if count < 2:
        return value, np.full_like(value, np.nan)
    left_out = np.stack(
        [
            blocks_to_value(observable, cells, weights - np.eye(count)[i], context)
            for i in range(count)
        ]
    )
    spread = left_out - left_out.mean(axis=0)
    return value, np.asarray((count - 1) / count * np.sum(spread**2, axis=0))


def stability_weights(trajectories: Trajectories, used: np.ndarray) -> np.ndarray:
    """What each draw counts for when its trajectories' stability is evidence, 1 together.

    A system that is stable in reality would not have broken: by Laplace's rule of succession the
    next trajectory of a draw stays stable with probability ``(s + 1)/(n + 2)`` after s of n did,
    and that is the likelihood of the draw that it did.

    Args:
        trajectories: of all draws.
        used: index of the draws wanted, as ``draw_values`` gives it.
    """
    stable = trajectories.reason == 0
    if trajectories.restarted is None:
        tried = np.full(len(stable), stable.shape[1])
    else:  # each new start was a trajectory that broke before it
        tried = stable.shape[1] + trajectories.restarted.sum(axis=1)
    likelihood = (stable.sum(axis=1) + 1.0) / (tried + 2.0)
    return likelihood[used] / likelihood[used].sum()


def estimate(
    values: np.ndarray, variances: np.ndarray, weights: np.ndarray | None = None
) -> Estimate:
    """Combine draws: see ``Estimate``.

    The variance over K draws is itself uncertain; where MD noise makes up most of it, the
    difference could vanish by chance and leave an interval that is too narrow.  In the interval
    the parameter variance therefore never counts for less than the standard error of that
    difference; the reported ``parameter`` is the plain difference.

    Args:
        values: (draws, ...), at least 2 draws.
        variances: (draws, ...) MD variance of each.
        weights: (draws,) what each counts for; the same for all by default.  The number of draws
            that standard errors and Student's t know is then ``1/sum w^2``.

    Raises:
        ValueError: fewer than two draws.
    """
    draws = len(values)
    if draws < 2:
        raise ValueError(f"{draws} draw(s) give no interval; at least 2 must stay stable")
    w = np.full(draws, 1 / draws) if weights is None else weights / np.sum(weights)
    count = 1 / np.sum(w**2)
    mean = np.tensordot(w, values, axes=1)
    spread = np.tensordot(w, (values - mean) ** 2, axes=1) * count / (count - 1)
    md = np.tensordot(w, variances, axes=1)
    noise_of_spread = spread * np.sqrt(2 / (count - 1))
    parameter = np.maximum(spread - md, 0.0)
    md_of_mean = np.tensordot(w**2, variances, axes=1)
    total = np.sqrt(np.maximum(parameter, noise_of_spread) + md_of_mean)
    numbers = (
        mean,
        total,
        np.sqrt(parameter),
        np.sqrt(md),
        np.sqrt(md_of_mean),
        *_ends(mean, total, count),
    )
    return Estimate(
        *(np.asarray(x) for x in numbers),
        draws=draws,
        values=values,
        weights=None if weights is None else w,
    )


def stretched(made: Estimate, factor: float) -> Estimate:
    """With ``factor`` times the parameter part, and MD noise as it is.

    A recalibration says by how much the draws' forces are too sure, or not sure enough.  To first
    order an observable moves in proportion to the forces (linear response), and its standard
    deviation over the posterior with theirs: an approximation, as good as errors of the forces are
    alike in kind.  Of the parameter part, what MD noise may hide (see ``estimate``) is stretched
    too.  ``values`` stay those of the draws.

    Args:
        made: as the draws give it.
        factor: of the forces' standard deviations.
    """
    part = np.maximum(np.square(made.total) - np.square(made.md_of_mean), 0.0)
    total = np.sqrt(factor**2 * part + np.square(made.md_of_mean))
    count = float(made.draws) if made.weights is None else float(1 / np.sum(made.weights**2))
    ends = (np.asarray(x) for x in _ends(made.mean, total, count))
    names = ("low68", "high68", "low95", "high95")
    return dataclasses.replace(
        made, total=np.asarray(total), parameter=np.asarray(factor * made.parameter),
        **dict(zip(names, ends, strict=True)),
    )  # fmt: skip


def _ends(mean: Any, total: Any, count: float) -> list[Any]:
    """Of the central 68 and 95 % intervals, lower and upper."""
    t68, t95 = (stats.t.ppf(0.5 + level / 2, count - 1) for level in (0.68, 0.95))
    return [mean - t68 * total, mean + t68 * total, mean - t95 * total, mean + t95 * total]


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Whether intervals hold a reference.

    Attributes:
        points: numbers compared (for curves: bins that have an estimate, where the reference is
            above its noise).
        inside68, inside95: fraction of them inside the intervals.
        relative_width95: mean of the half-width over the reference's absolute value.
    """

    points: int
    inside68: float
    inside95: float
    relative_width95: float


def coverage(
    made: Estimate, reference: np.ndarray, error: np.ndarray, signal: float = 5.0
) -> Coverage | None:
    """Compare with a reference that has a standard error of its own.

    Args:
        made: the estimate.
        reference: same shape.
        error: its standard error.
        signal: bins of a curve count where the reference exceeds ``signal`` times its error;
            None is returned where no bin does.
    """
    use = np.abs(reference) > signal * error if reference.ndim else np.asarray(True)
    use = use & np.isfinite(made.high95 - made.low95)
    if not use.any():
        return None
    half = (made.high95 - made.low95)[use] / 2
    inside = [
        (reference >= low) & (reference <= high)
        for low, high in ((made.low68, made.high68), (made.low95, made.high95))
    ]
    return Coverage(
        int(np.sum(use)),
        float(np.mean(inside[0][use])),
        float(np.mean(inside[1][use])),
        float(np.mean(half / np.abs(reference[use]))),
    )
