"""The posterior density: the one place where the N/B factor and the temperature are applied."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bayespot.data import Batch
from bayespot.likelihood import EnergyForces
from bayespot.prior import WeightPrior

Params = dict[str, Any]  # {"potential": ..., "noise": ...}


@dataclasses.dataclass(frozen=True)
class Posterior:
    """``log p(theta|D) / tau`` up to a constant.

    Attributes:
        likelihood: of energies and forces.
        prior: of the potential's weights.
        data: the training set.
        temperature: tau; 1 is Bayes, below 1 a cold posterior.
        chunk: frames evaluated at once in the full-data density.
    """

    likelihood: EnergyForces
    prior: WeightPrior
    data: Batch
    temperature: float = 1.0
    chunk: int = 64

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"the posterior temperature must be positive, not {self.temperature}")

    @property
    def data_size(self) -> int:
        """N, frames in the training set."""
        return len(self.data.energy)

    def init(self, key: jax.Array) -> Params:
        """Random weights, and noise scales at the spread of the labels."""
        system = jax.tree.map(lambda x: x[0], self.data.system)
        return {
            "potential": self.likelihood.potential.init(key, system),
            "noise": self.likelihood.init_noise(self.data),
        }

    def log_prior(self, params: Params) -> jax.Array:
        """Of weights and noise scales."""
        weights = self.prior.log_density(params["potential"])
        return weights + self.likelihood.log_prior_noise(params["noise"])

    def log_density(self, params: Params, batch: Batch) -> jax.Array:
        """``[(N/B) sum log p(y|theta) + log p(theta)] / tau``: unbiased for the full density."""
        terms = self.likelihood.log_likelihood(params["potential"], params["noise"], batch)
        return self._temper(params, jnp.mean(terms) * self.data_size)

    def log_density_full(self, params: Params) -> jax.Array:
        """The density itself, in chunks so that memory does not grow with the data."""

        def one(frame: Batch) -> jax.Array:
            single = jax.tree.map(lambda x: x[None], frame)
            terms = self.likelihood.log_likelihood(params["potential"], params["noise"], single)
            return terms[0]

        terms = jax.lax.map(one, self.data, batch_size=min(self.chunk, self.data_size))
        return self._temper(params, jnp.sum(terms))

    def _temper(self, params: Params, log_likelihood: jax.Array) -> jax.Array:
        return (log_likelihood + self.log_prior(params)) / self.temperature
