"""Differentiable trajectory reweighting: potentials from simulated observables.

Averages of new parameters come from the configurations of older ones, and their derivatives
through the weights, never through time (Thaler & Zavadlav 2021; methods.md section 3).  Where the
effective sample falls short, new trajectories start where the last ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bayespot.md import Simulation
from bayespot.reweight import Samples
from bayespot.trainers.averages import Averages
from bayespot.trainers.reference import Reference
from bayespot.trainers.reweighted import Objective, Reweighted
from bayespot.trainers.targets import Target


class DiffTRe(Reweighted):
    """Trains a potential until simulated averages are what was measured.

    Args:
        simulation, optimizer: as for ``Reweighted``; the papers take Adam with b1 = 0.1 and
            b2 = 0.4, its learning rate falling to a hundredth.
        targets: what averages shall be.
        more: the other settings of ``Reweighted``.

    Raises:
        UserError: targets that do not fit the simulation.
    """

    def __init__(
        self,
        simulation: Simulation,
        targets: Sequence[Target],
        optimizer: optax.GradientTransformation,
        **more: Any,
    ) -> None:
        super().__init__(simulation, optimizer, **more)
        self.averages = Averages(self.resampler, targets)

    def prepare(self, params: Any, samples: Samples, lists: Any) -> tuple[Any, Any]:
        """Snapshots that do not depend on the potential."""
        return self.averages.prepare(params, samples, lists)

    def objective(
        self, params: Any, cached: Any, reference: Reference, lists: Any, count: jax.Array
    ) -> Objective:
        """Sum of the targets' losses."""
        del count
        found, _, shares, crowded = self.averages.of(params, cached, reference, lists)
        targets, several = self.averages.targets, len(self.resampler.points) > 1
        losses = [t.loss(x) for t, x in zip(targets, found, strict=True)]
        record = {
            f"{t.observable.name}@{t.point}" if several else t.observable.name: x
            for t, x in zip(targets, found, strict=True)
        }
        return Objective(jnp.sum(jnp.stack(losses)), record, shares, crowded)
