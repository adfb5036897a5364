"""SWAG: a Gaussian around the path of SGD (Maddox, Garipov, Izmailov, Vetrov & Wilson 2019).

    draw = mean + sqrt(var / 2) z_1 + D z_2 / sqrt(2 (K - 1)),   D = the last K deviations

A cheap baseline: the Gaussian's shape is the optimiser's, not the posterior's.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.gradients import estimator, mean_gradient


class SWAGState(NamedTuple):
    """Position, optimiser, moments of the path, its last deviations, and the key of a draw."""

    position: Position
    optimizer: Any
    mean: Position
    second_moment: Position
    deviations: Any
    count: jax.Array
    key: jax.Array
    step: jax.Array


def swag(
    target: Target,
    optimizer: optax.GradientTransformation,
    collect_from: int,
    rank: int = 20,
) -> Sampler:
    """SWAG; the path is sampled once before every draw of the loop from ``collect_from`` on.

    Let burn-in reach some ``rank`` draws beyond ``collect_from``: earlier draws come from a
    Gaussian of fewer points (the position itself before the second).

    Args:
        target: its negative log density over N is the loss.
        optimizer: best SGD at a constant, high learning rate.
        collect_from: step the moments start at.
        rank: K, deviations kept; at least 2.
    """
    if rank < 2:
        raise ValueError(f"rank must be at least 2, not {rank}")
    how = estimator(target)
    if how.refresh is not None:
        raise ValueError("SWAG takes no control variates: its spread is the optimiser's noise")

    def init(key: jax.Array, position: Position) -> SWAGState:
        deviations = jax.tree.map(lambda x: jnp.zeros((rank, *x.shape), x.dtype), position)
        return SWAGState(
            position,
            optimizer.init(position),
            position,
            jax.tree.map(jnp.square, position),
            deviations,
            jnp.zeros((), jnp.int32),
            jax.random.key_data(key),
            jnp.zeros((), jnp.int32),
        )

    def step(key: jax.Array, state: SWAGState, batch: Batch) -> tuple[SWAGState, Info]:
        del key
        log_density, gradient = how.estimate(how.init(state.position), state.position, batch)
        descent = jax.tree.map(jnp.negative, mean_gradient(target, gradient))
        updates, optimizer_state = optimizer.update(descent, state.optimizer, state.position)
        position: Any = optax.apply_updates(state.position, updates)
        new = state._replace(position=position, optimizer=optimizer_state, step=state.step + 1)
        return new, plain_info(log_density, jnp.zeros(()))

    def refresh(state: SWAGState) -> SWAGState:
        collecting = state.step >= collect_from
        share = 1 / (state.count + 1).astype(float)

        def average(m: jax.Array, x: jax.Array) -> jax.Array:
            return m + share.astype(x.dtype) * (x - m)

        mean = jax.tree.map(average, state.mean, state.position)
        second = jax.tree.map(lambda s, x: average(s, x * x), state.second_moment, state.position)
        deviations = jax.tree.map(
            lambda d, x, m: d.at[state.count % rank].set(x - m),
            state.deviations,
            state.position,
            mean,
        )
        moved = state._replace(
            mean=mean, second_moment=second, deviations=deviations, count=state.count + 1
        )
        return tree.where(collecting, moved, state)

    def draw(state: SWAGState) -> Position:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        diagonal_key, low_rank_key = jax.random.split(key)
        known = jnp.minimum(state.count, rank)
        wide = tree.random_normal_like(diagonal_key, state.mean)
        z = jax.random.normal(low_rank_key, (rank,)) / jnp.sqrt(2.0 * jnp.maximum(known - 1, 1))

        def leaf(m: jax.Array, s: jax.Array, d: jax.Array, xi: jax.Array) -> jax.Array:
            diagonal = jnp.sqrt(0.5 * jnp.maximum(s - m * m, 0.0)) * xi
            return m + diagonal + jnp.tensordot(z.astype(d.dtype), d, axes=1)

        made = jax.tree.map(leaf, state.mean, state.second_moment, state.deviations, wide)
        return tree.where(state.count > 1, made, state.position)

    return Sampler(init, step, draw, refresh)
