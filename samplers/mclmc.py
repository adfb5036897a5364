"""Microcanonical Langevin Monte Carlo on the full data (Robnik et al. 2023); blackjax's kernel.

The velocity keeps its length and turns towards the gradient; partial refreshment decorrelates it
over the length L.  Nothing is accepted or rejected: the law has a bias that falls with the
variance of the energy error per dimension, which sets the step size.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target


class MCLMCState(NamedTuple):
    """blackjax's chain state, step size and length, and the running sums that tune them."""

    chain: Any  # blackjax IntegratorState
    step_size: jax.Array
    length: jax.Array
    weight: jax.Array
    weighted: jax.Array
    ceiling: jax.Array
    count: jax.Array
    mean: jax.Array
    second: jax.Array
    step: jax.Array

    @property
    def position(self) -> Position:
        """The chain's current position."""
        return self.chain.position


def mclmc(
    target: Target,
    num_warmup: int,
    energy_variance: float = 5e-4,
    initial_step_size: float = 0.1,
) -> Sampler:
    """MCLMC; the first ``num_warmup`` steps tune and must be dropped as burn-in.

    The step size follows ``Var[E] ~ h^6`` (blackjax's rule, whose own tuner runs a loop of its
    own and cannot be resumed); L is the square root of the summed posterior variances, from the
    second half of warm-up.

    Args:
        target: its full-data density is sampled; batches are ignored.
        num_warmup: tuning steps.
        energy_variance: variance of the energy error per step and dimension; sets the bias.
        initial_step_size: where tuning starts, for parameters of unit scale.
    """
    import blackjax.mcmc.mclmc as blackjax_mclmc

    if num_warmup < 20:
        raise ValueError(f"MCLMC needs at least 20 warm-up steps to tune, not {num_warmup}")
    kernel: Any = blackjax_mclmc.build_kernel()
    forget = 149.0 / 151.0  # memory of 150 steps, blackjax's choice
    trust = 1.5

    def init(key: jax.Array, position: Position) -> MCLMCState:
        size = tree.size(position)
        nought = jnp.zeros(())
        flat = jnp.zeros(size)
        return MCLMCState(
            blackjax_mclmc.init(position, target.log_density_full, key),
            jnp.asarray(initial_step_size, float),
            jnp.asarray(math.sqrt(size)),
            nought,
            nought,
            jnp.asarray(jnp.inf),
            nought,
            flat,
            flat,
            jnp.zeros((), jnp.int32),
        )

    def tune(state: MCLMCState, chain: Any, energy_change: jax.Array, good: jax.Array) -> Any:
        size = tree.size(chain.position)
        ceiling = jnp.where(good, state.ceiling, 0.8 * state.step_size)
        change = jnp.where(good, energy_change, 0.0)
        excess = change**2 / (size * energy_variance) + 1e-8
        weight = jnp.exp(-0.5 * (jnp.log(excess) / (6 * trust)) ** 2)
        weighted = forget * state.weighted + weight * excess / state.step_size**6
        total = forget * state.weight + weight
        step_size = jnp.minimum((weighted / total) ** (-1 / 6), ceiling)
        late = state.step >= num_warmup // 2
        flat = ravel_pytree(chain.position)[0].astype(state.mean.dtype)
        count = state.count + late
        share = jnp.where(late, 1 / jnp.maximum(count, 1), 0.0)
        mean = state.mean + share * (flat - state.mean)
        second = state.second + share * (flat**2 - state.second)
        scale = jnp.sqrt(jnp.sum(jnp.maximum(second - mean**2, 0.0)))
        last = state.step == num_warmup - 1
        return state._replace(
            step_size=step_size,
            length=jnp.where(last, jnp.maximum(scale, step_size), state.length),
            weight=total,
            weighted=weighted,
            ceiling=ceiling,
            count=count,
            mean=mean,
            second=second,
        )

    def step(key: jax.Array, state: MCLMCState, batch: Batch) -> tuple[MCLMCState, Info]:
        del batch
        chain, report = kernel(
            key, state.chain, target.log_density_full, 1.0, state.length, state.step_size
        )
        tuned = tune(state, chain, report.energy_change, report.nonans)
        new = tree.where(state.step < num_warmup, tuned, state)
        new = new._replace(chain=chain, step=state.step + 1)
        dtype = chain.logdensity.dtype
        info = Info(
            chain.logdensity,
            state.step_size.astype(dtype),
            jnp.ones((), dtype),
            1 - report.nonans.astype(dtype),
            jnp.full((), 2, dtype),  # of the two half-steps
            {"energy_change": jnp.asarray(report.energy_change, dtype)},
        )
        return new, info

    return Sampler(init, step)
