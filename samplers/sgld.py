"""Stochastic-gradient Langevin dynamics (Welling & Teh 2011), with any diagonal preconditioner.

theta <- theta + (h/2) G grad log p(theta | batch) + sqrt(h G T) xi,     xi ~ N(0, 1)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.drive import Drive, DriveState, Push
from samplers.preconditioners import Preconditioner, identity
from samplers.schedules import Schedule


class SGLDState(NamedTuple):
    """Position, and the state of gradient, preconditioner and schedules."""

    position: Position
    drive: DriveState


# (key, state after the gradient, position, batch, push) -> what is added to ``G grad``
Correction = Callable[[jax.Array, DriveState, Position, Batch, Push], Any]


def sgld(
    target: Target,
    step_size: Schedule,
    preconditioner: Preconditioner | None = None,
    temperature: Schedule | None = None,
    correction: Correction | None = None,
) -> Sampler:
    """SGLD.

    The stationary law is the target's up to a bias linear in ``h`` (a Gaussian of precision
    ``P`` and gradient noise ``V`` gets variance ``(1 + hGV/4) / (1 - hGP/4)`` times its own),
    provided ``preconditioner`` stops adapting.

    Args:
        target: density with the N/B factor and the temperature inside.
        step_size: schedule of ``h``, in units of position squared over ``G``.
        preconditioner: ``G``; None is 1.
        temperature: schedule relative to the target, see ``base``; None is 1.
        correction: a further drift beside ``G grad``, such as the Gamma term of pSGLD.
    """
    drive = Drive(target, step_size, preconditioner or identity(), temperature)

    def init(key: jax.Array, position: Position) -> SGLDState:
        del key
        return SGLDState(position, drive.init(position))

    def step(key: jax.Array, state: SGLDState, batch: Batch) -> tuple[SGLDState, Info]:
        driven, push = drive(state.drive, state.position, batch)
        drift = jax.tree.map(jnp.multiply, push.metric, push.gradient)
        if correction is not None:
            key, probe_key = jax.random.split(key)
            extra = correction(probe_key, driven, state.position, batch, push)
            drift = jax.tree.map(jnp.add, drift, extra)

        def move(x: jax.Array, d: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
            h, t = push.step_size.astype(x.dtype), push.temperature.astype(x.dtype)
            return x + 0.5 * h * d + jnp.sqrt(h * t * g) * xi

        noise = tree.random_normal_like(key, state.position)
        position = jax.tree.map(move, state.position, drift, push.metric, noise)
        return SGLDState(position, driven), plain_info(push.log_density, push.step_size)

    return Sampler(init, step, refresh=drive.refresh)
