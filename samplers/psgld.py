"""SGLD preconditioned by RMSProp (Li, Chen, Carlson & Carin 2016).

theta <- theta + (h/2) [G grad log p(theta | batch) + Gamma] + sqrt(h G) xi
G = 1/(lmbd + sqrt V),  V <- alpha V + (1-alpha) g^2,  Gamma_i = dG_i / dtheta_i
"""

from typing import Any

import jax
import jax.numpy as jnp

from samplers.base import Batch, Position, Sampler, Target
from samplers.drive import DriveState, Push
from samplers.gradients import estimator, mean_gradient
from samplers.preconditioners import rmsprop
from samplers.schedules import Schedule
from samplers.sgld import sgld


def psgld(
    target: Target,
    step_size: Schedule,
    adapt_steps: int | None,
    alpha: float = 0.99,
    lmbd: float = 1e-5,
    temperature: Schedule | None = None,
    gamma_term: bool = False,
) -> Sampler:
    """pSGLD, frozen after ``adapt_steps`` so that the law is the target's.

    Two variants sample laws of their own and are here for comparison: ``adapt_steps=None`` never
    freezes and drops the Gamma term, as most codes do; with ``gamma_term=True`` it keeps the
    term.  The term is right for a ``G`` that depends on the position alone (``alpha=0`` on full
    data); for a running mean it is an approximation, and it costs a Hessian-vector product a step
    (one Rademacher probe of the diagonal of the Hessian).

    Args:
        target, step_size, temperature: as for ``sgld``.
        adapt_steps: ``G`` is frozen from this step on, best the burn-in; None adapts for ever.
        alpha: memory of the running mean of squared gradients, in [0, 1).
        lmbd: floor of ``sqrt V``, in units of the mean gradient of one datum.
        gamma_term: add Gamma; only while ``G`` adapts for ever.
    """
    preconditioner = rmsprop(alpha, lmbd, adapt_steps)
    if not gamma_term:
        return sgld(target, step_size, preconditioner, temperature)
    if adapt_steps is not None:
        raise ValueError("a frozen G has no Gamma term: give gamma_term=False or adapt_steps=None")
    how = estimator(target)

    def gamma(
        key: jax.Array, state: DriveState, position: Position, batch: Batch, push: Push
    ) -> Any:
        def gradient(x: Position) -> Any:
            return mean_gradient(target, how.estimate(state.estimator, x, batch)[1])

        leaves, treedef = jax.tree.flatten(position)
        signs = [
            jax.random.rademacher(k, x.shape, x.dtype)
            for k, x in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
        ]
        probe = jax.tree.unflatten(treedef, signs)
        _, product = jax.jvp(gradient, (position,), (probe,))
        # dG/dtheta = -G^2 d sqrt(V): both V and g^2 carry the correction for the start at zero
        weight = (1 - alpha) / (1 - alpha ** state.preconditioner.count.astype(float))

        def leaf(m: jax.Array, g: jax.Array, z: jax.Array, hz: jax.Array) -> jax.Array:
            root = jnp.maximum(1 / m - lmbd, jnp.finfo(m.dtype).tiny)
            return -m * m * weight.astype(m.dtype) * g * z * hz / root

        return jax.tree.map(leaf, push.metric, push.mean_gradient, probe, product)

    return sgld(target, step_size, preconditioner, temperature, correction=gamma)
