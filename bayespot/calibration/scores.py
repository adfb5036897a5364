"""Metrics that are functions of means over numbers, and the sentences on how to read each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from bayespot.calibration.predictive import Predictive, VectorPredictive
from bayespot.calibration.quantity import Quantity

COVERAGES = (0.50, 0.68, 0.90, 0.95)

PAIRS = 3_000_000
"""Pairs of members times numbers that the fair CRPS looks at, at most."""


def columns(
    made: Predictive | VectorPredictive,
    quantity: Quantity,
    factor: np.ndarray,
    inside: dict[float, np.ndarray],
) -> dict[str, np.ndarray]:
    """Of each metric the (n,) terms whose mean it is, before ``FINISH``.

    Args:
        made: the predictive distribution.
        quantity: what it is of.
        factor: (n,) by which standard deviations were stretched in ``made``.
        inside: level -> (n,) whether the interval of that level holds the truth.
    """
    squares = made.squares()
    terms = {"rmse": made.size**2, "mae": made.size, "nll": made.nll()}
    if isinstance(made, Predictive):
        terms["crps"] = made.crps()
        terms["crps_fair"] = fair_crps(
            quantity.truth,
            stretched_members(quantity.samples, factor),
            np.asarray(quantity.noise_variance) * factor**2,
        )
    else:
        terms["chi2"] = squares
        del terms["mae"]
    for level, held in inside.items():
        terms[f"coverage_{round(100 * level)}"] = held.astype(float)
    terms["mean_squared_z"] = squares
    if isinstance(made, Predictive):
        terms["sharpness"] = made.sigma**2
    return terms


FINISH: dict[str, Callable[[np.ndarray], np.ndarray]] = {"rmse": np.sqrt, "sharpness": np.sqrt}
"""What is done to the mean of the terms; nothing for the others."""


def stretched_members(samples: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Members moved away from their mean by ``factor`` (n,)."""
    if np.all(factor == 1):
        return samples
    mean = samples.mean(axis=0)
    return mean + factor * (samples - mean)


def fair_crps(truth: np.ndarray, members: np.ndarray, noise_variance: np.ndarray) -> np.ndarray:
    """Fair CRPS of an ensemble (Ferro 2014), whose expectation does not depend on its size.

    ``mean |x_k - y| - sum_(i<j) |x_i - x_j| / (K (K-1))``; noise is added to members exactly, by
    the expected distance of Gaussians (Grimit et al. 2006).  It judges members, no Gaussian.
    Of many members with noise not all pairs are looked at, which leaves it unbiased.

    Args:
        truth: (n,).
        members: (K, n).
        noise_variance: (n,).
    """
    count = len(members)
    first, second = np.triu_indices(count, 1)
    if not np.any(noise_variance):
        # sum of |x_i - x_j| over pairs, from the order statistics
        rank = 2 * np.arange(count) - (count - 1)
        distance = np.einsum("k,kn->n", rank, np.sort(members, axis=0)) / len(first)
        return np.asarray(np.abs(members - truth).mean(axis=0) - distance / 2)
    keep = min(len(first), max(count, 66, PAIRS // len(truth)))
    chosen = np.linspace(0, len(first) - 1, keep).round().astype(int)
    deviation = np.sqrt(noise_variance)
    near = np.zeros(len(truth))
    for member in members:
        near += _distance(member - truth, deviation)
    far = np.zeros(len(truth))
    for i, j in zip(first[chosen], second[chosen], strict=True):
        far += _distance(members[i] - members[j], np.sqrt(2) * deviation)
    return near / count - far / (2 * keep)


def _distance(gap: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Expected absolute value of ``N(gap, deviation^2)``."""
    z = gap / np.where(deviation > 0, deviation, 1.0)
    made = deviation * (z * special.erf(z / np.sqrt(2)) + np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2))
    return np.where(deviation > 0, made, np.abs(gap))
