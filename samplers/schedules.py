"""Step-size schedules: functions of the step index k, starting at 0."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike

Schedule = Callable[[ArrayLike], ArrayLike]


def constant(step_size: float) -> Schedule:
    """``h_k = step_size``."""
    if not step_size > 0:
        raise ValueError(f"the step size must be positive, not {step_size}")
    return lambda step: jnp.full_like(jnp.asarray(step, float), step_size)


def polynomial(a: float, b: float, gamma: float) -> Schedule:
    """``h_k = a (b + k)^-gamma`` (Welling & Teh 2011).

    Args:
        a: scale, > 0.
        b: offset, > 0.
        gamma: decay exponent; (0.5, 1] makes the sum of squares converge.
    """
    if not (a > 0 and b > 0 and gamma >= 0):
        raise ValueError(f"a and b must be positive and gamma >= 0, not {a=}, {b=}, {gamma=}")
    return lambda step: a * (b + jnp.asarray(step, float)) ** -gamma


def first_last(first: float, last: float, num_steps: int, gamma: float = 0.33) -> Schedule:
    """The polynomial schedule through ``first`` at step 0 and ``last`` at step ``num_steps``.

    ``first == last`` is the constant schedule, the limit of the formula.

    >>> h = first_last(1e-2, 1e-4, 1000)
    >>> f"{h(0):.1e} {h(1000):.1e}"
    '1.0e-02 1.0e-04'
    """
    if not first >= last > 0:
        raise ValueError(f"step sizes must satisfy first >= last > 0, not {first=}, {last=}")
    if first == last:
        return constant(first)
    if not (gamma > 0 and num_steps > 0):
        raise ValueError(f"gamma and num_steps must be positive, not {gamma=}, {num_steps=}")
    b = num_steps / ((first / last) ** (1 / gamma) - 1)
    # first * (1 + k/b)^-gamma: the same as a (b + k)^-gamma without the overflow of a = first b^g
    return lambda step: first * (1 + jnp.asarray(step, float) / b) ** -gamma


def cosine_cycles(first: float, last: float, cycle_length: int) -> Schedule:
    """Cosine cycles from ``first`` towards ``last`` (Zhang et al. 2020, eq. 1)."""
    if not first > last >= 0:
        raise ValueError(f"step sizes must satisfy first > last >= 0, not {first=}, {last=}")
    if cycle_length < 2:
        raise ValueError(f"a cycle has at least 2 steps, not {cycle_length}")

    def schedule(step: ArrayLike) -> ArrayLike:
        part = (jnp.asarray(step) % cycle_length).astype(float) / cycle_length
        return last + 0.5 * (first - last) * (1 + jnp.cos(jnp.pi * part))

    return schedule


def warm_up(schedule: Schedule, num_steps: int) -> Schedule:
    """``schedule`` behind a linear rise over its first ``num_steps`` steps; it starts after it."""
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")

    def warmed(step: ArrayLike) -> ArrayLike:
        step = jnp.asarray(step)
        rise = jnp.minimum((step + 1) / num_steps, 1.0)
        return rise * schedule(jnp.maximum(step - num_steps, 0))

    return warmed


def hold(schedule: Schedule, num_steps: int) -> Schedule:
    """``schedule`` until ``num_steps``, and its value there ever after: fall, then stay."""
    return lambda step: schedule(jnp.minimum(jnp.asarray(step), num_steps))
