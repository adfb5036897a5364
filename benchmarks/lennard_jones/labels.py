"""Names beside the points they belong to, kept apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

EDGE = 0.03  # of the axes; no name nearer to top and bottom


def spread_labels(positions: Sequence[float], gap: float) -> np.ndarray:
    """Heights in (0, 1) at least ``gap`` apart, by least squares the nearest to the given ones.

    Where there is no room for ``gap``, the largest there is room for.
    """
    gap = min(gap, (1 - 2 * EDGE) / max(1, len(positions) - 1))
    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(positions))
    # without the steps, heights a gap apart are heights that do not fall
    heights = isotonic_regression(np.asarray(positions, float)[order] - steps).x
    made = np.empty_like(heights)
    made[order] = np.clip(heights, EDGE, 1 - EDGE - steps[-1]) + steps
    return made


def label(
    axes: Any,
    points: Mapping[str, tuple[float, float]],
    colours: Mapping[str, str],
    x: float,
    gap: float,
) -> None:
    """Names at the right, kept apart, each tied to its point; heights in axes fractions."""
    to_axes = axes.transData + axes.transAxes.inverted()
    spots = {name: to_axes.transform(point) for name, point in points.items()}
    heights = spread_labels([y for _, y in spots.values()], gap)
    for (name, spot), height in zip(spots.items(), heights, strict=True):
        axes.annotate(
            name, spot, (x, height), xycoords="axes fraction", textcoords="axes fraction",
            color=colours[name], fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": colours[name], "relpos": (0, 0.5),
                        "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip
