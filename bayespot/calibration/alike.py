"""How alike the numbers of a frame are, for null distributions that keep it."""

from __future__ import annotations

import numpy as np
from scipy import special

from bayespot.calibration.bootstrap import Resampling


def intraclass(values: np.ndarray, resampling: Resampling) -> float:
    """Intraclass correlation of a frame's numbers by analysis of variance, in [0, 1]."""
    n, frames, frame = len(values), resampling.frames, resampling.frame
    if frames in (1, n):
        return 0.0
    size = np.bincount(frame, minlength=frames).astype(float)
    mean = np.bincount(frame, weights=values) / size
    between = np.sum(size * (mean - values.mean()) ** 2) / (frames - 1)
    within = np.sum((values - mean[frame]) ** 2) / (n - frames)
    typical = (n - np.sum(size**2) / n) / (frames - 1)
    total = between + (typical - 1) * within
    return float(np.clip((between - within) / total, 0.0, 1.0)) if total > 0 else 0.0


def loading_of_sizes(z: np.ndarray, place: np.ndarray, resampling: Resampling) -> float:
    """Share of a frame in its normal deviates that makes their sizes as alike as they are.

    Sizes are compared by their ranks within a bin, so that what distinguishes the bins is not
    taken for the frames' part, as the squares of the Gaussians that have these ranks: squares of
    Gaussians of correlation r have correlation r^2 (the ranks themselves 0.6 of it), and the
    loading is the root of r.

    Args:
        z: (n,) normal deviates.
        place: (n,) bin of each.
        resampling: of frames.
    """
    n = len(z)
    order = np.lexsort((np.abs(z), place))
    starts = np.searchsorted(place[order], np.arange(place.max() + 1))
    sizes = np.bincount(place)
    rank = np.empty(n)
    rank[order] = (np.arange(n) - np.repeat(starts, sizes) + 0.5) / np.repeat(sizes, sizes)
    return intraclass(special.ndtri((1 + rank) / 2) ** 2, resampling) ** 0.25


def deviates(rng: np.random.Generator, loading: float, resampling: Resampling) -> np.ndarray:
    """(n,) standard normal numbers, those of a frame with correlation ``loading^2``."""
    frame = resampling.frame
    made = np.sqrt(1 - loading**2) * rng.standard_normal(len(frame))
    if loading:
        made += loading * rng.standard_normal(resampling.frames)[frame]
    return made
