"""Relative-entropy minimisation: a coarse potential with the configurations of a finer model.

    S_rel = beta <U_theta(M(r))>_AT - beta A_theta + const

with the atomistic average over mapped frames and the free energy of the coarse model by
reweighting its own trajectories, so that the gradient is
``beta <dU/dtheta>_AT - beta <dU/dtheta>_CG`` (Thaler, Stupp & Zavadlav 2022; methods.md section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from bayespot.errors import UserError
from bayespot.md import Simulation
from bayespot.reweight import Samples, energies
from bayespot.trainers.reference import Reference, member_energies
from bayespot.trainers.reweighted import Objective, Reweighted
from bayespot.units import BOLTZMANN


class RelativeEntropy(Reweighted):
    """Trains a potential until its configurations are distributed as those it is shown.

    Args:
        simulation, optimizer: as for ``Reweighted``.
        frames: mapped positions (frames, sites, 3) in Angstrom for each state point.
        cells: (frames, 3, 3) Angstrom for each; None where all have the system's cell.
        frames_per_update: how many of them enter an update, one share after the other; None
            takes all.
        more: the other settings of ``Reweighted``.

    Raises:
        UserError: frames of another number of sites, or fewer than an update takes.
    """

    def __init__(
        self,
        simulation: Simulation,
        frames: Sequence[Any],
        optimizer: optax.GradientTransformation,
        *,
        frame_cells: Sequence[Any] | None = None,
        frames_per_update: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(simulation, optimizer, **more)
        system, points = simulation.system, self.resampler.points
        if len(frames) != len(points):
            raise UserError(
                f"frames of {len(frames)} state points, and {len(points)} are simulated",
                "Give one array of frames for each",
            )
        self.data: list[Samples] = []
        for number, positions in enumerate(frames):
            shape = np.shape(positions)
            if len(shape) != 3 or shape[1:] != system.positions.shape:
                raise UserError(
                    f"frames of state point {number} have shape {shape}, the system has"
                    f" {system.positions.shape[0]} sites",
                    "Map the frames onto the sites that are simulated",
                )
            if not np.isfinite(np.asarray(positions)).all():
                raise UserError(f"frames of state point {number} are not finite", "Check them")
            cell = system.cell if frame_cells is None else jnp.asarray(frame_cells[number])
            cell = jnp.broadcast_to(cell, (shape[0], 3, 3)).astype(system.cell.dtype)
            placed = jnp.asarray(positions, system.positions.dtype)
            self.data.append(Samples(placed, cell, jnp.zeros(shape[0])))
        least = min(len(d.energy) for d in self.data)
        self.share = least if frames_per_update is None else frames_per_update
        if not 0 < self.share <= least:
            raise UserError(
                f"an update takes {self.share} frames, and a state point has {least}",
                f"Give from 1 to {least}",
            )

    def objective(
        self, params: Any, cached: Any, reference: Reference, lists: Any, count: jax.Array
    ) -> Objective:
        """Relative entropy up to a constant: that of the first parameters."""
        del cached
        simulation, samples = self.resampler.simulation, reference.samples
        energy, crowded = member_energies(
            simulation.potential, params, simulation.system, samples, lists,
            self.resampler.batch_size,
        )  # fmt: skip
        total, shares, record = jnp.zeros(()), [], {}
        for number, (point, data) in enumerate(zip(self.resampler.points, self.data, strict=True)):
            beta = 1 / (BOLTZMANN * point.temperature)
            fine, more = self._of_data(params, data, lists, count)
            which = jnp.asarray(point.replicas)
            counted = reference.valid[which][:, None]
            gap = jnp.where(counted, (energy - samples.energy)[which], 0.0)
            exponents = jnp.where(counted, -beta * gap, -jnp.inf)
            frames = jnp.sum(counted) * gap.shape[1]
            change = -(jax.nn.logsumexp(exponents) - jnp.log(frames)) / beta
            free_energy = reference.free_energy[number] + change
            total = total + beta * (fine - free_energy)
            crowded = crowded | more
            shares.append(point.weigh(energy, samples, reference.valid)[1])
            name = "free_energy" if len(self.data) == 1 else f"free_energy@{number}"
            record[name] = free_energy
        return Objective(total, record, jnp.stack(shares), crowded)

    def _of_data(
        self, params: Any, data: Samples, lists: Any, count: jax.Array
    ) -> tuple[Float[Array, ""], jax.Array]:
        """Mean energy of this update's share of the frames."""
        simulation, frames = self.resampler.simulation, len(data.energy)
        # strided: neighbouring frames of a trajectory are alike
        strides = max(1, frames // self.share)
        index = (jnp.arange(self.share) * strides + count % strides) % frames
        picked = jax.tree.map(lambda x: x[index], data)
        energy, crowded = energies(
            simulation.potential, params, simulation.system, picked, lists,
            self.resampler.batch_size,
        )  # fmt: skip
        return jnp.mean(energy), crowded
