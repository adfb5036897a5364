"""Curves for the page: reliability, and the PIT histogram with its band."""

from __future__ import annotations

import numpy as np
from scipy import special

from bayespot.calibration.alike import deviates, intraclass, loading_of_sizes
from bayespot.calibration.bootstrap import Resampling

LEVELS = np.linspace(0.05, 0.95, 19)
"""Nominal levels of the reliability curve."""


def reliability(level: np.ndarray) -> list[list[float]]:
    """[nominal, observed] coverage of central intervals, from 0 to 1.

    Args:
        level: (n,) of the interval that just holds the truth.
    """
    inner = [[float(p), float(np.mean(level <= p))] for p in LEVELS]
    return [[0.0, 0.0], *inner, [1.0, 1.0]]


def pit(z: np.ndarray, resampling: Resampling, seed: int) -> dict[str, list[float]]:
    """Histogram of the probability integral transform (Dawid 1984) and its band.

    19 of 20 histograms of a right prediction stay inside the band with all their bins; the band is
    that of simulated ones, whose numbers are as alike within a frame, in sign and size, as these.

    Args:
        z: (n,) equivalent normal deviates.
        resampling: of frames.
        seed: of the simulated histograms.
    """
    n = len(z)
    bins = 20 if n >= 400 else 10 if n >= 100 else 5
    edges = special.ndtri(np.arange(1, bins) / bins)

    def density(values: np.ndarray) -> np.ndarray:
        return np.bincount(np.searchsorted(edges, values), minlength=bins) / n * bins

    sizes = loading_of_sizes(z, np.zeros(n, int), resampling)
    loading = max(sizes, np.sqrt(intraclass(z, resampling)))
    rng = np.random.default_rng(seed)
    made = [
        density(deviates(rng, loading, resampling))
        for _ in range(int(np.clip(4_000_000 // n, 80, 300)))
    ]
    low = np.quantile(np.min(made, axis=1), 0.025)
    high = np.quantile(np.max(made, axis=1), 0.975)
    return {
        "edges": np.linspace(0, 1, bins + 1).tolist(),
        "density": density(z).tolist(),
        "band": [float(low), float(high)],
    }
