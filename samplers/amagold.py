"""AMAGOLD: amortised Metropolis-adjusted SGHMC (Zhang, Cooper & De Sa 2020, algorithm 1).

    theta <- theta + (h/2) v
    v'    <- [(1 - b) v + h G grad log p(theta | batch) + sqrt(4 b G) xi] / (1 + b)
    theta <- theta + (h/2) v'
    rho   <- rho - (h/2) (v + v') . grad log p(theta | batch)

    accept theta_T with probability min(1, exp[log p(theta_T) - log p(theta_0) + rho])

with the full-data density, and ``v ~ N(0, G)`` turned round at a rejection.  The friction is
taken at the midpoint of ``v`` and ``v'``, which makes every inner step reversible up to ``rho``:
the law does not depend on ``h``, ``b`` or the batch size, only the acceptance does.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.gradients import estimator
from samplers.metropolis import Rate, StepSize, accept, check, draw_velocity, refresher, turned


class AMAGOLDState(NamedTuple):
    """Position with its full-data log density, velocity, estimator's state and step size."""

    position: Position
    velocity: Any
    log_density: jax.Array
    estimator: Any
    rate: Rate


def amagold(
    target: Target,
    step_size: float,
    friction: float = 0.25,
    num_inner_steps: int = 10,
    metric: Any = None,
    adapt_steps: int = 0,
    target_acceptance: float = 0.8,
    resample_velocity: bool = False,
) -> Sampler:
    """AMAGOLD; one step is ``num_inner_steps`` inner steps on as many batches, and one test.

    Costs one mini-batch gradient an inner step and one full-data density a step.

    Args:
        target: unbiased mini-batch density, and the full-data density of the test.
        step_size: time step ``h``, constant as the method demands; in units of position over
            ``sqrt(G)``.
        friction: ``b`` per inner step, > 0.
        num_inner_steps: inner steps between two tests (the paper's T).
        metric: diagonal ``G`` (inverse mass), a pytree like the position; None is 1.
        adapt_steps: steps in which ``h`` is adapted, to be dropped as burn-in; 0 keeps it.
        target_acceptance: what it is adapted to.
        resample_velocity: draw ``v`` anew before every step instead of keeping it.
    """
    check(friction, num_inner_steps)
    rates = StepSize(step_size, adapt_steps, target_acceptance)
    how = estimator(target)

    def init(key: jax.Array, position: Position) -> AMAGOLDState:
        g = jax.tree.map(jnp.ones_like, position) if metric is None else metric
        log_density = target.log_density_full(position)
        return AMAGOLDState(
            position, draw_velocity(key, g), log_density, how.init(position), rates.init()
        )

    def step(key: jax.Array, state: AMAGOLDState, batch: Batch) -> tuple[AMAGOLDState, Info]:
        h = state.rate.step_size
        g = jax.tree.map(jnp.ones_like, state.position) if metric is None else metric
        start_key, inner_key, test_key = jax.random.split(key, 3)
        velocity = draw_velocity(start_key, g) if resample_velocity else state.velocity

        def drift(x: jax.Array, v: jax.Array) -> jax.Array:
            return x + 0.5 * h.astype(x.dtype) * v

        def kick(v: jax.Array, f: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
            heat = jnp.sqrt(4 * friction * g) * xi
            return ((1 - friction) * v + h.astype(v.dtype) * g * f + heat) / (1 + friction)

        def inner(carry: Any, each: Any) -> Any:
            x, v, rho = carry
            key, batch = each
            x = jax.tree.map(drift, x, v)
            _, gradient = how.estimate(state.estimator, x, batch)
            new = jax.tree.map(kick, v, gradient, g, tree.random_normal_like(key, v))
            work = tree.dot(jax.tree.map(jnp.add, v, new), gradient)
            return (
                jax.tree.map(drift, x, new),
                new,
                rho - (0.5 * h * work).astype(rho.dtype),
            ), None

        start = (state.position, velocity, jnp.zeros_like(state.log_density))
        keys = jax.random.split(inner_key, num_inner_steps)
        (x, v, rho), _ = jax.lax.scan(inner, start, (keys, batch))
        log_density = target.log_density_full(x)
        accepted, probability = accept(test_key, log_density - state.log_density + rho)
        new = AMAGOLDState(
            tree.where(accepted, x, state.position),
            tree.where(accepted, v, turned(velocity)),
            jnp.where(accepted, log_density, state.log_density),
            state.estimator,
            rates.update(state.rate, probability),
        )
        return new, plain_info(new.log_density, h, num_inner_steps, probability)

    return Sampler(init, step, refresh=refresher(how), num_batches=num_inner_steps)
