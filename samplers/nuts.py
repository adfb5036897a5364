"""No-U-Turn sampler with Stan's window adaptation, on the full data (Hoffman & Gelman 2014).

The kernel, the dual averaging and the mass-matrix estimate are blackjax's.  Its
``window_adaptation`` runs a loop of its own; here the same schedule advances one step at a time,
so that warm-up has progress, checkpoints and resumes like any other step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers.base import Batch, Info, Position, Sampler, Target


class NUTSState(NamedTuple):
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


def nuts(
    target: Target,
    num_warmup: int,
    target_acceptance: float = 0.8,
    initial_step_size: float = 0.1,
    dense_mass_matrix: bool = False,
    max_doublings: int = 10,
) -> Sampler:
    """NUTS; the first ``num_warmup`` steps adapt and must be dropped as burn-in.

    Args:
        target: its full-data density is sampled; batches are ignored.
        num_warmup: steps of Stan's three-stage adaptation.
        target_acceptance: aim of the dual averaging.
        initial_step_size: where dual averaging starts.
        dense_mass_matrix: dense instead of diagonal.
        max_doublings: trajectories are at most ``2**max_doublings`` leapfrog steps.
    """
    import blackjax.mcmc.hmc as hmc
    import blackjax.mcmc.nuts as blackjax_nuts
    from blackjax.adaptation.mass_matrix import mass_matrix_adaptation
    from blackjax.adaptation.step_size import dual_averaging_adaptation
    from blackjax.adaptation.window_adaptation import build_schedule

    if num_warmup < 20:
        raise ValueError(f"NUTS needs at least 20 warm-up steps to adapt, not {num_warmup}")
    kernel = blackjax_nuts.build_kernel()
    mass_init, mass_update, mass_final = mass_matrix_adaptation(not dense_mass_matrix)
    rate_init, rate_update, rate_final = dual_averaging_adaptation(target_acceptance)
    stages, window_ends = zip(*build_schedule(num_warmup), strict=True)
    slow_steps, end_steps = jnp.asarray(stages) == 1, jnp.asarray(window_ends)

    def init(key: jax.Array, position: Position) -> NUTSState:
        del key
        size = sum(x.size for x in jax.tree.leaves(position))
        mass_matrix = mass_init(size)
        return NUTSState(
            hmc.init(position, target.log_density_full),
            rate_init(initial_step_size),
            mass_matrix,
            mass_matrix.inverse_mass_matrix,
            jnp.asarray(initial_step_size, float),
            jnp.zeros((), jnp.int32),
        )

    def adapt(state: NUTSState, acceptance: Any) -> NUTSState:
        slow, end = slow_steps[state.step], end_steps[state.step]
        rate = rate_update(state.dual_averaging, acceptance)
        mass = _where(slow, mass_update(state.mass_matrix, state.position), state.mass_matrix)
        # At the end of a window the new mass matrix is taken and the step size starts afresh.
        closed = mass_final(mass)
        inverse = jnp.where(end, closed.inverse_mass_matrix, state.inverse_mass_matrix)
        rate = _where(end, rate_init(rate_final(rate)), rate)
        last = state.step == num_warmup - 1
        step_size = jnp.where(last, rate_final(rate), jnp.exp(rate.log_step_size))
        return state._replace(
            dual_averaging=rate,
            mass_matrix=_where(end, closed, mass),
            inverse_mass_matrix=inverse,
            step_size=step_size.astype(state.step_size.dtype),
        )

    def step(key: jax.Array, state: NUTSState, batch: Batch) -> tuple[NUTSState, Info]:
        del batch
        moved: Any
        report: Any
        moved, report = kernel(
            key,
            state.hmc,
            target.log_density_full,
            state.step_size,  # type: ignore[arg-type]  # blackjax says float, takes arrays
            state.inverse_mass_matrix,
            max_doublings,
        )
        new = state._replace(hmc=moved)
        adapted = adapt(new, report.acceptance_rate)
        new = _where(state.step < num_warmup, adapted, new)._replace(step=state.step + 1)
        dtype = moved.logdensity.dtype
        info = Info(
            moved.logdensity,
            state.step_size.astype(dtype),
            report.acceptance_rate.astype(dtype),
            report.is_divergent.astype(dtype),
        )
        return new, info

    return Sampler(init, step)


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b).astype(b.dtype), new, old)
