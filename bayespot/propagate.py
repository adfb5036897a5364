"""Draws to observables: one batched simulation of every draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.data import Dataset
from bayespot.md import (
    Ensemble,
    Length,
    Monitor,
    Progress,
    Simulation,
    Stability,
    Trajectories,
    door,
)
from bayespot.observables import Observable
from bayespot.potentials import Potential


def propagate(
    key: jax.Array,
    potential: Potential,
    params: Any,
    start: Dataset,
    ensemble: Ensemble,
    length: Length,
    observables: Sequence[Observable],
    *,
    replicas: int,
    stability: Stability | None = None,
    restarts: int = 0,
    monitor: Monitor | None = None,
    keep: int = 0,
    trajectory: Path | None = None,
    trajectory_stride: int = 1,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    callback: Callable[[Progress], None] | None = None,
) -> Trajectories:
    """Simulate every draw, each trajectory from a frame of its own.

    Different starts make replicas independent, so that their spread is an honest MD error even
    where a transition is slower than one trajectory.

    Args:
        key: from ``jax.random.key``; chooses starts and drives the dynamics.
        potential: shared by the draws.
        params: its parameters, leading draw axis.
        start: frames of one and the same molecule to start from.
        ensemble, length, observables, replicas, stability: as for ``md.simulate``.
        restarts: how often a trajectory that broke is begun again elsewhere.  Those that stay
            stable are then no fair sample of what the draw does: ``Trajectories.restarted`` counts.
        monitor, keep, trajectory, trajectory_stride: as for ``md.simulate``; not with ``restarts``
            where they keep configurations.
        checkpoint, fingerprint, callback: likewise.
    """
    start_key, md_key = jax.random.split(key)
    door.check_settings(replicas=replicas)
    draws = door.number_of_draws(params)
    species = np.asarray(start.batch.system.species)
    cell = np.asarray(start.batch.system.cell)
    same_cell = not any(start.batch.system.pbc) or np.allclose(cell, cell[0], atol=1e-5)
    if not ((species == species[0]).all() and same_cell):
        raise ValueError("the starting frames must all have the same atoms in the same cell")
    if restarts and (keep or trajectory is not None):
        raise ValueError("configurations of trajectories that are begun again are not kept")
    simulation = Simulation(
        potential, jax.tree.map(lambda x: x[0], start.batch.system), ensemble, length, observables,
        stability=stability, keep=keep, monitor=monitor,
    )  # fmt: skip
    positions = jnp.asarray(start.batch.system.positions)

    def run(
        key: jax.Array, start_key: jax.Array, params: Any, part: str, **more: Any
    ) -> Trajectories:
        choice = jax.random.randint(start_key, (draws, replicas), 0, len(start))
        return simulation.run(
            key, params, starts=positions[choice],
            checkpoint=None if checkpoint is None else checkpoint / part,
            fingerprint=fingerprint, callback=callback, **more,
        )  # fmt: skip

    made = run(
        md_key, start_key, params, "", trajectory=trajectory,
        trajectory_stride=trajectory_stride,
    )  # fmt: skip
    if not restarts:
        return made
    tried = np.zeros(made.reason.shape, int)
    for attempt in range(1, restarts + 1):
        lost = np.flatnonzero((made.reason > 0).any(axis=1))
        if not len(lost):
            break
        # as many draws as before, so that nothing is compiled anew
        again = lost[np.arange(draws) % len(lost)]
        new = run(
            jax.random.fold_in(md_key, attempt), jax.random.fold_in(start_key, attempt),
            jax.tree.map(lambda x, again=again: jnp.asarray(x)[again], params),
            f"restart_{attempt}",
        )  # fmt: skip
        made, tried = _mended(made, new, lost, tried)
    return made._replace(restarted=tried)


def _mended(
    made: Trajectories, new: Trajectories, lost: np.ndarray, tried: np.ndarray
) -> tuple[Trajectories, np.ndarray]:
    """``made`` with broken trajectories replaced by those of ``new``, whose rows are ``lost``.

    A replica that breaks again stays broken, so that no draw looks better than it is: each broken
    one is given one trajectory, that of the same number.
    """
    arrays = {
        "temperature": (made.temperature.copy(), new.temperature),
        "reason": (made.reason.copy()[None], new.reason[None]),
        "failed_at": (made.failed_at.copy()[None], new.failed_at[None]),
    }
    means = jax.tree.map(lambda x: np.array(x), made.means)
    tried = tried.copy()
    for row, draw in enumerate(lost):
        for replica in np.flatnonzero(made.reason[draw] > 0):
            tried[draw, replica] += 1
            for old, fresh in (
                *arrays.values(),
                *zip(jax.tree.leaves(means), jax.tree.leaves(new.means), strict=True),
            ):
                old[:, draw, replica] = fresh[:, row, replica]
    return (
        made._replace(
            means=means,
            temperature=arrays["temperature"][0],
            reason=arrays["reason"][0][0],
            failed_at=arrays["failed_at"][0][0],
            capacity_retries=made.capacity_retries + new.capacity_retries,
        ),
        tried,
    )
