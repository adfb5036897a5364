"""Averages of observables at any parameters, from reference trajectories, with their error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables import Frame, Observable
from bayespot.reweight import Samples, average, snapshots
from bayespot.trainers.reference import Reference, Resampler
from bayespot.trainers.targets import Target, check, needs_potential, reduced

PIECES = 8
"""Least number of pieces that error estimates cut the frames of a state point into."""


class Averages:
    """What the observables of ``targets`` are, by reweighting.

    Attributes:
        targets: their observables and state points.
        resampler: whose trajectories are weighed.
    """

    def __init__(self, resampler: Resampler, targets: Sequence[Target]) -> None:
        """Raises:
        UserError: targets that do not fit the simulation.
        """
        check(targets, len(resampler.points))
        self.resampler, self.targets = resampler, tuple(targets)
        simulation = resampler.simulation
        system, potential = simulation.system, simulation.potential
        lists = resampler.lists.update(system)
        params = potential.init(jax.random.key(0), system)
        like = Frame(system, jnp.zeros(()), None, lists, potential, params)
        each = {t.observable: needs_potential(t.observable, like) for t in self.targets}
        # snapshots that no parameter changes are kept; the others come with the energies
        self._fixed = tuple(o for o, needs in each.items() if not needs)
        self._moving = tuple(o for o, needs in each.items() if needs)

    def prepare(self, params: Any, samples: Samples, lists: Any) -> tuple[Any, Any]:
        """Snapshots of one member's frames that do not depend on the potential, and whether lists
        were too small."""
        made, _, crowded = self._snapshots(self._fixed, params, samples, lists)
        return made, crowded

    def _snapshots(
        self, which: tuple[Observable, ...], params: Any, samples: Samples, lists: Any
    ) -> tuple[Any, jax.Array, jax.Array]:
        """(replicas, frames, ...) of one member; energies; whether lists were too small."""
        simulation = self.resampler.simulation
        shape = samples.energy.shape
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)
        made, energy, crowded = snapshots(
            which, simulation.potential, params, simulation.system, flat, lists,
            self.resampler.batch_size,
        )  # fmt: skip
        shaped = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), made)
        return shaped, energy.reshape(shape), crowded

    def of(
        self, params: Any, cached: Any, reference: Reference, lists: Any, errors: bool = False
    ) -> tuple[list[jax.Array], list[jax.Array], jax.Array, jax.Array]:
        """Of one member; differentiable in ``params``.

        Args:
            params: of the member.
            cached: what ``prepare`` gave.
            reference: the member's trajectories.
            lists: of one configuration.
            errors: whether to estimate variances.

        Returns:
            Values in the order of the targets; their Monte-Carlo variances, by a jackknife over
            pieces of the trajectories, or zeros; effective shares of the points; whether lists
            were too small.
        """
        samples, valid = reference.samples, reference.valid
        moving, energy, crowded = self._snapshots(self._moving, params, samples, lists)
        every = {**cached, **moving}
        points = self.resampler.points
        weighed = [point.weigh(energy, samples, valid) for point in points]
        values, variances = [], []
        for target in self.targets:
            point, log_w = points[target.point], weighed[target.point][0]
            which = jnp.asarray(point.replicas)
            flat = jax.tree.map(
                lambda x, which=which: x[which].reshape(-1, *x.shape[2:]),
                every[target.observable.name],
            )
            flat = _counting(flat, jnp.isfinite(log_w))
            value = self._reduced(target, average(log_w, flat))
            values.append(value)
            if not errors:
                variances.append(jnp.zeros_like(value))
                continue
            pieces = self._pieces(len(point.replicas), samples.energy.shape[1])
            variances.append(self._variance(target, log_w, flat, pieces))
        return values, variances, jnp.stack([w[1] for w in weighed]), crowded

    def _reduced(self, target: Target, mean: dict[str, jax.Array]) -> jax.Array:
        point = self.resampler.points[target.point]
        return reduced(target.observable, mean, self.resampler.context(point))

    def _pieces(self, replicas: int, frames: int) -> np.ndarray:
        """(replicas * frames,) which piece each frame belongs to."""
        each = min(frames, max(1, -(-PIECES // replicas)))
        place = np.arange(frames) * each // frames
        return (np.arange(replicas)[:, None] * each + place).ravel()

    def _variance(
        self, target: Target, log_w: jax.Array, flat: Any, pieces: np.ndarray
    ) -> jax.Array:
        """Leave one piece out after the other; frames of failed replicas weigh nothing."""
        count = int(pieces.max()) + 1
        member = jnp.asarray(np.arange(count)[:, None] == pieces, log_w.dtype)  # (piece, frame)
        weights = jnp.exp(log_w)
        share = member @ weights  # of each piece
        used = share > 0
        # where one piece has all the weight there is nothing left: a huge variance, and no NaN
        left = jnp.where(used, jnp.maximum(1 - share, 1e-3), 1.0)

        def without(x: jax.Array) -> jax.Array:
            whole = jnp.tensordot(weights, x, axes=1)
            parts = jnp.tensordot(member * weights, x, axes=1)
            return (whole - parts) / left.reshape(-1, *(1,) * (x.ndim - 1))

        means = jax.tree.map(without, flat)
        found = jax.vmap(lambda mean: self._reduced(target, mean))(means)
        mask = used.reshape(-1, *(1,) * (found.ndim - 1))
        number = jnp.maximum(jnp.sum(used), 1)
        centre = jnp.sum(jnp.where(mask, found, 0.0), axis=0) / number
        spread = jnp.sum(jnp.where(mask, (found - centre) ** 2, 0.0), axis=0)
        return (number - 1) / number * spread


def _counting(values: Any, counted: jax.Array) -> Any:
    """Zero where a frame does not count: those of failed trajectories may hold anything."""
    return jax.tree.map(
        lambda x: jnp.where(counted.reshape(-1, *(1,) * (x.ndim - 1)), x, 0), values
    )
