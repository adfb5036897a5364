"""Priors of weights and noise scales, as numpyro distributions."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from numpyro.distributions import Distribution


@dataclasses.dataclass(frozen=True)
class WeightPrior:
    """The same independent prior on every parameter of the potential.

    Attributes:
        distribution: scalar, over the reals; ``N(0, 10^2)`` is the default of methods.md.
    """

    distribution: Distribution

    @classmethod
    def normal(cls, scale: float = 10.0) -> WeightPrior:
        """``N(0, scale^2)``."""
        import numpyro.distributions as dist

        return cls(dist.Normal(0.0, scale))

    def log_density(self, params: Any) -> jax.Array:
        """Sum over all weights; 0 where there are none."""
        leaves = [jnp.sum(self.distribution.log_prob(x)) for x in jax.tree.leaves(params)]
        return jnp.sum(jnp.stack(leaves)) if leaves else jnp.zeros(())
