"""Hamiltonian Monte Carlo on the full data (Duane et al. 1987; Neal 2011); blackjax's kernel.

v ~ N(0, M^-1);  (theta, v) by leapfrog steps;  accepted with min(1, exp(-change of energy))
"""

from typing import Any

import jax

from samplers.base import Sampler, Target
from samplers.windows import window_adapted


def hmc(
    target: Target,
    num_warmup: int,
    num_integration_steps: int = 10,
    target_acceptance: float = 0.8,
    initial_step_size: float = 0.1,
    dense_mass_matrix: bool = False,
) -> Sampler:
    """HMC; the first ``num_warmup`` steps adapt and must be dropped as burn-in.

    Every trajectory has the same number of steps, jittered in length by one draw in
    [0.8, 1.2] of the step size: a fixed length may resonate with a mode of the target.

    Args:
        target: its full-data density is sampled; batches are ignored.
        num_warmup: steps of Stan's three-stage adaptation.
        num_integration_steps: leapfrog steps of a trajectory.
        target_acceptance: aim of the dual averaging.
        initial_step_size: where dual averaging starts.
        dense_mass_matrix: dense instead of diagonal.
    """
    import blackjax.mcmc.hmc as blackjax_hmc

    if num_integration_steps < 1:
        raise ValueError(f"at least 1 integration step is needed, not {num_integration_steps}")
    transition: Any = blackjax_hmc.build_kernel()

    def kernel(key: jax.Array, state: Any, step_size: jax.Array, inverse: jax.Array) -> Any:
        jitter_key, key = jax.random.split(key)
        # independent of the state, so every step leaves the target invariant
        jittered = step_size * jax.random.uniform(jitter_key, (), minval=0.8, maxval=1.2)
        return transition(
            key, state, target.log_density_full, jittered, inverse, num_integration_steps
        )

    return window_adapted(
        kernel, target, num_warmup, target_acceptance, initial_step_size, dense_mass_matrix
    )
