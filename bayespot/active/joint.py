"""Values of several observables of the same trajectories, and the MD noise that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayespot.active.measure import Observed
from bayespot.errors import UserError
from bayespot.md import Trajectories
from bayespot.observables import Context, Observable, blocks_to_value


def observe(
    observables: Sequence[Observable], trajectories: Trajectories, context: Context
) -> tuple[Observed, np.ndarray]:
    """Values of every draw that is stable in all its replicas, and the covariance of MD noise.

    One jackknife over replicas for all observables: what a trajectory does by chance moves them
    together, and would pass for a covariance over the posterior.  A single replica is cut into its
    time blocks.

    Args:
        observables: averaged in ``trajectories``.
        trajectories: of all draws.
        context: of the reductions.

    Returns:
        the values, and the index of the draws used.

    Raises:
        UserError: an observable that the trajectories were not asked for, or no stable draw.
    """
    missing = [o.name for o in observables if o.name not in trajectories.means]
    if missing:
        raise UserError(
            f"the trajectories have no averages of {missing[0]}",
            f"Give observables of them: {', '.join(trajectories.means)}",
        )
    used = np.flatnonzero((trajectories.reason == 0).all(axis=1))
    if not len(used):
        raise UserError("no draw is stable in all its replicas", "Lower the time step")
    several = trajectories.reason.shape[1] > 1
    points = [int(np.prod(o.shape, dtype=int)) for o in observables]
    edges = np.concatenate([[0], np.cumsum(points)])
    values, covariances = [], []
    for draw in used:
        parts = [
            _left_out(o, {k: v[:, draw] for k, v in trajectories.means[o.name].items()}, several,
                      context)
            for o in observables
        ]  # fmt: skip
        values.append(np.concatenate([value.ravel() for value, _ in parts]))
        spread = np.concatenate([rest.reshape(len(rest), -1) for _, rest in parts], axis=1)
        spread -= spread.mean(axis=0)
        covariances.append((len(spread) - 1) / len(spread) * spread.T @ spread)
    table, noise = np.asarray(values), np.mean(covariances, axis=0)
    named, shared = {}, {}
    for i, o in enumerate(observables):
        rows = slice(edges[i], edges[i + 1])
        named[o.name] = table[:, rows] if o.shape else table[:, edges[i]]
        for j, other in enumerate(observables[: i + 1]):
            shared[o.name, other.name] = noise[rows, edges[j] : edges[j + 1]]
    return Observed(named, shared), used


def _left_out(
    o: Observable, cells: dict[str, np.ndarray], several: bool, context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """Value over independent cells, and those without each; cells are (block, replica, ...)."""
    cells = {
        k: v.mean(axis=0, dtype=float) if several else v[:, 0].astype(float)
        for k, v in cells.items()
    }
    count = len(next(iter(cells.values())))
    ones = np.ones(count)
    rest = [blocks_to_value(o, cells, ones - np.eye(count)[i], context) for i in range(count)]
    return blocks_to_value(o, cells, ones, context), np.stack(rest)
