"""No-U-Turn sampler on the full data (Hoffman & Gelman 2014); the kernel is blackjax's.

A trajectory doubles forwards and backwards in time until it turns round; the next position is
drawn from it by multinomial weights.
"""

from typing import Any

import jax

from samplers.base import Sampler, Target
from samplers.windows import window_adapted


def nuts(
    target: Target,
    num_warmup: int,
    target_acceptance: float = 0.8,
    initial_step_size: float = 0.1,
    dense_mass_matrix: bool = False,
    max_doublings: int = 10,
) -> Sampler:
    """NUTS; the first ``num_warmup`` steps adapt and must be dropped as burn-in.

    Args:
        target: its full-data density is sampled; batches are ignored.
        num_warmup: steps of Stan's three-stage adaptation.
        target_acceptance: aim of the dual averaging.
        initial_step_size: where dual averaging starts.
        dense_mass_matrix: dense instead of diagonal.
        max_doublings: trajectories are at most ``2**max_doublings`` leapfrog steps.
    """
    import blackjax.mcmc.nuts as blackjax_nuts

    transition: Any = blackjax_nuts.build_kernel()

    def kernel(key: jax.Array, state: Any, step_size: jax.Array, inverse: jax.Array) -> Any:
        return transition(key, state, target.log_density_full, step_size, inverse, max_doublings)

    return window_adapted(
        kernel, target, num_warmup, target_acceptance, initial_step_size, dense_mass_matrix
    )
