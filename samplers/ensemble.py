"""Deep ensemble: every chain an independent optimisation (Lakshminarayanan et al. 2017).

    theta <- theta - optimiser(-grad log p(theta | batch) / N)

The draw of a chain is the position of its best validation loss so far.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target, plain_info
from samplers.gradients import estimator, mean_gradient


class EnsembleState(NamedTuple):
    """Position, state of the gradient and of optax, and the best position so far with its
    validation loss."""

    position: Position
    gradient: Any
    optimizer: Any
    best_position: Position
    best_loss: jax.Array


def ensemble(
    target: Target,
    optimizer: optax.GradientTransformation,
    validation_loss: Callable[[Position], jax.Array] | None = None,
) -> Sampler:
    """Optimisation behind the sampler contract; independent starts make it an ensemble.

    Args:
        target: its negative log density over N is the loss (so learning rates do not depend on N).
        optimizer: any optax transformation.
        validation_loss: evaluated before every draw of the loop; None keeps the last position.
    """

    how = estimator(target)
    if how.refresh is not None:
        raise ValueError(
            "an ensemble takes no control variates: its optimum needs no noise-free law"
        )

    def init(key: jax.Array, position: Position) -> EnsembleState:
        del key
        return EnsembleState(
            position, how.init(position), optimizer.init(position), position, jnp.asarray(jnp.inf)
        )

    def step(key: jax.Array, state: EnsembleState, batch: Batch) -> tuple[EnsembleState, Info]:
        del key
        log_density, gradient = how.estimate(state.gradient, state.position, batch)
        descent = jax.tree.map(jnp.negative, mean_gradient(target, gradient))
        updates, optimizer_state = optimizer.update(descent, state.optimizer, state.position)
        position: Any = optax.apply_updates(state.position, updates)
        new = state._replace(position=position, optimizer=optimizer_state)
        return new, plain_info(log_density, jnp.zeros(()))

    def refresh(state: EnsembleState) -> EnsembleState:
        assert validation_loss is not None
        loss = validation_loss(state.position).astype(state.best_loss.dtype)
        better = loss < state.best_loss  # False for NaN
        return state._replace(
            best_position=tree.where(better, state.position, state.best_position),
            best_loss=jnp.where(better, loss, state.best_loss),
        )

    def draw(state: EnsembleState) -> Position:
        return state.position if validation_loss is None else state.best_position

    return Sampler(init, step, draw, None if validation_loss is None else refresh)
