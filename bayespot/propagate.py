"""Draws to observables: one batched simulation of every draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.data import Dataset
from bayespot.md import Ensemble, Length, Progress, Stability, Trajectories, door, simulate
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
    choice = jax.random.randint(start_key, (draws, replicas), 0, len(start))
    return simulate(
        md_key,
        potential,
        params,
        jax.tree.map(lambda x: x[0], start.batch.system),
        ensemble,
        length,
        observables,
        starts=jnp.asarray(start.batch.system.positions)[choice],
        stability=stability,
        checkpoint=checkpoint,
        fingerprint=fingerprint,
        callback=callback,
    )
