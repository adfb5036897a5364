"""One step of StABlE's learning phase: observables from samples, labels besides."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from bayespot.data import Batch
from bayespot.reweight import Samples
from bayespot.trainers.boltzmann import Boltzmann, Estimate
from bayespot.trainers.label_errors import LabelErrors, component_counts


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """Members that learn go down ``sum of the targets' losses + label_weight * label loss``.

    Attributes:
        estimator: of the targets' loss and its gradient.
        optimizer: of optax.
        errors: the loss of labels.
        label_weight: lambda.
        label_frames: of a mini-batch.
    """

    estimator: Boltzmann
    optimizer: optax.GradientTransformation
    errors: LabelErrors
    label_weight: float
    label_frames: int

    def __call__(
        self,
        params: Any,
        optimizer: Any,
        positions: Float[Array, "members replicas frames atoms 3"],
        cells: Float[Array, "members replicas frames 3 3"],
        learns: Bool[Array, " members"],
        keys: Any,
        lists: Any,
        labels: Batch | None,
    ) -> tuple[Any, Any, dict[str, jax.Array], jax.Array]:
        """(parameters, optimizer, record, whether lists were too small); to be jitted.

        Members that do not learn only have their averages taken.
        """

        def one(x: Any) -> Any:
            params, optimizer, positions, cells, learns, key = x
            flat_positions, flat_cells = (y.reshape(-1, *y.shape[2:]) for y in (positions, cells))
            samples = Samples(flat_positions, flat_cells, jnp.zeros(len(flat_positions)))

            def learn() -> Any:
                return self._learn(params, optimizer, samples, lists, key, labels)

            def look() -> Any:
                found = self.estimator.measure(params, samples, lists, key)
                none = jnp.full_like(found.loss, jnp.nan)
                return params, optimizer, found, none, none

            return jax.lax.cond(learns, learn, look)

        # one after the other: those that only look are spared the derivatives
        params, optimizer, found, label_loss, norm = jax.lax.map(
            one, (params, optimizer, positions, cells, learns, keys)
        )
        record = {"loss": found.loss, "label_loss": label_loss, "gradient_norm": norm}
        for target, value in zip(self.estimator.targets, found.values, strict=True):
            record[target.observable.name] = value
        return params, optimizer, record, jnp.any(found.crowded)

    def _learn(
        self,
        params: Any,
        optimizer: Any,
        samples: Samples,
        lists: Any,
        key: jax.Array,
        labels: Batch | None,
    ) -> tuple[Any, Any, Estimate, jax.Array, jax.Array]:
        """Of one member: parameters, optimizer, averages, loss of labels, norm of the gradient."""
        estimate, choose = jax.random.split(key)
        found, gradient = self.estimator.differentiate(params, samples, lists, estimate)
        label_loss = jnp.full((), jnp.nan)
        if labels is not None:
            label_loss, slope = jax.value_and_grad(self._label_loss)(params, labels, choose)
            gradient = jax.tree.map(lambda g, s: g + self.label_weight * s, gradient, slope)
        norm = optax.tree.norm(gradient)
        updates, moved = self.optimizer.update(gradient, optimizer, params)
        there = optax.apply_updates(params, updates)
        # a wreck among the samples may have no finite energy: wait for better ones
        params, optimizer = jax.tree.map(
            lambda new, old: jnp.where(jnp.isfinite(norm), new, old),
            (there, moved),
            (params, optimizer),
        )
        dtype = found.loss.dtype
        return params, optimizer, found, label_loss.astype(dtype), norm.astype(dtype)

    def _label_loss(self, params: Any, labels: Batch, key: jax.Array) -> jax.Array:
        size = len(labels.energy)
        few = min(self.label_frames, size)
        rows = jax.random.choice(key, size, (few,), replace=False)
        batch = jax.tree.map(lambda x: x[rows], labels)
        ones = jnp.ones(few, labels.energy.dtype)
        return self.errors.loss(params, batch, ones, component_counts(labels))
