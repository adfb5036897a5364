"""Configurations that the posterior itself goes to: MD of its draws, frames of it as candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import ase
import jax
import jax.numpy as jnp
import numpy as np

from bayespot.active.structures import closest
from bayespot.data import Frame
from bayespot.md import Ensemble, Length, Progress, Stability, door, simulate
from bayespot.potentials import Potential
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class Explored:
    """Frames of trajectories.

    Attributes:
        structures: candidates, in order of draw, replica and time.
        draw, replica: (candidates,) whose trajectory.
        seen: frames there were.
        unphysical: of them that were left out: after a trajectory failed, or with two atoms on top
            of each other.
        trajectories: how many there were.
        reasons: why trajectories failed, (draw, replica) index into ``bayespot.md.REASONS``.
    """

    structures: list[ase.Atoms]
    draw: np.ndarray
    replica: np.ndarray
    seen: int
    unphysical: int
    trajectories: int
    reasons: np.ndarray


def explore(
    key: jax.Array,
    potential: Potential,
    params: Any,
    starts: Sequence[Frame],
    ensemble: Ensemble,
    length: Length,
    *,
    replicas: int = 1,
    stability: Stability | None = None,
    least: float = 0.6,
    most: int = 1000,
    callback: Callable[[Progress], None] | None = None,
) -> Explored:
    """Simulate every draw and collect its frames.

    ``potential`` and ``params`` are whatever shall be simulated: the posterior's own for plain
    exploration, or a potential that is biased towards its uncertainty.

    Args:
        key: from ``jax.random.key``; chooses starts and drives the dynamics.
        potential: shared by all draws.
        params: its parameters, leading draw axis.
        starts: frames of the same atoms to start from.
        ensemble: hotter than what is wanted goes farther; a temperature for each replica is
            possible.
        length: every ``stride`` steps a frame.
        replicas: trajectories of each draw.
        stability: what ends a trajectory; frames after that are none.
        least: smallest distance of two atoms, as a share of the sum of their covalent radii.
        most: candidates, spread evenly over all frames.
        callback: called after each block.
    """
    start_key, md_key = jax.random.split(key)
    draws = door.number_of_draws(params)
    system = System.from_ase(starts[0].atoms)
    positions = np.stack([f.atoms.positions for f in starts])
    choice = jax.random.randint(start_key, (draws, replicas), 0, len(positions))
    made = simulate(
        md_key, potential, params, system, ensemble, length, (),
        starts=jnp.asarray(positions, float)[choice], stability=stability, keep=1,
        callback=callback,
    )  # fmt: skip
    assert made.frames is not None
    alive = np.isfinite(made.frames.energy)
    # the last one before a failure belongs to it: what was noticed then began earlier
    alive[..., :-1] &= alive[..., 1:]
    places = np.argwhere(alive)
    if len(places) > most:
        places = places[np.unique(np.linspace(0, len(places) - 1, most).round().astype(int))]
    structures, kept = [], []
    for place in places:
        first = starts[0].atoms
        atoms = ase.Atoms(first.numbers, cell=first.cell, pbc=first.pbc)
        atoms.positions = made.frames.positions[tuple(place)][: len(atoms)].astype(float)
        if any(atoms.pbc):
            atoms.set_cell(made.frames.cell[tuple(place)].astype(float))
        if closest(atoms) >= least:
            structures.append(atoms)
            kept.append(place)
    index = np.asarray(kept, int).reshape(-1, 3)
    return Explored(
        structures, index[:, 0], index[:, 1], alive.size,
        int(alive.size - alive.sum()) + len(places) - len(kept), draws * replicas, made.reason,
    )  # fmt: skip
