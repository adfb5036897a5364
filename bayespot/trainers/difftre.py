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
from bayespot.observables import Frame, Observable
from bayespot.reweight import Samples, average, snapshots
from bayespot.trainers.reference import Reference
from bayespot.trainers.reweighted import Objective, Reweighted
from bayespot.trainers.targets import Target, check, needs_potential, reduced


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
        check(targets, len(self.resampler.points))
        self.targets = tuple(targets)
        system, potential = simulation.system, simulation.potential
        lists = self.resampler.lists.update(system)
        params = potential.init(jax.random.key(0), system)
        like = Frame(system, jnp.zeros(()), None, lists, potential, params)
        each = {t.observable: needs_potential(t.observable, like) for t in self.targets}
        # snapshots that no parameter changes are kept; the others come with the energies
        self._fixed = tuple(o for o, needs in each.items() if not needs)
        self._moving = tuple(o for o, needs in each.items() if needs)

    def prepare(self, params: Any, samples: Samples, lists: Any) -> tuple[Any, Any]:
        """Snapshots that do not depend on the potential."""
        made, _, crowded = self._snapshots(self._fixed, params, samples, lists)
        return made, crowded

    def _snapshots(
        self, which: tuple[Observable, ...], params: Any, samples: Samples, lists: Any
    ) -> tuple[Any, jax.Array, jax.Array]:
        """(replicas, frames, ...) of one member; energies; whether lists were too small."""
        simulation = self.resampler.simulation
        shape = samples.energy.shape
        flat = Samples(*(x.reshape(-1, *x.shape[2:]) for x in samples))
        made, energy, crowded = snapshots(
            which, simulation.potential, params, simulation.system, flat, lists,
            self.resampler.batch_size,
        )  # fmt: skip
        shaped = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), made)
        return shaped, energy.reshape(shape), crowded

    def objective(
        self, params: Any, cached: Any, reference: Reference, lists: Any, count: jax.Array
    ) -> Objective:
        """Sum of the targets' losses."""
        del count
        found, shares, crowded = self.averages(params, cached, reference, lists)
        losses = [t.loss(x) for t, x in zip(self.targets, found, strict=True)]
        several = len(self.resampler.points) > 1
        record = {
            f"{t.observable.name}@{t.point}" if several else t.observable.name: x
            for t, x in zip(self.targets, found, strict=True)
        }
        return Objective(jnp.sum(jnp.stack(losses)), record, shares, crowded)

    def averages(
        self, params: Any, cached: Any, reference: Reference, lists: Any
    ) -> tuple[list[jax.Array], jax.Array, jax.Array]:
        """Of one member: averages in the order of the targets, effective shares of the points,
        whether lists were too small.  Differentiable in ``params``."""
        samples, valid = reference.samples, reference.valid
        moving, energy, crowded = self._snapshots(self._moving, params, samples, lists)
        every = {**cached, **moving}
        points = self.resampler.points
        weighed = [self.resampler.weigh(point, energy, samples, valid) for point in points]
        found = []
        for target in self.targets:
            point, log_w = points[target.point], weighed[target.point][0]
            which = jnp.asarray(point.replicas)
            flat = jax.tree.map(
                lambda x, which=which: x[which].reshape(-1, *x.shape[2:]),
                every[target.observable.name],
            )
            mean = average(log_w, _counting(flat, jnp.isfinite(log_w)))
            found.append(reduced(target.observable, mean, self.resampler.context(point)))
        return found, jnp.stack([w[1] for w in weighed]), crowded


def _counting(values: Any, counted: jax.Array) -> Any:
    """Zero where a frame does not count: those of failed trajectories may hold anything."""
    return jax.tree.map(
        lambda x: jnp.where(counted.reshape(-1, *(1,) * (x.ndim - 1)), x, 0), values
    )
