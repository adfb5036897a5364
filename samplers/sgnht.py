"""Stochastic-gradient Nose-Hoover thermostat (Ding et al. 2014; splitting of Leimkuhler & Shang
2016, BADODAB).

    B   v <- v + h G grad log p(theta | batch)
    A   theta <- theta + (h/2) v
    D   z <- z + (h/2) (v . G^-1 v / n - T) / Q
    O   v <- exp(-z h) v + sqrt(a T (1 - exp(-2 z h)) / z G) xi
    D, A as before

The thermostat ``z`` finds the friction that balances the injected noise ``a`` *and* the unknown
heat of the mini-batch noise, where that heat is alike in all directions of ``G``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.drive import Drive, DriveState
from samplers.preconditioners import Preconditioner, identity
from samplers.schedules import Schedule


class SGNHTState(NamedTuple):
    """Position, velocity, thermostat, and the state of gradient, preconditioner and schedules."""

    position: Position
    velocity: Any
    thermostat: jax.Array
    drive: DriveState


def sgnht(
    target: Target,
    step_size: Schedule,
    noise: float = 1.0,
    thermostat_mass: float = 1.0,
    preconditioner: Preconditioner | None = None,
    temperature: Schedule | None = None,
) -> Sampler:
    """SGNHT.

    Args:
        target: density with the N/B factor and the temperature inside.
        step_size: schedule of the time step ``h``, in units of position over ``sqrt(G)``.
        noise: ``a``, the friction at rest without mini-batch noise, per unit of time.
        thermostat_mass: ``Q`` per degree of freedom, in units of time squared; infinity fixes the
            friction at ``noise``.
        preconditioner: ``G``, the inverse mass; None is 1.
        temperature: schedule relative to the target, see ``base``; None is 1.
    """
    if not (noise > 0 and thermostat_mass > 0):
        raise ValueError(f"noise and mass must be positive, not {noise}, {thermostat_mass}")
    drive = Drive(target, step_size, preconditioner or identity(), temperature)

    def init(key: jax.Array, position: Position) -> SGNHTState:
        del key
        nought = jax.tree.map(jnp.zeros_like, position)
        return SGNHTState(position, nought, jnp.asarray(noise, float), drive.init(position))

    def step(key: jax.Array, state: SGNHTState, batch: Batch) -> tuple[SGNHTState, Info]:
        driven, push = drive(state.drive, state.position, batch)
        h, temperature = push.step_size, push.temperature
        degrees = tree.size(state.position)

        def drift(x: jax.Array, v: jax.Array) -> jax.Array:
            return x + 0.5 * h.astype(x.dtype) * v

        def kick(v: jax.Array, grad: jax.Array, g: jax.Array) -> jax.Array:
            return v + h.astype(v.dtype) * g * grad

        def regulate(z: jax.Array, v: Any) -> jax.Array:
            kinetic = tree.dot(v, jax.tree.map(jnp.divide, v, push.metric)) / degrees
            return (z + 0.5 * h * (kinetic - temperature) / thermostat_mass).astype(z.dtype)

        def rub(z: jax.Array, v: Any) -> Any:
            near = jnp.abs(z * h) < 1e-4  # the limit 2h (1 - zh) of (1 - exp(-2zh)) / z
            safe = jnp.where(near, 1.0, z)
            ratio = jnp.where(near, 2 * h * (1 - z * h), -jnp.expm1(-2 * safe * h) / safe)
            heat = noise * temperature * ratio

            def leaf(v: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
                decay = jnp.exp(-z * h).astype(v.dtype)
                return decay * v + jnp.sqrt(heat.astype(v.dtype) * g) * xi

            xi = tree.random_normal_like(key, state.position)
            return jax.tree.map(leaf, v, push.metric, xi)

        v = jax.tree.map(kick, state.velocity, push.gradient, push.metric)
        x = jax.tree.map(drift, state.position, v)
        z = regulate(state.thermostat, v)
        v = rub(z, v)
        z = regulate(z, v)
        x = jax.tree.map(drift, x, v)
        info = plain_info(push.log_density, h)._replace(extra={"thermostat": z})
        return SGNHTState(x, v, z, driven), info

    return Sampler(init, step, refresh=drive.refresh)
