"""Stochastic-gradient Langevin dynamics, plain and preconditioned.

    theta <- theta + (h/2) G grad log p(theta | batch) + sqrt(h G) xi,     xi ~ N(0, 1)

Welling & Teh 2011 (G = 1); Li, Chen, Carlson & Carin 2016 (G from RMSProp).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target
from samplers.preconditioners import Preconditioner, identity, rmsprop
from samplers.schedules import Schedule


class SGLDState(NamedTuple):
    """Position, the preconditioner's state, and the step index."""

    position: Position
    preconditioner: Any
    step: jax.Array


def sgld(
    target: Target, step_size: Schedule, preconditioner: Preconditioner | None = None
) -> Sampler:
    """SGLD with any diagonal preconditioner.

    The stationary law is the target's up to a bias that is linear in ``h`` (discretisation and
    mini-batch noise), provided ``preconditioner`` stops adapting.

    Args:
        target: density with the N/B factor and the temperature inside.
        step_size: schedule of ``h``, in units of position squared over ``G``.
        preconditioner: ``G``; None is 1.
    """
    preconditioner = preconditioner or identity()

    def init(key: jax.Array, position: Position) -> SGLDState:
        del key
        return SGLDState(position, preconditioner.init(position), jnp.zeros((), jnp.int32))

    def step(key: jax.Array, state: SGLDState, batch: Batch) -> tuple[SGLDState, Info]:
        log_density, gradient = jax.value_and_grad(target.log_density)(state.position, batch)
        mean_gradient = jax.tree.map(lambda g: g / target.data_size, gradient)
        adapted = preconditioner.update(state.preconditioner, mean_gradient, state.step)
        h = jnp.asarray(step_size(state.step))

        def move(x: jax.Array, g: jax.Array, metric: jax.Array, xi: jax.Array) -> jax.Array:
            scale = h.astype(x.dtype) * metric
            return x + 0.5 * scale * g + jnp.sqrt(scale) * xi

        position = jax.tree.map(
            move,
            state.position,
            gradient,
            preconditioner.metric(adapted),
            tree.random_normal_like(key, state.position),
        )
        one = jnp.ones_like(log_density)
        info = Info(log_density, h.astype(log_density.dtype), one, jnp.zeros_like(log_density))
        return SGLDState(position, adapted, state.step + 1), info

    return Sampler(init, step)


def psgld(
    target: Target,
    step_size: Schedule,
    adapt_steps: int | None,
    alpha: float = 0.99,
    lmbd: float = 1e-5,
) -> Sampler:
    """SGLD preconditioned by RMSProp, frozen after ``adapt_steps`` so that the law stays right.

    ``adapt_steps=None`` never freezes: the variant of most codes, which drops the Gamma term of
    Li et al. 2016 and samples a law of its own.
    """
    return sgld(target, step_size, rmsprop(alpha, lmbd, adapt_steps))
