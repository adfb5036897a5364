"""Energies, forces and stresses of every draw on labelled frames."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from bayespot.data import Batch
from bayespot.errors import UserError
from bayespot.likelihood import energy_forces_stress
from bayespot.potentials import Potential, energy_and_forces


class Predictions(NamedTuple):
    """Of all draws.

    Attributes:
        energy: (draws, frames) eV without shift.
        forces: (draws, frames, atoms, 3) eV/Angstrom.
        stress: (draws, frames, 3, 3) eV/Angstrom^3, potential part, tension positive; None if not
            asked for.
    """

    energy: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None = None


def predict(
    potential: Potential, params: Any, batch: Batch, chunk: int = 16, *, stress: bool = False
) -> Predictions:
    """Predict with draws stacked along the leading axis of ``params``.

    Args:
        potential: shared by the draws.
        params: pytree with a leading draw axis.
        batch: frames.
        chunk: frames evaluated at once.
        stress: predict that too.

    Raises:
        UserError: stress of systems that are not periodic in all directions.
    """
    if stress and not all(batch.system.pbc):
        raise UserError(
            "only systems that are periodic in all directions have a stress",
            "Predict without stress, or give frames with pbc in all directions",
        )

    @jax.jit
    def run(params: Any, batch: Batch) -> Any:
        def frame(one: Batch) -> Any:
            def draw(p: Any) -> Any:
                if stress:
                    return energy_forces_stress(potential, p, one)
                return energy_and_forces(potential, p, one.system, one.neighbors)

            return jax.vmap(draw)(params)

        return jax.lax.map(frame, batch, batch_size=min(chunk, len(batch.energy)))

    return Predictions(*(np.swapaxes(np.asarray(x), 0, 1) for x in run(params, batch)))
