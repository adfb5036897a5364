"""Metrics of sorted numbers: miscalibration area, Spearman, sparsification, OOD AUROC.

Each takes weights (replicates, n), the point value being that of weights of one: bootstrap and
value share one definition.
"""

from __future__ import annotations

import numpy as np

from bayespot.calibration.bootstrap import Resampling

FINE = 512
"""Points of a distribution function beyond which it is taken as straight between points."""


def area(level: np.ndarray, resampling: Resampling | None = None) -> np.ndarray:
    """Integral of |observed - nominal| coverage over all nominal levels, of each replicate.

    Args:
        level: (n,) nominal level of the central interval that just holds the truth.
        resampling: of frames; None for the value itself, exact.
    """
    order = np.argsort(level, kind="stable")
    ordered, n = level[order], len(level)
    if resampling is None or n <= FINE:
        starts = np.arange(n)
    else:
        starts = np.unique(np.linspace(0, n, FINE, endpoint=False).astype(int))
    weights = np.ones((1, n)) if resampling is None else resampling.of_numbers(order)
    if len(starts) < n:
        # observed coverage at the first level of each stretch, straight in between
        sums = np.add.reduceat(weights, starts, axis=1, dtype=float)
        total = sums.sum(axis=1, keepdims=True)
        height = np.concatenate([np.cumsum(sums, axis=1) - sums, total, total], axis=1) / total
        edges = np.concatenate([ordered[starts], ordered[-1:], [1.0]])
        height = np.concatenate([np.zeros_like(total), height], axis=1)
        edges = np.concatenate([[0.0], edges])
        left, right = height[:, :-1] - edges[:-1], height[:, 1:] - edges[1:]
    else:
        height = np.cumsum(weights, axis=1, dtype=float)
        height = np.concatenate([np.zeros_like(height[:, :1]), height], axis=1) / height[:, -1:]
        edges = np.concatenate([[0.0], ordered, [1.0]])
        left, right = height - edges[:-1], height - edges[1:]
    return np.sum(_between(left, right) * np.diff(edges), axis=1)


def _between(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Mean of |x| along a straight line between two values."""
    size = np.abs(left) + np.abs(right)
    crossing = (left * right < 0) & (size > 0)
    triangles = (left**2 + right**2) / (2 * np.where(crossing, size, 1.0))
    return np.where(crossing, triangles, size / 2)


class Ranked:
    """Numbers sorted by uncertainty and by error.

    Args:
        sigma: (n,) predicted standard deviations.
        size: (n,) absolute errors.
        seed: of the order among equal ones, so that the order of the data does not count.
    """

    def __init__(self, sigma: np.ndarray, size: np.ndarray, seed: int) -> None:
        chance = np.random.default_rng(seed).random(len(sigma))
        self.sigma, self.size = sigma, size
        self.by_sigma = np.lexsort((chance, -sigma))
        self.by_error = np.lexsort((chance, -size))

    def metrics(self, resampling: Resampling | None = None) -> dict[str, np.ndarray]:
        """ "spearman" and "ause" of each replicate (of the value itself: one)."""
        n = len(self.sigma)
        if resampling is None:
            first = second = np.ones((1, n))
        else:
            first = resampling.of_numbers(self.by_sigma)
            second = resampling.of_numbers(self.by_error)
        cumulative, cumulative_error = (np.cumsum(w, axis=1, dtype=float) for w in (first, second))
        ranks = _mid_ranks(cumulative, self.sigma[self.by_sigma])
        error_ranks = np.empty_like(ranks)
        error_ranks[:, self.by_error] = _mid_ranks(cumulative_error, self.size[self.by_error])
        spearman = _correlation(first, ranks, error_ranks[:, self.by_sigma])
        areas = []
        for order, weights, removed in (
            (self.by_sigma, first, cumulative),
            (self.by_error, second, cumulative_error),
        ):
            fraction, left = _curve(self.size[order], weights, removed)
            areas.append(np.trapezoid(left, fraction, axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            ause = (areas[0] - areas[1]) / left[:, 0]
        return {"spearman": spearman, "ause": ause}

    def curves(self, points: int = 41) -> dict[str, list[float]]:
        """Root mean square of the errors left after a fraction of the numbers was removed."""
        n = len(self.sigma)
        fraction = np.linspace(0, 1 - 1 / n, min(points, n))
        made = {"fraction": fraction.tolist()}
        for name, order in (("by_uncertainty", self.by_sigma), ("by_error", self.by_error)):
            ones = np.ones((1, n))
            at, left = _curve(self.size[order], ones, np.cumsum(ones, axis=1))
            made[name] = np.interp(fraction, at[0], left[0]).tolist()
        made["random"] = [float(np.sqrt(np.mean(self.size**2)))] * len(fraction)
        return made


def _curve(
    size: np.ndarray, weights: np.ndarray, cumulative: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fraction removed and root mean square of the rest, before each of the sorted numbers."""
    squares = weights * size**2
    before = cumulative - weights
    rest = cumulative[:, -1:] - before
    # summed from the end: subtracting would leave rounding errors as large as the last squares
    tail = np.cumsum(squares[:, ::-1], axis=1, dtype=float)[:, ::-1]
    left = np.sqrt(np.where(rest > 0, tail / np.where(rest > 0, rest, 1.0), 0.0))
    return before / cumulative[:, -1:], left


def _mid_ranks(cumulative: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Weighted rank of each sorted number, the mean of them for equal numbers."""
    start = np.flatnonzero(np.concatenate([[True], np.diff(ordered) != 0]))
    if len(start) == len(ordered):
        return cumulative - np.diff(cumulative, axis=1, prepend=0.0) / 2
    stop = np.concatenate([start[1:], [len(ordered)]]) - 1
    above = cumulative[:, stop]
    below = np.concatenate([np.zeros_like(above[:, :1]), above[:, :-1]], axis=1)
    return np.repeat((above + below) / 2, stop - start + 1, axis=1)


def _correlation(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1, keepdims=True)
    x = x - np.sum(weights * x, axis=1, keepdims=True) / total
    y = y - np.sum(weights * y, axis=1, keepdims=True) / total
    product = np.sum(weights * x * y, axis=1)
    squares = np.sum(weights * x**2, axis=1) * np.sum(weights * y**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(squares > 0, product / np.sqrt(squares), np.nan)


def auroc(score: np.ndarray, outside: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Chance that a frame outside scores above one inside, ties counting half.

    Args:
        score: (C,) of each frame.
        outside: (C,) whether it is outside the training distribution.
        weights: (replicates, C).
    """
    values, place = np.unique(score, return_inverse=True)
    sums = []
    for chosen in (outside, ~outside):
        made = np.zeros((len(weights), len(values)))
        for frame in np.flatnonzero(chosen):
            made[:, place[frame]] += weights[:, frame]
        sums.append(made)
    out, inner = sums
    below = np.cumsum(inner, axis=1) - inner / 2
    pairs = out.sum(axis=1) * inner.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, np.sum(out * below, axis=1) / pairs, np.nan)
