"""The compiled part of the loop: one program runs a block of steps of all chains."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Info, Sampler, State


class Plan(NamedTuple):
    """What a block is compiled for; hashable, so that an equal call finds the program again.

    Attributes:
        sampler: what to run.
        watch: ``position -> (q,)``, followed beside the draws; None follows nothing.
        batch_size: data per mini-batch; None for full-data samplers.
        thinning: steps of a period.
        streamed: batches are given, not taken from data on the device.
    """

    sampler: Sampler
    watch: Callable[[Any], jax.Array] | None
    batch_size: int | None
    thinning: int
    streamed: bool


class Carry(NamedTuple):
    """What one block hands to the next; every leaf has a leading chain axis.

    Attributes:
        states: of the sampler.
        alive: False once a chain has met a non-finite number; it stays where it was.
        failed_at: the first step of failure, -1 where there was none.
    """

    states: State
    alive: jax.Array
    failed_at: jax.Array


@partial(jax.jit, static_argnums=0)
def start(sampler: Sampler, keys: jax.Array, positions: Any) -> Carry:
    """The first carry, one chain for each leading entry of ``positions``."""
    alive = jax.vmap(tree.all_finite)(positions)
    carry = Carry(jax.vmap(sampler.init)(keys, positions), alive, jnp.where(alive, -1, 0))
    # Strong types: a weakly typed start would compile the block twice.
    return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), carry)


@partial(jax.jit, static_argnums=(0, 4))
def run_block(
    plan: Plan, carry: Carry, keys: jax.Array, first_step: jax.Array, periods: int, data: Any
) -> tuple[Carry, Any, jax.Array, Info]:
    """``periods`` periods: (carry, draws, watched, infos), with leading axes (period, chain).

    Args:
        plan: static.
        carry: from the block before.
        keys: (chain,) one key a chain; a step's key is made from it and the step's number.
        first_step: number of the block's first step.
        periods: static.
        data: pytree with a leading axis of N data; streamed: of (periods, thinning, chain, ...).
    """
    sampler = plan.sampler

    def period(carry: Carry, each: Any) -> Any:
        index, batches = each
        steps = first_step + index * plan.thinning + jnp.arange(plan.thinning)
        carry, infos = jax.lax.scan(
            lambda c, s: _one_step(plan, c, keys, s[0], s[1], data), carry, (steps, batches)
        )
        if sampler.refresh is not None:
            carry = carry._replace(states=jax.vmap(sampler.refresh)(carry.states))
        draws = jax.vmap(sampler.draw)(carry.states)
        chains = keys.shape[0]
        watched = jnp.zeros((chains, 0)) if plan.watch is None else jax.vmap(plan.watch)(draws)
        return carry, (draws, watched, _summary(infos))

    batches = data if plan.streamed else None
    carry, made = jax.lax.scan(period, carry, (jnp.arange(periods), batches))
    return (carry, *made)


def _one_step(
    plan: Plan, carry: Carry, keys: jax.Array, step: jax.Array, batches: Any, data: Any
) -> tuple[Carry, Info]:
    step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, step)

    def chain_step(key: jax.Array, state: State, batch: Any) -> tuple[State, Info, jax.Array]:
        batch_key, noise_key = jax.random.split(key)
        if plan.batch_size is not None and not plan.streamed:
            index = batch_index(plan, batch_key, len(jax.tree.leaves(data)[0]))
            batch = jax.tree.map(lambda x: x[index], data)
        new, info = plan.sampler.step(noise_key, state, batch)
        return new, info, tree.all_finite(new.position) & jnp.isfinite(info.log_density)

    new, info, finite = jax.vmap(chain_step)(step_keys, carry.states, batches)
    failed_at = jnp.where(carry.alive & ~finite, step, carry.failed_at)
    alive = carry.alive & finite
    states = jax.vmap(tree.where)(alive, new, carry.states)
    return Carry(states, alive, failed_at), info


def _summary(infos: Info) -> Info:
    """Averages over the steps of a period; of ``extra`` the last."""
    extra = jax.tree.map(lambda x: x[-1], infos.extra)
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), infos._replace(extra={}))._replace(
        extra=extra
    )


def batch_index(plan: Plan, key: jax.Array, size: int) -> jax.Array:
    """Which data make the batches of one step of one chain.

    With replacement: unbiased, independent from step to step, and no sort per step.
    """
    assert plan.batch_size is not None
    shape: tuple[int, ...] = (plan.batch_size,)
    if plan.sampler.num_batches is not None:
        shape = (plan.sampler.num_batches, *shape)
    return jax.random.randint(key, shape, 0, size)


@partial(jax.jit, static_argnums=(0, 3, 4))
def block_indices(
    plan: Plan, keys: jax.Array, first_step: jax.Array, periods: int, size: int
) -> jax.Array:
    """The indices ``run_block`` would draw itself: (periods, thinning, chain, [batches,] B)."""

    def one(step: jax.Array, key: jax.Array) -> jax.Array:
        batch_key, _ = jax.random.split(jax.random.fold_in(key, step))
        return batch_index(plan, batch_key, size)

    steps = first_step + jnp.arange(periods * plan.thinning)
    index = jax.vmap(jax.vmap(one, (None, 0)), (0, None))(steps, keys)
    return index.reshape(periods, plan.thinning, *index.shape[1:])
