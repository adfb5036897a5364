"""Gradient estimators: what a target's gradient is made of, as wrappers that compose.

    psgld(clip_gradients(control_variates(target), 100.0), first_last(1e-4, 1e-6, 10_000), 8000)

Each wrapper returns a ``Target`` with another ``estimator``; the density itself is never changed.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from samplers.base import Batch, Estimator, Position, Target


def estimator(target: Target) -> Estimator:
    """The target's own estimator, or the automatic gradient of its mini-batch density."""
    if target.estimator is not None:
        return target.estimator
    return Estimator(
        init=lambda position: (),
        estimate=lambda state, position, batch: jax.value_and_grad(target.log_density)(
            position, batch
        ),
    )


def clip_gradients(target: Target, max_norm: float) -> Target:
    """Scale mean gradients (of one datum) down to a global norm of at most ``max_norm``.

    Keeps a chain alive where the density has cliffs.  While it acts, the law is not the target's:
    choose a norm that no equilibrium step reaches.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, not {max_norm}")
    inner = estimator(target)
    clip = optax.clip_by_global_norm(max_norm * target.data_size)

    def estimate(state: Any, position: Position, batch: Batch) -> tuple[jax.Array, Any]:
        log_density, gradient = inner.estimate(state, position, batch)
        clipped, _ = clip.update(gradient, optax.EmptyState())
        return log_density, clipped

    return target._replace(estimator=inner._replace(estimate=estimate))


class Anchor(NamedTuple):
    """A position with its full-data gradient."""

    position: Position
    gradient: Any


def control_variates(target: Target, anchor: Position | None = None) -> Target:
    """Variance-reduced gradients ``g(theta, b) - g(anchor, b) + g_full(anchor)``.

    Two mini-batch gradients a step; their noise vanishes with the distance to the anchor, so that
    larger steps keep the right law.

    Args:
        target: with an unbiased mini-batch density.
        anchor: a position that stays, best the mode (SGLD-CV: Baker, Fearnhead, Fox & Nemeth
            2019); None takes the chain's own position anew before every draw, one full-data
            gradient each time (SVRG-LD: Dubey et al. 2016) -- choose a thinning of about N/B.
    """
    inner = estimator(target)
    if inner.refresh is not None:
        raise ValueError("control variates wrap a target without refreshed state of its own")

    def here(position: Position) -> Anchor:
        return Anchor(position, jax.grad(target.log_density_full)(position))

    def init(position: Position) -> tuple[Any, Anchor]:
        return inner.init(position), here(position if anchor is None else anchor)

    def estimate(state: Any, position: Position, batch: Batch) -> tuple[jax.Array, Any]:
        own, fixed = state
        log_density, gradient = inner.estimate(own, position, batch)
        _, reference = inner.estimate(own, fixed.position, batch)
        corrected = jax.tree.map(lambda g, r, f: g - r + f, gradient, reference, fixed.gradient)
        return log_density, corrected

    def refresh(state: Any, position: Position) -> tuple[Any, Anchor]:
        return state[0], here(position)

    return target._replace(estimator=Estimator(init, estimate, refresh if anchor is None else None))


def tempered(target: Target, temperature: float) -> Target:
    """The target to the power ``1/temperature``: below 1 a cold posterior (Wenzel et al. 2020).

    For targets that know no temperature of their own; apply it once.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, not {temperature}")
    if target.estimator is not None:
        raise ValueError("temper the target first, then wrap its gradient")
    return target._replace(
        log_density=lambda position, batch: target.log_density(position, batch) / temperature,
        log_density_full=lambda position: target.log_density_full(position) / temperature,
    )


def mean_gradient(target: Target, gradient: Any) -> Any:
    """The gradient of one datum on average: the scale of preconditioners and optimisers."""
    return jax.tree.map(lambda g: g * jnp.asarray(1 / target.data_size, g.dtype), gradient)
