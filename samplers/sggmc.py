"""Gradient-guided Monte Carlo on mini-batches: OBABO with an amortised Metropolis test
(Garriga-Alonso & Fortuin 2021), and the same integrator without the test.

    O   v <- c v + sqrt((1 - c^2) G) xi,     c = exp(-friction h / 2)
    B   v <- v + (h/2) G grad log p(theta | batch)
    A   theta <- theta + h v
    B, O with the same batch

    accept theta_T with probability min(1, exp[log p(theta_T) - log p(theta_0)
                                              - sum over steps of (K after BAB - K before BAB)])

with ``K = v . G^-1 v / 2`` and the full-data density.  Every BAB is reversible under its own
batch and every O leaves ``N(0, G)`` invariant, so the test is exact for any batch size.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.drive import Drive, DriveState
from samplers.gradients import estimator
from samplers.metropolis import (
    Rate,
    StepSize,
    accept,
    check,
    draw_velocity,
    kinetic,
    refresher,
    turned,
)
from samplers.preconditioners import Preconditioner, identity
from samplers.schedules import Schedule


def _half_rub(key: jax.Array, v: Any, metric: Any, h: jax.Array, friction: float) -> Any:
    noise = tree.random_normal_like(key, v)

    def leaf(v: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
        c = jnp.exp(-0.5 * friction * h).astype(v.dtype)
        heat = -jnp.expm1(-friction * h).astype(v.dtype)
        return c * v + jnp.sqrt(heat * g) * xi

    return jax.tree.map(leaf, v, metric, noise)


def _half_kick(v: Any, gradient: Any, metric: Any, h: jax.Array) -> Any:
    return jax.tree.map(lambda v, f, g: v + 0.5 * h.astype(v.dtype) * g * f, v, gradient, metric)


def _drift(x: Any, v: Any, h: jax.Array) -> Any:
    return jax.tree.map(lambda x, v: x + h.astype(x.dtype) * v, x, v)


class SGGMCState(NamedTuple):
    """Position with its full-data log density, velocity, estimator's state and step size."""

    position: Position
    velocity: Any
    log_density: jax.Array
    estimator: Any
    rate: Rate


def sggmc(
    target: Target,
    step_size: float,
    friction: float,
    num_inner_steps: int,
    metric: Any = None,
    adapt_steps: int = 0,
    target_acceptance: float = 0.8,
) -> Sampler:
    """SGGMC; one step is ``num_inner_steps`` OBABO steps on as many batches, and one test.

    Costs two mini-batch gradients an inner step and one full-data density a step.

    Args:
        target: unbiased mini-batch density, and the full-data density of the test.
        step_size: time step ``h``, in units of position over ``sqrt(G)``.
        friction: rate of the velocity's decay, per unit of time.
        num_inner_steps: inner steps between two tests.
        metric: diagonal ``G`` (inverse mass), a pytree like the position; None is 1.
        adapt_steps: steps in which ``h`` is adapted, to be dropped as burn-in; 0 keeps it.
        target_acceptance: what it is adapted to.
    """
    check(friction, num_inner_steps)
    rates = StepSize(step_size, adapt_steps, target_acceptance)
    how = estimator(target)

    def init(key: jax.Array, position: Position) -> SGGMCState:
        g = jax.tree.map(jnp.ones_like, position) if metric is None else metric
        log_density = target.log_density_full(position)
        return SGGMCState(
            position, draw_velocity(key, g), log_density, how.init(position), rates.init()
        )

    def step(key: jax.Array, state: SGGMCState, batch: Batch) -> tuple[SGGMCState, Info]:
        h = state.rate.step_size
        g = jax.tree.map(jnp.ones_like, state.position) if metric is None else metric
        inner_key, test_key = jax.random.split(key)

        def inner(carry: Any, each: Any) -> Any:
            x, v, work = carry
            key, batch = each
            first, last = jax.random.split(key)
            v = _half_rub(first, v, g, h, friction)
            before = kinetic(v, g)
            v = _half_kick(v, how.estimate(state.estimator, x, batch)[1], g, h)
            x = _drift(x, v, h)
            v = _half_kick(v, how.estimate(state.estimator, x, batch)[1], g, h)
            work = work + (kinetic(v, g) - before).astype(work.dtype)
            return (x, _half_rub(last, v, g, h, friction), work), None

        start = (state.position, state.velocity, jnp.zeros_like(state.log_density))
        keys = jax.random.split(inner_key, num_inner_steps)
        (x, v, work), _ = jax.lax.scan(inner, start, (keys, batch))
        log_density = target.log_density_full(x)
        accepted, probability = accept(test_key, log_density - state.log_density - work)
        new = SGGMCState(
            tree.where(accepted, x, state.position),
            tree.where(accepted, v, turned(state.velocity)),
            jnp.where(accepted, log_density, state.log_density),
            state.estimator,
            rates.update(state.rate, probability),
        )
        return new, plain_info(new.log_density, h, 2 * num_inner_steps, probability)

    return Sampler(init, step, refresh=refresher(how), num_batches=num_inner_steps)


class OBABOState(NamedTuple):
    """Position, velocity, and the state of gradient, preconditioner and schedules."""

    position: Position
    velocity: Any
    drive: DriveState


def obabo(
    target: Target,
    step_size: Schedule,
    friction: float,
    preconditioner: Preconditioner | None = None,
    temperature: Schedule | None = None,
) -> Sampler:
    """OBABO Langevin dynamics without a test; the temperature schedule also scales O's noise.

    Two gradients a step where ``baoab`` needs one for a smaller bias: it is here because SGGMC
    is built on it.  Arguments as for ``baoab``.
    """
    check(friction, 1)
    drive = Drive(target, step_size, preconditioner or identity(), temperature)

    def init(key: jax.Array, position: Position) -> OBABOState:
        del key
        return OBABOState(position, jax.tree.map(jnp.zeros_like, position), drive.init(position))

    def step(key: jax.Array, state: OBABOState, batch: Batch) -> tuple[OBABOState, Info]:
        first, last = jax.random.split(key)
        driven, push = drive(state.drive, state.position, batch)
        h, g = push.step_size, push.metric
        heat = jax.tree.map(lambda g: g * push.temperature.astype(g.dtype), g)
        v = _half_rub(first, state.velocity, heat, h, friction)
        v = _half_kick(v, push.gradient, g, h)
        x = _drift(state.position, v, h)
        _, gradient = drive.estimator.estimate(driven.estimator, x, batch)
        v = _half_rub(last, _half_kick(v, gradient, g, h), heat, h, friction)
        return OBABOState(x, v, driven), plain_info(push.log_density, h, 2)

    return Sampler(init, step, refresh=drive.refresh)
