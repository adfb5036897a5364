"""What the amortised Metropolis samplers share: the test, and a step size that is adapted to it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Estimator


class Rate(NamedTuple):
    """Step size and the state of its dual averaging."""

    step_size: jax.Array
    averaging: Any
    step: jax.Array


class StepSize:
    """Constant, or adapted to an acceptance rate in the first ``adapt_steps`` steps and frozen.

    Dual averaging (Nesterov 2009; Hoffman & Gelman 2014, sec. 3.2) is blackjax's.
    """

    def __init__(self, initial: float, adapt_steps: int, target_acceptance: float) -> None:
        from blackjax.adaptation.step_size import dual_averaging_adaptation

        if not initial > 0:
            raise ValueError(f"the step size must be positive, not {initial}")
        if not 0 < target_acceptance < 1:
            raise ValueError(f"target_acceptance must lie in (0, 1), not {target_acceptance}")
        self.initial = initial
        self.adapt_steps = adapt_steps
        self._init, self._update, self._final = dual_averaging_adaptation(target_acceptance)

    def init(self) -> Rate:
        """The state at the first step."""
        averaging = jax.tree.map(jnp.asarray, self._init(self.initial))
        return Rate(jnp.asarray(self.initial, float), averaging, jnp.zeros((), jnp.int32))

    def update(self, rate: Rate, acceptance: jax.Array) -> Rate:
        """After a step that was accepted with probability ``acceptance``."""
        if self.adapt_steps == 0:
            return rate._replace(step=rate.step + 1)
        averaging = self._update(rate.averaging, acceptance)
        last = rate.step == self.adapt_steps - 1
        step_size = jnp.where(last, self._final(averaging), jnp.exp(averaging.log_step_size))
        moved = rate._replace(step_size=step_size, averaging=averaging)
        moved = tree.where(rate.step < self.adapt_steps, moved, rate)
        return moved._replace(step=rate.step + 1)


def accept(key: jax.Array, log_ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(accepted, probability); a ratio that is not a number is a rejection."""
    probability = jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
    return jax.random.uniform(key, dtype=probability.dtype) < probability, probability


def kinetic(velocity: Any, metric: Any) -> jax.Array:
    """``v . G^-1 v / 2``."""
    return 0.5 * tree.dot(velocity, jax.tree.map(jnp.divide, velocity, metric))


def draw_velocity(key: jax.Array, metric: Any) -> Any:
    """``v ~ N(0, G)``."""
    noise = tree.random_normal_like(key, metric)
    return jax.tree.map(lambda g, xi: jnp.sqrt(g) * xi, metric, noise)


def turned(velocity: Any) -> Any:
    """``-v``: after a rejection, as the chain is reversible only up to the sign of ``v``."""
    return jax.tree.map(jnp.negative, velocity)


def refresher(how: Estimator) -> Callable[[Any], Any] | None:
    """``Sampler.refresh`` for a state with fields ``position`` and ``estimator``."""
    renew = how.refresh
    if renew is None:
        return None
    return lambda state: state._replace(estimator=renew(state.estimator, state.position))


def check(friction: float, num_inner_steps: int) -> None:
    """Refuse what has no meaning."""
    if not friction > 0:
        raise ValueError(f"friction must be positive, not {friction}")
    if num_inner_steps < 1:
        raise ValueError(f"num_inner_steps must be at least 1, not {num_inner_steps}")
