"""Measured observables in a posterior: simulation and experiment speak about the same parameters.

    O_k ~ N(<O_k>_theta, sigma_k^2 + v_k(theta))

with the average by reweighting each chain's own trajectories, and ``v_k`` its Monte-Carlo
variance.  Between blocks of the sampler, trajectories are made anew wherever the effective sample
has become too small (methods.md sections 1 and 3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.errors import UserError
from bayespot.md import Simulation
from bayespot.posterior import Posterior
from bayespot.prior import WeightPrior
from bayespot.trainers.averages import Averages
from bayespot.trainers.reference import Reference, Resampler, member_energies
from bayespot.trainers.reweighted import MOST_FAILED
from bayespot.trainers.targets import Target


class Tracked(NamedTuple):
    """What a chain carries besides its position; every leaf has a leading chain axis in a batch.

    Attributes:
        reference: the chain's trajectories.
        cached: snapshots of their frames.
        key: raw, of the next trajectories.
        lists: leaves of lists with room for the neighbours in every frame.  As parts of the state
            they make programs anew where they grow.
    """

    reference: Reference
    cached: Any
    key: Any
    lists: tuple[jax.Array, ...]


class Measurements:
    """Likelihood of measured observables; ``error`` of a target is its standard error, and its
    ``weight`` multiplies its log likelihood (below one where errors of a curve are correlated).
    """

    def __init__(
        self,
        simulation: Simulation,
        targets: Sequence[Target],
        *,
        replicas: int = 1,
        refresh: float = 0.5,
        warm_up: int = 0,
        batch_size: int = 8,
    ) -> None:
        """Args:
        simulation: with ``keep`` set; state points are its replicas of equal conditions.
        targets: what was measured.
        replicas: trajectories of each chain.
        refresh: effective share of the frames below which a chain's trajectories are made anew.
        warm_up: simulations thrown away before a chain's first that counts.
        batch_size: frames evaluated at once.

        Raises:
            UserError: a share that is none, or targets that do not fit the simulation.
        """
        if not 0 < refresh <= 1:
            raise UserError(f"refresh is {refresh}", "Give a share between 0 and 1")
        self.resampler = Resampler(simulation, replicas, warm_up=warm_up, batch_size=batch_size)
        self.averages = Averages(self.resampler, targets)
        self.refresh = refresh
        self._prepared = jax.jit(self._prepare)
        self._counted = jax.jit(self._count)

    def log_likelihood(self, params: Any, tracked: Tracked) -> Float[Array, ""]:
        """Of one chain."""
        structure = jax.tree.structure(self.resampler.lists)
        lists = jax.tree.unflatten(structure, tracked.lists)
        # they have room: those who made the snapshots saw to it
        values, variances, _, _ = self.averages.of(
            params, tracked.cached, tracked.reference, lists, errors=True
        )
        total = jnp.zeros(())
        for target, value, own in zip(self.averages.targets, values, variances, strict=True):
            variance = jnp.asarray(target.error, value.dtype) ** 2 + own
            gap = jnp.asarray(target.value, value.dtype) - value
            terms = -0.5 * (gap**2 / variance + jnp.log(2 * jnp.pi * variance))
            total = total + target.weight * jnp.sum(terms)
        return total

    def init(self, params: Any, key: jax.Array) -> Tracked:
        """Of one chain: no trajectories yet."""
        one = jax.tree.map(lambda x: x[None], params)
        empty = self.resampler.empty(one)
        shapes = jax.eval_shape(self._prepare, one, empty.samples, self.resampler.lists)[0]
        cached = jax.tree.map(lambda s: jnp.zeros(s.shape[1:], s.dtype), shapes)
        alone = empty._replace(made=empty.made[None], failed=empty.failed[None])
        lists = tuple(jax.tree.leaves(self.resampler.lists))
        return Tracked(jax.tree.map(lambda x: x[0], alone), cached, key, lists)

    def _prepare(self, params: Any, samples: Any, lists: Any) -> tuple[Any, Any]:
        made, crowded = jax.lax.map(
            lambda x: self.averages.prepare(x[0], x[1], lists), (params, samples)
        )
        return made, jnp.any(crowded)

    def _count(self, params: Any, reference: Reference, lists: Any) -> tuple[Any, Any]:
        simulation = self.resampler.simulation

        def one(x: Any) -> Any:
            params, samples, valid = x
            energy, crowded = member_energies(
                simulation.potential, params, simulation.system, samples, lists,
                self.resampler.batch_size,
            )  # fmt: skip
            left = self.resampler.fractions(energy, samples, valid)
            return jnp.where(jnp.isfinite(left), left, 0.0), crowded

        left, crowded = jax.lax.map(one, (params, reference.samples, reference.valid))
        return left, jnp.any(crowded)

    def renewed(self, params: Any, tracked: Tracked) -> Tracked:
        """All chains' trajectories, made anew where one of them needs it.

        Args:
            params: where the chains are; leading chain axis.
            tracked: likewise.

        Raises:
            UserError: all trajectories of a chain fail again and again.
        """
        first = int(tracked.reference.made[0]) == 0
        reference = tracked.reference._replace(
            made=tracked.reference.made[0], failed=tracked.reference.failed[0]
        )
        if not first:
            left = self._roomy(lambda lists: self._counted(params, reference, lists))
            reference = reference._replace(fraction=left)
            if float(left.min()) >= self.refresh:
                return self._tracked(reference, tracked.cached, tracked.key)
        keys = jax.random.wrap_key_data(tracked.key)
        use, after = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        reference = self.resampler.renew(use[0], params, reference)
        if int(reference.failed) and (first or int(reference.failed) > MOST_FAILED):
            raise UserError(
                "all trajectories of a chain failed",
                "Start from better parameters, narrow the prior, or add a repulsive prior",
            )
        cached = self._roomy(lambda lists: self._prepared(params, reference.samples, lists))
        return self._tracked(reference, cached, jax.random.key_data(after))

    def _tracked(self, reference: Reference, cached: Any, key: Any) -> Tracked:
        chains = len(reference.valid)
        made, failed, lists = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (chains, *jnp.shape(x))),
            (reference.made, reference.failed, tuple(jax.tree.leaves(self.resampler.lists))),
        )
        return Tracked(reference._replace(made=made, failed=failed), cached, key, lists)

    def _roomy(self, function: Any) -> Any:
        while True:
            made, crowded = function(self.resampler.lists)
            if not bool(crowded):
                return made
            self.resampler.grow()


@dataclasses.dataclass(frozen=True, eq=False)
class Observed:
    """``log p(theta | data, measurements)/tau`` up to a constant.

    Attributes:
        measurements: of observables.
        posterior: of energies and forces, which has prior and temperature; None where there are
            no such data.
        prior: of the parameters, where there is no ``posterior``.
        temperature: tau, where there is no ``posterior``.
        seed: of the trajectories.
    """

    measurements: Measurements
    posterior: Posterior | None = None
    prior: WeightPrior | None = None
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.posterior is None) == (self.prior is None):
            raise UserError(
                "measurements need a prior of the parameters, once",
                "Give a posterior of energies and forces, or a prior",
            )

    @property
    def tau(self) -> float:
        """Posterior temperature."""
        return self.temperature if self.posterior is None else self.posterior.temperature

    @property
    def data_size(self) -> int:
        """Frames; one where there are only measurements."""
        return 1 if self.posterior is None else self.posterior.data_size

    def init(self, key: jax.Array) -> Any:
        """Random parameters."""
        if self.posterior is not None:
            return self.posterior.init(key)
        simulation = self.measurements.resampler.simulation
        return {"potential": simulation.potential.init(key, simulation.system), "noise": {}}

    def rest(self, position: Any, batch: Any) -> jax.Array:
        """All but the measurements, tempered."""
        if self.posterior is not None:
            return self.posterior.log_density(position, batch)
        assert self.prior is not None
        return self.prior.log_density(position["potential"]) / self.tau

    def log_density(self, position: Any, tracked: Tracked, batch: Any = None) -> jax.Array:
        """Of one chain."""
        measured = self.measurements.log_likelihood(position["potential"], tracked)
        return self.rest(position, batch) + measured / self.tau
