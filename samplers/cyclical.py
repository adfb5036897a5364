"""Cyclical stochastic-gradient MCMC (Zhang, Li, Zhang, Chen & Wilson 2020) for any sampler.

    h_k = last + (first - last) (1 + cos(pi r_k)) / 2,     r_k = (k mod C) / C

In the first part of each cycle the chain explores without noise, at large steps; draws are kept
in the rest only.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from samplers.base import Sampler
from samplers.schedules import Schedule, cosine_cycles


def cyclical(
    build: Callable[..., Sampler],
    first: float,
    cycle_length: int,
    exploration: float = 0.8,
    last: float = 0.0,
    explore_without_noise: bool = True,
) -> Sampler:
    """A sampler in cycles.

    Args:
        build: ``(step_size schedule, temperature=schedule) -> Sampler``, such as
            ``functools.partial(sgld, target)``.
        first: step size at the start of each cycle.
        cycle_length: C, in steps of the sampler.
        exploration: the part of a cycle that gives no draws, in [0, 1).
        last: step size at the end of a cycle; above 0 the last draws of a cycle still move.
        explore_without_noise: temperature 0 in that part, as in the paper; False keeps the noise,
            which on ill-conditioned targets gives draws of a better law: the noisy part is then
            not too short to warm up the chain again.

    Example:
        >>> import functools, jax.numpy as jnp
        >>> from samplers import Target, cyclical, sghmc
        >>> target = Target(lambda x, b: -0.5 * jnp.sum(x**2), lambda x: -0.5 * jnp.sum(x**2), 1)
        >>> sampler = cyclical(functools.partial(sghmc, target, friction=0.1), 1e-2, 1000)
    """
    if not 0 <= exploration < 1:
        raise ValueError(f"exploration must lie in [0, 1), not {exploration}")
    step_size: Schedule = cosine_cycles(first, last, cycle_length)

    def temperature(step: ArrayLike) -> ArrayLike:
        return jnp.where(jnp.asarray(step) % cycle_length < exploration * cycle_length, 0.0, 1.0)

    def keep(steps: np.ndarray) -> np.ndarray:
        return (steps - 1) % cycle_length >= exploration * cycle_length

    if not explore_without_noise:
        return build(step_size)._replace(keep=keep)
    return build(step_size, temperature=temperature)._replace(keep=keep)
