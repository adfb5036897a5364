"""Boltzmann estimators: derivatives of averages from the fluctuations of samples.

    d<g>/dtheta = <dg/dtheta> - N/((N - 1) k_B T) [<g dU/dtheta> - <g> <dU/dtheta>]

over N samples (StABlE, Raja et al., equations 6 and 8); for independent samples its mean is right
at every N.  No Jacobian is built: what the loss makes of ``g`` weighs the energies, and one sum of
them is differentiated.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bayespot.neighbors import Lists
from bayespot.observables import Context
from bayespot.potentials import Potential
from bayespot.reweight import Samples, snapshots
from bayespot.system import System
from bayespot.trainers.neighborhoods import Neighborhoods
from bayespot.trainers.targets import Target, reduced
from bayespot.units import BOLTZMANN


class Estimate(NamedTuple):
    """Of one member.

    Attributes:
        loss: sum over the targets.
        values: averages of their observables, in their order.
        crowded: whether neighbour lists were too small.
    """

    loss: Float[Array, ""]
    values: tuple[jax.Array, ...]
    crowded: Bool[Array, ""]


@dataclasses.dataclass(frozen=True, eq=False)
class Boltzmann:
    """Losses from samples that their own parameters' law gave, and their derivatives.

    Attributes:
        potential: whose law it is.
        system: species and masses.
        targets: what averages shall be.
        context: temperature and atoms (of a neighbourhood, where there are some).
        states: samples in one estimate, several of which are averaged; None takes all at once,
            which fluctuates least.
        neighborhoods: parts of the system that are samples of their own; None for the whole.
        batch_size: frames evaluated at once.
    """

    potential: Potential
    system: System
    targets: tuple[Target, ...]
    context: Context
    states: int | None = None
    neighborhoods: Neighborhoods | None = None
    batch_size: int = 8

    def measure(self, params: Any, samples: Samples, lists: Lists, key: jax.Array) -> Estimate:
        """Averages and loss.

        Args:
            params: of one member.
            samples: (frames, ...).
            lists: of one configuration.
            key: chooses neighbourhoods.
        """
        (made, _), (counted, crowded) = self._evaluate(params, samples, lists, key)
        loss, values = self._loss(_averages(made, counted))
        return Estimate(loss, values, crowded)

    def differentiate(
        self, params: Any, samples: Samples, lists: Lists, key: jax.Array
    ) -> tuple[Estimate, Any]:
        """The same, and the gradient of the loss."""
        choose, shuffle = jax.random.split(key)
        (made, energy), back, (counted, crowded) = jax.vjp(
            lambda p: self._evaluate(p, samples, lists, choose), params, has_aux=True
        )
        averages = _averages(made, counted)
        loss, slopes, values = jax.vjp(self._loss, averages, has_aux=True)
        (slope,) = slopes(jnp.ones_like(loss))
        # what the loss, linear around here, would average
        parts = jax.tree.map(lambda x, s: jnp.tensordot(x, s, s.ndim), made, slope)
        linear = sum(jax.tree.leaves(parts), jnp.zeros_like(energy))
        kT = BOLTZMANN * self.context.temperature
        weights = covariance_weights(linear, counted, kT, self.states, shuffle)
        share = counted / jnp.maximum(jnp.sum(counted), 1)
        direct = jax.tree.map(
            lambda x, s: (share.reshape(-1, *(1,) * s.ndim) * s).astype(x.dtype), made, slope
        )
        (gradient,) = back((direct, weights.astype(energy.dtype)))
        return Estimate(loss, values, crowded), gradient

    def _evaluate(self, params: Any, samples: Samples, lists: Lists, key: jax.Array) -> Any:
        """((snapshots by name, energies) of all samples, (which of them count, crowded))."""
        observables = [t.observable for t in self.targets]
        given = (self.potential, params, self.system, samples, lists, self.batch_size)
        if self.neighborhoods is None:
            made, energy, crowded = snapshots(observables, *given)
            return (made, energy), (jnp.ones(len(energy), bool), crowded)
        made, energy, deviation, crowded = self.neighborhoods.snapshots(observables, *given)
        return (made, energy), (self.neighborhoods.choose(deviation, key), crowded)

    def _loss(self, averages: dict[str, Any]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        values = tuple(
            reduced(t.observable, averages[t.observable.name], self.context) for t in self.targets
        )
        losses = [t.loss(x) for t, x in zip(self.targets, values, strict=True)]
        return jnp.sum(jnp.stack(losses)), values


def covariance_weights(
    values: Float[Array, " samples"],
    counted: Bool[Array, " samples"],
    kT: float,
    states: int | None,
    key: jax.Array,
) -> Float[Array, " samples"]:
    """Weights that make ``sum_i w_i dU_i`` the covariance part of ``d<values>``.

    Args:
        values: of each sample.
        counted: those that are to be used.
        kT: eV.
        states: samples in one estimate; None for all. Samples are shuffled, and a remainder is
            left out.
        key: shuffles.
    """
    size = len(values)
    states = size if states is None else min(states, size)
    count = jnp.sum(counted)
    each = jnp.clip(count, 1, states)
    noise = jnp.where(counted, jax.random.uniform(key, (size,)), 2.0)
    place = jnp.zeros(size, jnp.int32).at[jnp.argsort(noise)].set(jnp.arange(size, dtype=jnp.int32))
    batch, batches = place // each, jnp.maximum(count // each, 1)
    used = counted & (batch < batches)
    batch = jnp.where(used, batch, 0)
    sums = jax.ops.segment_sum(jnp.where(used, values, 0.0), batch, max(size // states, 1))
    centred = jnp.where(used, values - (sums / each)[batch], 0.0)
    return -centred / (kT * jnp.maximum(each - 1, 1) * batches)


def _averages(made: Any, counted: jax.Array) -> Any:
    share = counted / jnp.maximum(jnp.sum(counted), 1)
    return jax.tree.map(lambda x: jnp.tensordot(share.astype(x.dtype), x, 1), made)
