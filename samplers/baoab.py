"""Underdamped Langevin dynamics by the BAOAB splitting (Leimkuhler & Matthews 2013).

    B   v <- v + h G grad log p(theta | batch)
    A   theta <- theta + (h/2) v
    O   v <- c v + sqrt((1 - c^2) G T) xi,     c = exp(-friction h)
    A   theta <- theta + (h/2) v

The half kicks of neighbouring steps share their gradient and are merged: one gradient a step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.drive import Drive, DriveState
from samplers.preconditioners import Preconditioner, identity
from samplers.schedules import Schedule


class BAOABState(NamedTuple):
    """Position, velocity, and the state of gradient, preconditioner and schedules."""

    position: Position
    velocity: Any
    drive: DriveState


def baoab(
    target: Target,
    step_size: Schedule,
    friction: float,
    preconditioner: Preconditioner | None = None,
    temperature: Schedule | None = None,
) -> Sampler:
    """BAOAB Langevin dynamics on stochastic gradients.

    Without gradient noise its positions have the exact law of a Gaussian at any stable step size
    (``h sqrt(G P) < 2``); with it, a variance too large by ``h G V / (2 friction)`` at first
    order, for gradient noise ``V``.

    Args:
        target: density with the N/B factor and the temperature inside.
        step_size: schedule of the time step ``h``, in units of position over ``sqrt(G)``.
        friction: rate of the velocity's decay, per unit of time.
        preconditioner: ``G``, the inverse mass; None is 1.
        temperature: schedule relative to the target, see ``base``; None is 1.
    """
    if not friction > 0:
        raise ValueError(f"friction must be positive, not {friction}")
    drive = Drive(target, step_size, preconditioner or identity(), temperature)

    def init(key: jax.Array, position: Position) -> BAOABState:
        del key
        return BAOABState(position, jax.tree.map(jnp.zeros_like, position), drive.init(position))

    def step(key: jax.Array, state: BAOABState, batch: Batch) -> tuple[BAOABState, Info]:
        driven, push = drive(state.drive, state.position, batch)
        h = push.step_size

        def drift(x: jax.Array, v: jax.Array) -> jax.Array:
            return x + 0.5 * h.astype(x.dtype) * v

        def kick(v: jax.Array, grad: jax.Array, g: jax.Array) -> jax.Array:
            return v + h.astype(v.dtype) * g * grad

        def rub(v: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
            c = jnp.exp(-friction * h).astype(v.dtype)
            heat = -jnp.expm1(-2 * friction * h).astype(v.dtype)
            return c * v + jnp.sqrt(heat * g * push.temperature.astype(v.dtype)) * xi

        noise = tree.random_normal_like(key, state.position)
        v = jax.tree.map(kick, state.velocity, push.gradient, push.metric)
        x = jax.tree.map(drift, state.position, v)
        v = jax.tree.map(rub, v, push.metric, noise)
        x = jax.tree.map(drift, x, v)
        return BAOABState(x, v, driven), plain_info(push.log_density, h)

    return Sampler(init, step, refresh=drive.refresh)
