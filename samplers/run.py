"""The only loop: every sampler runs through it, all chains in one compiled program.

A *period* is the ``thinning`` steps between two draws, a *block* a few periods; the compiled
program is one block, and progress, checkpoints and draws leave the device block by block.  Keys
are derived from (seed, chain, step) and nothing else, so a resumed run repeats an unbroken one
bit for bit, and chains are independent by construction.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samplers import tree
from samplers.base import Info, Position, Sampler, State
from samplers.checkpoint import Checkpoint


class Block(NamedTuple):
    """What the loop tells its caller after each block."""

    step: int
    num_steps: int
    steps_per_second: float
    seconds_left: float
    info: Info  # numpy arrays (periods, chains)
    alive: np.ndarray  # (chains,)


class Result(NamedTuple):
    """Draws of all chains.

    Attributes:
        draws: the position's pytree with leading axes (chain, draw), numpy.
        info: ``Info`` of arrays (chain, period) over the whole run, burn-in included.
        alive: (chain,) bool; a chain that met a non-finite number stays where it was and is False.
        failed_at: (chain,) first step of failure, -1 where there was none.
        num_burn_in_periods: how many leading periods of ``info`` are burn-in.
    """

    draws: Position
    info: Info
    alive: np.ndarray
    failed_at: np.ndarray
    num_burn_in_periods: int


def run(
    key: jax.Array,
    sampler: Sampler,
    positions: Position,
    data: Any = None,
    *,
    batch_size: int | None = None,
    num_burn_in: int,
    num_draws: int,
    thinning: int = 1,
    periods_per_block: int | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    callback: Callable[[Block], None] | None = None,
) -> Result:
    """Run one chain for each leading entry of ``positions`` and return their draws.

    Args:
        key: from ``jax.random.key``.
        sampler: what to run.
        positions: pytree with a leading chain axis: one start per chain.
        data: pytree with a leading axis of N data, or None for full-data samplers.
        batch_size: data per mini-batch, drawn uniformly with replacement for every chain and step.
        num_burn_in: steps before the first period that gives a draw; a multiple of ``thinning``.
        num_draws: draws per chain.
        thinning: steps between draws.
        periods_per_block: block length; by default about a hundredth of the run.
        checkpoint: folder to write after each block and to resume from.
        fingerprint: what the checkpoint must agree with (configuration, data).
        callback: called after each block.

    Raises:
        ValueError: burn-in no multiple of thinning, a batch larger than the data, or a checkpoint
            that belongs to another run.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from samplers import Target, constant, run, sgld
        >>> log_density = lambda x, batch=None: -0.5 * jnp.sum((x - 3.0) ** 2)
        >>> target = Target(log_density, log_density, data_size=1)
        >>> result = run(jax.random.key(0), sgld(target, constant(0.1)), jnp.zeros((4, 2)),
        ...              num_burn_in=200, num_draws=500, thinning=10)
        >>> result.draws.shape, bool(abs(result.draws.mean() - 3) < 0.1)
        ((4, 500, 2), True)
    """
    if num_draws < 1 or thinning < 1:
        raise ValueError(f"num_draws and thinning must be at least 1, not {num_draws}, {thinning}")
    if num_burn_in % thinning:
        raise ValueError(f"num_burn_in={num_burn_in} must be a multiple of thinning={thinning}")
    sizes = {len(x) for x in jax.tree.leaves(data)}
    if len(sizes) > 1:
        raise ValueError(f"data arrays disagree on the number of data: {sorted(sizes)}")
    if sizes and not (batch_size and 0 < batch_size <= min(sizes)):
        raise ValueError(f"batch_size={batch_size} must lie between 1 and N={min(sizes)}")

    num_chains = len(jax.tree.leaves(positions)[0])
    burn_in_periods = num_burn_in // thinning
    periods = burn_in_periods + num_draws
    per_block = min(periods_per_block or max(1, periods // 100), periods)
    init_key, step_key = jax.random.split(key)
    chain_keys = jax.random.split(step_key, num_chains)

    block = _compile_block(sampler, batch_size if sizes else None, thinning)
    states = jax.jit(jax.vmap(sampler.init))(jax.random.split(init_key, num_chains), positions)
    alive = jax.vmap(tree.all_finite)(positions)
    failed_at = jnp.where(alive, -1, 0)
    store = Checkpoint(checkpoint, fingerprint)
    # Strong types: a weakly typed start would compile the block twice.
    start = jax.tree.map(
        lambda x: jax.lax.convert_element_type(x, x.dtype), (states, alive, failed_at)
    )
    carry, period = store.load(start)
    started, first = time.perf_counter(), period
    while period < periods:
        length = min(per_block, periods - period)
        carry, draws, info = block(carry, chain_keys, period * thinning, data, length)
        keep = np.arange(period, period + length) >= burn_in_periods
        draws = jax.tree.map(lambda x, keep=keep: np.asarray(x)[keep], draws)
        info = jax.tree.map(np.asarray, info)
        period += length
        store.append(period, carry, draws, info)
        if callback is not None:
            rate = (period - first) * thinning / (time.perf_counter() - started)
            left = (periods - period) * thinning / rate
            step, total = period * thinning, periods * thinning
            callback(Block(step, total, rate, left, info, np.asarray(carry[1])))
    all_draws, all_info = store.collect(draws_like=jax.eval_shape(jax.vmap(sampler.draw), carry[0]))
    return Result(
        jax.tree.map(lambda x: np.swapaxes(x, 0, 1), all_draws),
        jax.tree.map(lambda x: np.swapaxes(x, 0, 1), all_info),
        np.asarray(carry[1]),
        np.asarray(carry[2]),
        burn_in_periods,
    )


def _compile_block(sampler: Sampler, batch_size: int | None, thinning: int) -> Callable[..., Any]:
    """``(carry, keys, first_step, data, periods) -> (carry, draws, infos)``, jitted."""

    def chain_step(key: jax.Array, state: State, data: Any) -> tuple[State, Info, jax.Array]:
        batch_key, noise_key = jax.random.split(key)
        batch = None
        if batch_size is not None:
            size = len(jax.tree.leaves(data)[0])
            # With replacement: unbiased, independent from step to step, and no sort per step.
            index = jax.random.randint(batch_key, (batch_size,), 0, size)
            batch = jax.tree.map(lambda x: x[index], data)
        new, info = sampler.step(noise_key, state, batch)
        return new, info, tree.all_finite(new.position) & jnp.isfinite(info.log_density)

    def one_step(carry: Any, step: jax.Array, keys: jax.Array, data: Any) -> tuple[Any, Info]:
        states, alive, failed_at = carry
        step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
        new, info, finite = jax.vmap(chain_step, (0, 0, None))(step_keys, states, data)
        failed_at = jnp.where(alive & ~finite, step, failed_at)
        alive = alive & finite
        states = jax.vmap(tree.where)(alive, new, states)
        return (states, alive, failed_at), info

    def block(carry: Any, keys: jax.Array, first_step: jax.Array, data: Any, periods: int) -> Any:
        def period(carry: Any, index: jax.Array) -> Any:
            steps = first_step + index * thinning + jnp.arange(thinning)
            carry, info = jax.lax.scan(lambda c, s: one_step(c, s, keys, data), carry, steps)
            carry = (jax.vmap(sampler.refresh)(carry[0]), *carry[1:])
            return carry, (
                jax.vmap(sampler.draw)(carry[0]),
                jax.tree.map(lambda x: jnp.mean(x, axis=0), info),
            )

        carry, (draws, info) = jax.lax.scan(period, carry, jnp.arange(periods))
        return carry, draws, info

    return jax.jit(block, static_argnums=4)
