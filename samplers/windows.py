"""Stan's window adaptation around any HMC-like kernel, one step at a time.

blackjax's ``window_adaptation`` runs a loop of its own; here its schedule, dual averaging and
mass-matrix estimate advance with the sampler's steps, so that warm-up has progress, checkpoints
and resumes like any other step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Batch, Info, Position, Sampler, Target


class WindowState(NamedTuple):
    """blackjax's chain and adaptation states, and what they adapted."""

    hmc: Any  # blackjax HMCState
    dual_averaging: Any
    mass_matrix: Any
    inverse_mass_matrix: jax.Array
    step_size: jax.Array
    step: jax.Array

    @property
    def position(self) -> Position:
        """The chain's current position."""
        return self.hmc.position


# (key, HMCState, step size, inverse mass matrix) -> (HMCState, blackjax info)
Kernel = Callable[[jax.Array, Any, jax.Array, jax.Array], tuple[Any, Any]]


def window_adapted(
    kernel: Kernel,
    target: Target,
    num_warmup: int,
    target_acceptance: float,
    initial_step_size: float,
    dense_mass_matrix: bool,
) -> Sampler:
    """A sampler whose first ``num_warmup`` steps adapt step size and mass matrix.

    Args:
        kernel: full-data transition on ``target.log_density_full``.
        target, num_warmup, target_acceptance, initial_step_size, dense_mass_matrix: see ``nuts``.
    """
    import blackjax.mcmc.hmc as hmc
    from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
    from blackjax.adaptation.step_size import dual_averaging_adaptation
    from blackjax.adaptation.window_adaptation import build_schedule

    if num_warmup < 20:
        raise ValueError(f"at least 20 warm-up steps are needed to adapt, not {num_warmup}")
    mass_init, mass_update, mass_final = mass_matrix_adaptation(not dense_mass_matrix)
    rate_init, rate_update, rate_final = dual_averaging_adaptation(target_acceptance)
    stages, window_ends = zip(*build_schedule(num_warmup), strict=True)
    slow_steps, end_steps = jnp.asarray(stages) == 1, jnp.asarray(window_ends)

    def init(key: jax.Array, position: Position) -> WindowState:
        del key
        mass_matrix = jax.tree.map(jnp.asarray, mass_init(tree.size(position)))
        return WindowState(
            hmc.init(position, target.log_density_full),
            jax.tree.map(jnp.asarray, rate_init(initial_step_size)),
            mass_matrix,
            mass_matrix.inverse_mass_matrix,
            jnp.asarray(initial_step_size, float),
            jnp.zeros((), jnp.int32),
        )

    def adapt(state: WindowState, acceptance: Any) -> WindowState:
        slow, end = slow_steps[state.step], end_steps[state.step]
        rate = rate_update(state.dual_averaging, acceptance)
        mass = tree.where(slow, mass_update(state.mass_matrix, state.position), state.mass_matrix)
        # At the end of a window the new mass matrix is taken and the step size starts afresh.
        closed = mass_final(mass)
        inverse = jnp.where(end, closed.inverse_mass_matrix, state.inverse_mass_matrix)
        rate = tree.where(end, rate_init(rate_final(rate)), rate)
        last = state.step == num_warmup - 1
        step_size = jnp.where(last, rate_final(rate), jnp.exp(rate.log_step_size))
        return state._replace(
            dual_averaging=rate,
            mass_matrix=tree.where(end, closed, mass),
            inverse_mass_matrix=inverse,
            step_size=step_size.astype(state.step_size.dtype),
        )

    def step(key: jax.Array, state: WindowState, batch: Batch) -> tuple[WindowState, Info]:
        del batch
        moved, report = kernel(key, state.hmc, state.step_size, state.inverse_mass_matrix)
        new = state._replace(hmc=moved)
        adapted = adapt(new, report.acceptance_rate)
        new = tree.where(state.step < num_warmup, adapted, new)._replace(step=state.step + 1)
        dtype = moved.logdensity.dtype
        info = Info(
            moved.logdensity,
            state.step_size.astype(dtype),
            report.acceptance_rate.astype(dtype),
            report.is_divergent.astype(dtype),
            jnp.asarray(report.num_integration_steps, dtype),
        )
        return new, info

    return Sampler(init, step)
