"""Diagonal preconditioners ``G``: what multiplies the drift, and under the root the noise."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree


class Preconditioner(NamedTuple):
    """``init(position) -> state``; ``update(state, mean_gradient, step) -> state``;
    ``metric(state) -> G``, a pytree like the position."""

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, jax.Array], Any]
    metric: Callable[[Any], Any]


def identity() -> Preconditioner:
    """``G = 1``."""
    return Preconditioner(
        init=lambda position: jax.tree.map(jnp.ones_like, position),
        update=lambda state, gradient, step: state,
        metric=lambda state: state,
    )


class RMSPropState(NamedTuple):
    """V and the number of updates it has seen."""

    second_moment: Any
    count: jax.Array


def _until(adapt_steps: int | None, step: jax.Array, moved: Any, state: Any) -> Any:
    """``moved`` before ``adapt_steps``, then ``state`` for ever."""
    if adapt_steps is None:
        return moved
    # at least one update: the metric of empty moments is no preconditioner
    return tree.where(step < max(adapt_steps, 1), moved, state)


def rmsprop(
    alpha: float = 0.99, lmbd: float = 1e-5, adapt_steps: int | None = None
) -> Preconditioner:
    """``G = 1/(lmbd + sqrt(V))`` with ``V <- alpha V + (1-alpha) g^2`` (Li et al. 2016, eq. 4).

    ``g`` is the mean gradient of one datum.  ``V`` is corrected for its start at zero as in Adam;
    without that the first steps are ``1/sqrt(1-alpha)`` times too large.

    A ``G`` that follows the chain for ever changes the law that is sampled: the correction of
    the paper (its Gamma term) is usually dropped, and it holds for a ``G`` that depends on the
    position alone, which a running mean does not.  Freezing ``G`` at the end of burn-in needs
    no correction, costs nothing and leaves the law right: give ``adapt_steps`` the burn-in.

    Args:
        alpha: memory of the running mean, in [0, 1).
        lmbd: floor of the square root, in units of the mean gradient of one datum.
        adapt_steps: ``G`` is frozen from this step on; None adapts for ever.
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be in [0, 1), not {alpha}")
    if not lmbd > 0:
        raise ValueError(f"lmbd must be positive, not {lmbd}")

    def init(position: Any) -> RMSPropState:
        return RMSPropState(jax.tree.map(jnp.zeros_like, position), jnp.zeros((), jnp.int32))

    def update(state: RMSPropState, gradient: Any, step: jax.Array) -> RMSPropState:
        moved = RMSPropState(
            jax.tree.map(
                lambda v, g: alpha * v + (1 - alpha) * g * g, state.second_moment, gradient
            ),
            state.count + 1,
        )
        return _until(adapt_steps, step, moved, state)

    def metric(state: RMSPropState) -> Any:
        correction = 1 - alpha ** state.count.astype(float)

        def leaf(v: jax.Array) -> jax.Array:
            return (1 / (lmbd + jnp.sqrt(v / correction))).astype(v.dtype)

        return jax.tree.map(leaf, state.second_moment)

    return Preconditioner(init, update, metric)


def fixed(metric: Any) -> Preconditioner:
    """A constant ``G``, such as an inverse mass matrix or the variance of earlier draws.

    Args:
        metric: pytree like the position, or a number for all of it; positive.
    """

    def init(position: Any) -> Any:
        if isinstance(metric, float | int):
            return jax.tree.map(lambda x: jnp.full_like(x, metric), position)
        return jax.tree.map(lambda x, m: jnp.broadcast_to(m, x.shape), position, metric)

    return Preconditioner(init, lambda state, gradient, step: state, lambda state: state)


def diagonal_fisher(
    batch_size: int, alpha: float = 0.99, damping: float = 1e-4, adapt_steps: int | None = None
) -> Preconditioner:
    """``G = 1/(damping + F)``, ``F`` the Fisher information of one datum (Ahn et al. 2012).

    ``F = B <g^2>``: at a mode the mean gradient ``g`` of a mini-batch has mean zero, and its
    variance times the batch size is the variance over data of one datum's gradient.  Away from the
    mode F is larger and steps are shorter, which is the safe side.  A step size of order ``1/N``
    moves every parameter by a share of its posterior standard deviation.

    Args:
        batch_size: B, data per mini-batch.
        alpha: memory of the running mean, in [0, 1).
        damping: added to F, in units of the squared gradient of one datum.
        adapt_steps: ``G`` is frozen from this step on, best the burn-in; None adapts for ever,
            which samples a law of its own (see ``rmsprop``).
    """
    if not damping > 0 or batch_size < 1:
        raise ValueError(f"damping and batch_size must be positive, not {damping}, {batch_size}")
    moments = rmsprop(alpha, 1.0, adapt_steps)  # for its running mean of squares

    def metric(state: RMSPropState) -> Any:
        correction = 1 - alpha ** state.count.astype(float)

        def leaf(v: jax.Array) -> jax.Array:
            return (1 / (damping + batch_size * v / correction)).astype(v.dtype)

        return jax.tree.map(leaf, state.second_moment)

    return moments._replace(metric=metric)
