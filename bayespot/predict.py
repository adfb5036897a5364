"""Energies and forces of every draw on labelled frames."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from bayespot.data import Batch
from bayespot.potentials import Potential, energy_and_forces


class Predictions(NamedTuple):
    """Of all draws: energy (draws, frames) eV without shift, forces (draws, frames, atoms, 3)."""

    energy: np.ndarray
    forces: np.ndarray


def predict(potential: Potential, params: Any, batch: Batch, chunk: int = 16) -> Predictions:
    """Predict with draws stacked along the leading axis of ``params``.

    Args:
        potential: shared by the draws.
        params: pytree with a leading draw axis.
        batch: frames.
        chunk: frames evaluated at once.
    """

    @jax.jit
    def run(params: Any, batch: Batch) -> Any:
        def frame(one: Batch) -> Any:
            def draw(p: Any) -> Any:
                return energy_and_forces(potential, p, one.system, one.neighbors)

            return jax.vmap(draw)(params)

        return jax.lax.map(frame, batch, batch_size=min(chunk, len(batch.energy)))

    energy, forces = run(params, batch)
    return Predictions(np.swapaxes(np.asarray(energy), 0, 1), np.swapaxes(np.asarray(forces), 0, 1))
