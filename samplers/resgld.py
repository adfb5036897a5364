"""Replica-exchange SGLD (Deng, Feng, Gao, Liang & Lin 2020) on a ladder of temperatures.

    theta_k <- theta_k + (h/2) G grad log p(theta_k | batch) + sqrt(h G T_k) xi_k

    swap k and k+1 with probability min(1, exp[d (L_{k+1} - L_k) - d^2 s^2 / 2]),
    d = 1/T_k - 1/T_{k+1},   L the current log densities

On mini-batches ``L_{k+1} - L_k`` is the mean over ``num_estimates`` batches that no gradient has
seen, the same for both replicas, and ``s^2`` the smoothed variance of that mean: with Gaussian
noise of that variance the corrected swap obeys detailed balance (Ceperley & Dewing 1999).  The
paper's sigma^2 is the variance of one energy: ``s^2 = 2 sigma^2`` for independent batches.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from samplers import tree
from samplers.base import Array, Batch, Info, Position, Sampler, Target
from samplers.drive import Drive, DriveState
from samplers.metropolis import accept
from samplers.preconditioners import Preconditioner, identity
from samplers.schedules import Schedule


class RESGLDState(NamedTuple):
    """The ladder.

    Attributes:
        position: pytree with a leading axis of replicas, coldest first.
        drive: gradients, preconditioners and schedules, with the same axis; they stay with their
            temperature when positions swap.
        variance: (K-1,) smoothed variance of the estimated differences.
        replica: (K,) which start each position came from.
        swaps: (K-1,) sum of swap probabilities.
        attempts: (K-1,) number of attempts.
        step: swap attempts so far.
    """

    position: Position
    drive: DriveState
    variance: jax.Array
    replica: jax.Array
    swaps: jax.Array
    attempts: jax.Array
    step: jax.Array


def resgld(
    target: Target,
    step_size: Schedule,
    temperatures: Sequence[float] = (1.0, 10.0),
    swap_every: int = 10,
    num_estimates: int = 4,
    smoothing: float = 0.05,
    preconditioner: Preconditioner | None = None,
    noise_correction: bool = True,
    step_factors: Sequence[float] | None = None,
) -> Sampler:
    """reSGLD with two or more temperatures; draws are the coldest replica's.

    One step is ``swap_every`` SGLD steps of all K replicas and one attempt for every other pair
    of neighbours (even pairs and odd pairs in turn).  ``Info.extra`` holds ``swap_rate`` (K-1,),
    ``swap_noise`` (the standard deviation of the estimated log ratio, K-1), ``replica`` (K,) and
    ``log_densities`` (K,).

    Args:
        target: unbiased mini-batch density.
        step_size: schedule of ``h`` over single SGLD steps.
        temperatures: the ladder relative to the target, rising; the first is what is drawn from.
        swap_every: SGLD steps between attempts.
        num_estimates: batches an attempt's energies come from; 0 takes the full-data density.
            One batch says nothing of its variance: at least 2.
        smoothing: weight of a new variance in the running mean, in (0, 1]; the first ones weigh
            more.
        preconditioner: ``G``, one for each replica; None is 1.
        noise_correction: False drops ``s^2`` and swaps too often: a control, and what a popular
            package does.
        step_factors: (K,) what ``h`` is multiplied by in each replica; None is 1 for all (a hot
            one then moves as if at ``h T_k`` in its own law).
    """
    ladder = jnp.asarray(temperatures)
    count = len(temperatures)
    if count < 2 or any(b <= a for a, b in itertools.pairwise(temperatures)):
        raise ValueError(f"temperatures must be at least two and rise, not {tuple(temperatures)}")
    if temperatures[0] <= 0 or swap_every < 1 or not 0 < smoothing <= 1:
        raise ValueError("temperatures and swap_every must be positive, smoothing in (0, 1]")
    if num_estimates == 1 or num_estimates < 0:
        raise ValueError(f"num_estimates must be 0 (full data) or at least 2, not {num_estimates}")
    factors = jnp.ones(count) if step_factors is None else jnp.asarray(step_factors)
    if factors.shape != (count,) or bool((factors <= 0).any()):
        raise ValueError(f"step_factors must be {count} positive numbers, not {step_factors}")
    drive = Drive(target, step_size, preconditioner or identity(), None)
    pairs = jnp.arange(count - 1)
    gap = 1 / ladder[:-1] - 1 / ladder[1:]

    def init(key: jax.Array, position: Position) -> RESGLDState:
        del key
        copies = jax.tree.map(lambda x: jnp.repeat(x[None], count, axis=0), position)
        nought = jnp.zeros(count - 1)
        return RESGLDState(
            copies,
            jax.vmap(drive.init)(copies),
            nought,
            jnp.arange(count),
            nought,
            nought,
            jnp.zeros((), jnp.int32),
        )

    def langevin(
        key: jax.Array,
        driven: DriveState,
        position: Position,
        heat: jax.Array,
        factor: jax.Array,
        batch: Batch,
    ) -> tuple[Position, DriveState, jax.Array, jax.Array]:
        driven, push = drive(driven, position, batch)

        def move(x: jax.Array, f: jax.Array, g: jax.Array, xi: jax.Array) -> jax.Array:
            h = (push.step_size * factor).astype(x.dtype)
            return x + 0.5 * h * g * f + jnp.sqrt(h * g * heat.astype(x.dtype)) * xi

        noise = tree.random_normal_like(key, position)
        new = jax.tree.map(move, position, push.gradient, push.metric, noise)
        return new, driven, push.log_density, push.step_size

    def energies(position: Position, batches: Batch) -> tuple[jax.Array, jax.Array]:
        """(log densities (K,), variance of the differences of neighbours' means (K-1,))."""
        if num_estimates == 0:
            return jax.vmap(target.log_density_full)(position), jnp.zeros(count - 1)
        each = jax.lax.map(
            lambda batch: jax.vmap(target.log_density, (0, None))(position, batch), batches
        )
        spread = jnp.var(jnp.diff(each, axis=1), axis=0, ddof=1) / num_estimates
        return jnp.mean(each, axis=0), spread

    def step(key: jax.Array, state: RESGLDState, batch: Batch) -> tuple[RESGLDState, Info]:
        move_key, swap_key = jax.random.split(key)

        def inner(carry: Any, each: Any) -> Any:
            position, driven = carry
            key, batch = each
            keys = jax.random.split(key, count)
            position, driven, log_density, h = jax.vmap(langevin, (0, 0, 0, 0, 0, None))(
                keys, driven, position, ladder, factors, batch
            )
            return (position, driven), (log_density[0], h[0])

        keys = jax.random.split(move_key, swap_every)
        gradients = jax.tree.map(lambda x: x[:swap_every], batch)
        (position, driven), (log_density, h) = jax.lax.scan(
            inner, (state.position, state.drive), (keys, gradients)
        )
        values, spread = energies(position, jax.tree.map(lambda x: x[swap_every:], batch))
        weight = jnp.maximum(smoothing, 1 / (state.step + 1))
        variance = (state.variance + weight * (spread - state.variance)).astype(float)
        penalty = 0.5 * gap**2 * variance if noise_correction else 0.0
        log_ratio = gap * jnp.diff(values) - penalty
        accepted, probability = jax.vmap(accept)(jax.random.split(swap_key, count - 1), log_ratio)
        turn = (pairs % 2 == state.step % 2) | (count == 2)
        order = _swapped(accepted & turn)
        new = RESGLDState(
            jax.tree.map(lambda x: x[order], position),
            driven,
            variance,
            state.replica[order],
            state.swaps + jnp.where(turn, probability, 0.0).astype(float),
            state.attempts + turn.astype(float),
            state.step + 1,
        )
        nought = jnp.zeros_like(log_density[0])
        extra: dict[str, Array] = {
            "swap_rate": new.swaps / jnp.maximum(new.attempts, 1),
            "swap_noise": gap * jnp.sqrt(variance),
            "replica": new.replica,
            "log_densities": values[order],
        }
        h = h[-1].astype(log_density.dtype)
        cost = nought + count * swap_every
        return new, Info(jnp.mean(log_density), h, nought + 1, nought, cost, extra)

    def draw(state: RESGLDState) -> Position:
        return jax.tree.map(lambda x: x[0], state.position)

    renew = drive.estimator.refresh

    def refresh(state: RESGLDState) -> RESGLDState:
        assert renew is not None
        renewed = jax.vmap(renew)(state.drive.estimator, state.position)
        return state._replace(drive=state.drive._replace(estimator=renewed))

    count_batches = swap_every + num_estimates
    return Sampler(init, step, draw, None if renew is None else refresh, count_batches)


def _swapped(accepted: jax.Array) -> jax.Array:
    """The order of replicas after swapping the accepted pairs, which never share a replica."""
    index = jnp.arange(len(accepted) + 1)
    up = jnp.append(accepted, False)
    down = jnp.concatenate([jnp.zeros(1, bool), accepted])
    return index + up.astype(int) - down.astype(int)
