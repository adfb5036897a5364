"""What the draws say as functions: figures of a method, and the modes its runs find."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2, vq

import samplers as s
from bayespot.calibration import miscalibration_area
from benchmarks.common import wasserstein
from benchmarks.lennard_jones.problem import DRAWS, GRID, HELD_OUT, INSIDE, SEED, Made, well

CELLS = 10
MEMBERS = (1, 2, 5, 10)  # numbers of chains the draws are taken from


class Space(NamedTuple):
    """Functions where the data leave them open, in coordinates of the exact posterior.

    Attributes:
        where: (66,) bool, grid points at which the exact sd is above 0.1 epsilon; nearer the
            data a sampler's own noise would decide.
        centre, scale: of the exact draws at each of these points.
        axes: (3, points) principal directions; few numbers describe such smooth functions.
        share: of the variance that the three hold.
        spread: (3,) standard deviations of the exact draws along them.
        cells: (10, 3) centres of ten parts of about equal weight.
        reach: radius that holds 99 % of the exact draws, in ``spread``.
    """

    where: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    share: float
    spread: np.ndarray
    cells: np.ndarray
    reach: float

    @classmethod
    def of(cls, draws: np.ndarray) -> "Space":
        where = draws[:, : len(GRID)].std(axis=0) > 0.1
        free = draws[:, : len(GRID)][:, where]
        centre, scale = free.mean(axis=0), free.std(axis=0)
        z = (free - centre) / scale
        _, values, axes = np.linalg.svd(z, full_matrices=False)
        made = cls(
            where, centre, scale, axes[:3], float((values[:3] ** 2).sum() / (values**2).sum()),
            np.ones(3), np.zeros((CELLS, 3)), 0.0,
        )  # fmt: skip
        made = made._replace(spread=made.scores(draws).std(axis=0))
        scores = made.scores(draws)
        cells, _ = kmeans2(scores, CELLS, minit="++", rng=np.random.default_rng(SEED))
        radius = np.linalg.norm(scores, axis=1)
        return made._replace(cells=cells, reach=float(np.quantile(radius, 0.99)))

    def scores(self, draws: np.ndarray) -> np.ndarray:
        """(..., 3), in standard deviations of the exact posterior."""
        z = (draws[..., : len(GRID)][..., self.where] - self.centre) / self.scale
        return z @ self.axes.T / self.spread

    def visits(self, draws: np.ndarray) -> tuple[int, float, float]:
        """(cells with 2 % of the draws, effective number of cells, share within reach)."""
        scores = self.scores(draws)
        near = np.linalg.norm(scores, axis=1) <= self.reach
        counts = np.bincount(vq(scores, self.cells)[0][near], minlength=CELLS)
        p = counts[counts > 0] / max(counts.sum(), 1)
        effective = float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0
        return int((counts >= 0.02 * len(draws)).sum()), effective, float(near.mean())

    def clusters(self, curves: np.ndarray) -> int:
        """Groups of chains that overlap: means closer than two summed sds along all axes."""
        scores = self.scores(curves)
        mean, sd = scores.mean(axis=1), scores.std(axis=1)
        gap = np.abs(mean[:, None] - mean[None])
        touch = (gap <= 2 * (sd[:, None] + sd[None])).all(axis=2)
        reached = np.linalg.matrix_power(touch.astype(float), len(touch)) > 0
        return len({tuple(row) for row in reached})


def pooled(curves: np.ndarray, chains: Sequence[int]) -> np.ndarray:
    """A hundred draws evenly from the chains, or what they have."""
    each = max(1, min(curves.shape[1], DRAWS // len(chains)))
    index = np.linspace(0, curves.shape[1] - 1, each).round().astype(int)
    return curves[list(chains)][:, index].reshape(-1, curves.shape[2])


def subsets(total: int, size: int) -> list[np.ndarray]:
    """Which chains to pool: each alone, all, or ten random choices."""
    if size == 1:
        return [np.array([c]) for c in range(total)]
    if size >= total:
        return [np.arange(total)]
    rng = np.random.default_rng(SEED + size)
    return [rng.choice(total, size, replace=False) for _ in range(10)]


def score(draws: np.ndarray, references: dict[str, np.ndarray]) -> dict[str, float]:
    """Figures of one set of draws."""
    grid, held_out = draws[:, : len(GRID)], draws[:, len(GRID) :]
    error = held_out.mean(axis=0) - well(HELD_OUT)
    made = {"rmse": float(np.sqrt(np.mean(error**2)))}
    if len(draws) > 1:
        z = (well(GRID) - grid.mean(axis=0)) / grid.std(axis=0, ddof=1)
        made["miscalibration"] = miscalibration_area(z)
    for name, reference in references.items():
        distance = wasserstein(grid, reference[:, : len(GRID)])
        made[f"w1_{name}_outside"] = float(distance[~INSIDE].mean())
        made[f"w1_{name}_inside"] = float(distance[INSIDE].mean())
        spread = reference[:, : len(GRID)][:, ~INSIDE].var(axis=0).mean()
        made[f"spread_{name}"] = float(np.sqrt(grid[:, ~INSIDE].var(axis=0).mean() / spread))
    return made


def describe(made: Made, references: dict[str, np.ndarray], space: Space) -> dict:
    """All figures of one method, by number of chains and for single runs."""
    chains, draws, _ = made.curves.shape
    by_chains = {}
    for size in MEMBERS:
        if size > chains or (size == 1 and draws == 1):
            continue
        scores = [score(pooled(made.curves, c), references) for c in subsets(chains, size)]
        by_chains[size] = {k: float(np.mean([x[k] for x in scores])) for k in scores[0]}
        by_chains[size]["gradients"] = made.gradients * size
    row = {
        "settings": made.note,
        "sigma": made.sigma,
        "gradients_per_chain": made.gradients,
        "seconds": made.seconds,
        "chains": by_chains,
        **made.more,
    }
    if draws >= 4:
        found = s.convergence(made.curves[:, :, : len(GRID)][:, :, ~INSIDE][:, :, ::5])
        visits = [space.visits(pooled(made.curves, [c])) for c in range(chains)]
        row["single_run"] = {
            "rhat": float(found.rhat.max()),
            "cells": [v[0] for v in visits],
            "effective_cells": [v[1] for v in visits],
            "within_reach": float(np.mean([v[2] for v in visits])),
            "clusters_of_chains": space.clusters(made.curves),
        }
    return row
