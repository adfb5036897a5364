"""Stochastic-gradient Hamiltonian Monte Carlo (Chen, Fox & Guestrin 2014, eq. 15).

    v     <- (1 - a) v + h G grad log p(theta | batch) + sqrt(2 a h G T - (h G)^2 V) xi
    theta <- theta + v

with friction ``a`` per step, ``v ~ N(0, h G)`` at rest, and ``V`` the variance of the mini-batch
gradient, whose heat the injected noise makes up for (the paper's beta = h V / 2).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.drive import Drive, DriveState
from samplers.preconditioners import Preconditioner, identity
from samplers.schedules import Schedule


class SGHMCState(NamedTuple):
    """Position, velocity, and the state of gradient, preconditioner and schedules."""

    position: Position
    velocity: Any
    drive: DriveState


def sghmc(
    target: Target,
    step_size: Schedule,
    friction: float = 0.1,
    preconditioner: Preconditioner | None = None,
    temperature: Schedule | None = None,
    gradient_variance: Any = 0.0,
) -> Sampler:
    """SGHMC; with ``friction=1`` it is SGLD of step size ``2h``.

    The bias of its law is linear in ``h`` through the mini-batch noise (less by
    ``gradient_variance``) and through its first-order integrator: ``baoab`` has the same cost and
    a smaller bias.

    Args:
        target: density with the N/B factor and the temperature inside.
        step_size: schedule of ``h``, in units of position squared over ``G``.
        friction: ``a``, in (0, 1].
        preconditioner: ``G``; None is 1.
        temperature: schedule relative to the target, see ``base``; None is 1.
        gradient_variance: ``V``, variance of the mini-batch gradient of the whole log density, a
            number or a pytree like the position; 0 leaves its heat in.
    """
    if not 0 < friction <= 1:
        raise ValueError(f"friction must lie in (0, 1], not {friction}")
    drive = Drive(target, step_size, preconditioner or identity(), temperature)

    def init(key: jax.Array, position: Position) -> SGHMCState:
        del key
        return SGHMCState(position, jax.tree.map(jnp.zeros_like, position), drive.init(position))

    def step(key: jax.Array, state: SGHMCState, batch: Batch) -> tuple[SGHMCState, Info]:
        driven, push = drive(state.drive, state.position, batch)
        variance = gradient_variance
        if isinstance(variance, float | int):
            variance = jax.tree.map(lambda x: jnp.full_like(x, gradient_variance), state.position)

        def kick(
            v: jax.Array, grad: jax.Array, g: jax.Array, heat: jax.Array, xi: jax.Array
        ) -> jax.Array:
            h, t = push.step_size.astype(v.dtype), push.temperature.astype(v.dtype)
            injected = jnp.maximum(2 * friction * h * g * t - (h * g) ** 2 * heat, 0)
            return (1 - friction) * v + h * g * grad + jnp.sqrt(injected) * xi

        velocity = jax.tree.map(
            kick,
            state.velocity,
            push.gradient,
            push.metric,
            variance,
            tree.random_normal_like(key, state.position),
        )
        position = jax.tree.map(jnp.add, state.position, velocity)
        return SGHMCState(position, velocity, driven), plain_info(push.log_density, push.step_size)

    return Sampler(init, step, refresh=drive.refresh)
