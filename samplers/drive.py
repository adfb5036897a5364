"""What every stochastic-gradient sampler does before it moves: gradient, metric, step size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers.base import Batch, Position, Target
from samplers.gradients import estimator, mean_gradient
from samplers.preconditioners import Preconditioner
from samplers.schedules import Schedule


class DriveState(NamedTuple):
    """State of the gradient estimator and the preconditioner, and the step index."""

    estimator: Any
    preconditioner: Any
    step: jax.Array


class Push(NamedTuple):
    """The quantities one update is made of: ``h``, ``G`` and ``T`` as in the update rules."""

    log_density: jax.Array
    gradient: Any
    mean_gradient: Any
    metric: Any
    step_size: jax.Array
    temperature: jax.Array


class Drive:
    """Gradient estimator, preconditioner and schedules, composed once for all samplers.

    Args:
        target: density with the N/B factor and the posterior temperature inside.
        step_size: schedule of ``h``.
        preconditioner: diagonal ``G``.
        temperature: schedule relative to the target; None is 1 for ever.
    """

    def __init__(
        self,
        target: Target,
        step_size: Schedule,
        preconditioner: Preconditioner,
        temperature: Schedule | None,
    ) -> None:
        self.target = target
        self.estimator = estimator(target)
        self.preconditioner = preconditioner
        self.step_size = step_size
        self.temperature = temperature

    def init(self, position: Position) -> DriveState:
        """The state at the first step."""
        return DriveState(
            self.estimator.init(position),
            self.preconditioner.init(position),
            jnp.zeros((), jnp.int32),
        )

    def __call__(
        self, state: DriveState, position: Position, batch: Batch
    ) -> tuple[DriveState, Push]:
        """One gradient, at ``position``; the metric has seen it."""
        log_density, gradient = self.estimator.estimate(state.estimator, position, batch)
        mean = mean_gradient(self.target, gradient)
        adapted = self.preconditioner.update(state.preconditioner, mean, state.step)
        push = Push(
            log_density,
            gradient,
            mean,
            self.preconditioner.metric(adapted),
            jnp.asarray(self.step_size(state.step)),
            jnp.ones(()) if self.temperature is None else jnp.asarray(self.temperature(state.step)),
        )
        return DriveState(state.estimator, adapted, state.step + 1), push

    @property
    def refresh(self) -> Any:
        """``Sampler.refresh`` for a state with fields ``position`` and ``drive``."""
        renew = self.estimator.refresh
        if renew is None:
            return None

        def refresh(state: Any) -> Any:
            drive = state.drive._replace(estimator=renew(state.drive.estimator, state.position))
            return state._replace(drive=drive)

        return refresh
