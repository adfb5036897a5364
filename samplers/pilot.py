"""Step size and burn-in from a short pilot run, by what the discretisation does to the law.

SGLD gives a Gaussian of precision ``P`` and gradient noise ``V`` the variance
``(1 + h G V / 4) / (1 - h G P / 4)`` times its own.  The pilot measures ``G V`` (mini-batch
gradients at one place) and the largest ``G P`` (power iteration on Hessian-vector products), and
takes the largest ``h`` that keeps both excesses within a tolerance.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samplers import tree
from samplers.base import Position, Sampler, Target
from samplers.gradients import estimator, mean_gradient
from samplers.preconditioners import Preconditioner, identity
from samplers.run import run
from samplers.schedules import Schedule, constant
from samplers.sgld import sgld


class Measured(NamedTuple):
    """Of each chain: ``G V`` averaged over parameters, and the largest eigenvalue of ``G P``."""

    noise: np.ndarray
    curvature: np.ndarray


class Pilot(NamedTuple):
    """What a pilot chose, and why.

    Attributes:
        step_size: ``h`` of ``sgld`` and ``psgld``.
        num_burn_in: steps from the given positions until the log density has settled, doubled and
            rounded up to hundreds.
        noise_bias: relative excess of the variance through mini-batch noise at this ``h``,
            averaged over parameters.
        curvature_bias: the same through the discretisation, in the stiffest direction.
        measured: what they come from.
        positions: where the chains ended; to go on from (then only a new preconditioner has to
            settle).
        log_density: (chain, period) of the last round.
        advice: what to mind; empty where nothing.
    """

    step_size: float
    num_burn_in: int
    noise_bias: float
    curvature_bias: float
    measured: Measured
    positions: Position
    log_density: np.ndarray
    advice: tuple[str, ...]

    def time_step(self, friction: float, tolerance: float = 0.05) -> float:
        """A time step for ``baoab`` or ``sgnht`` at this friction, to the same tolerance.

        Their excess is ``h G V / (2 friction)``; the stiffest direction needs ``h < 2 / w`` with
        ``w = sqrt(G P)``, of which a quarter is taken.
        """
        by_noise = 2 * friction * tolerance / max(float(self.measured.noise.max()), 1e-300)
        return min(by_noise, 0.5 / float(np.sqrt(self.measured.curvature.max())))


def pilot(
    key: jax.Array,
    target: Target,
    positions: Position,
    data: Any,
    batch_size: int,
    *,
    preconditioner: Preconditioner | None = None,
    tolerance: float = 0.05,
    num_steps: int = 500,
    rounds: int = 3,
    num_probes: int = 32,
    build: Callable[[Schedule], Sampler] | None = None,
) -> Pilot:
    """Choose a step size and a burn-in.

    Each round measures at the chains' positions, then runs ``num_steps`` steps at the step size
    found: the next round measures nearer to equilibrium.  The smallest step over chains is taken.

    Args:
        key: from ``jax.random.key``.
        target: what will be sampled.
        positions: starts, with a leading chain axis; optimised ones make a short burn-in.
        data, batch_size: as for ``run``.
        preconditioner: ``G`` as it will be used; None is 1.
        tolerance: relative excess of the variance allowed to each of the two biases.
        num_steps: steps of a round; a multiple of 10.
        rounds: at least 1.
        num_probes: mini-batch gradients of a measurement.
        build: the sampler that is run in each round; None is ``sgld`` with the preconditioner.
    """
    if num_steps % 10 or num_steps < 100 or rounds < 1 or num_probes < 2:
        raise ValueError("num_steps must be a multiple of 10 and at least 100, rounds 1, probes 2")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie in (0, 1), not {tolerance}")
    how = preconditioner or identity()
    make = build or (lambda schedule: sgld(target, schedule, how))
    # data as an argument: closed over, they would be compiled into the program as constants
    measure = jax.jit(
        jax.vmap(
            lambda k, x, d: _measure(k, target, how, x, d, batch_size, num_probes), (0, 0, None)
        )
    )
    chains = len(jax.tree.leaves(positions)[0])
    step_size, traces = 0.0, []
    for index in range(rounds):
        measure_key, run_key = jax.random.split(jax.random.fold_in(key, index))
        noise, curvature = measure(jax.random.split(measure_key, chains), positions, data)
        measured = Measured(np.asarray(noise, float), np.asarray(curvature, float))
        step_size = _choose(measured, tolerance)
        made = run(
            run_key, make(constant(step_size)), positions, data, batch_size=batch_size,
            num_burn_in=num_steps - 10, num_draws=1, thinning=10,
        )  # fmt: skip
        traces.append(np.asarray(made.info.log_density, float))
        if not made.alive.all():
            raise ValueError(
                f"a chain diverged in the pilot at step size {step_size:.3g}: start from optimised"
                " positions, or clip gradients"
            )
        positions = jax.tree.map(lambda x: jnp.asarray(x[:, -1]), made.draws)
    burn_in, settled = _settling(np.concatenate(traces, axis=1))
    advice = []
    if not settled:
        advice.append(
            f"the log density still drifts after {rounds * num_steps} pilot steps: burn_in is a"
            " lower bound; optimise first, or give the pilot more steps"
        )
    noise_bias = 0.25 * step_size * float(measured.noise.max())
    curvature_bias = 0.25 * step_size * float(measured.curvature.max())
    if noise_bias > 10 * curvature_bias:
        advice.append(
            "mini-batch noise limits the step, not curvature: larger batches or control_variates"
            " would allow a larger one"
        )
    return Pilot(
        step_size, burn_in, noise_bias, curvature_bias, measured, positions, traces[-1],
        tuple(advice),
    )  # fmt: skip


def _choose(measured: Measured, tolerance: float) -> float:
    if not (np.isfinite(measured.noise).all() and np.isfinite(measured.curvature).all()):
        raise ValueError("gradients at the given positions are not finite")
    worst = max(float(measured.noise.max()), float(measured.curvature.max()))
    if worst <= 0:
        raise ValueError("the density neither varies nor curves here: nothing limits the step")
    return 4 * tolerance / worst


def _measure(
    key: jax.Array,
    target: Target,
    preconditioner: Preconditioner,
    position: Position,
    data: Any,
    batch_size: int,
    num_probes: int,
) -> tuple[jax.Array, jax.Array]:
    size = len(jax.tree.leaves(data)[0])
    batch_key, start_key = jax.random.split(key)
    index = jax.random.randint(batch_key, (num_probes, batch_size), 0, size)
    how = estimator(target)
    state = how.init(position)

    def probe(carry: Any, index: jax.Array) -> Any:
        adapted, mean, square, step = carry
        batch = jax.tree.map(lambda x: jnp.asarray(x)[index], data)
        _, gradient = how.estimate(state, position, batch)
        adapted = preconditioner.update(adapted, mean_gradient(target, gradient), step)
        mean = jax.tree.map(lambda m, g: m + g / num_probes, mean, gradient)
        square = jax.tree.map(lambda s, g: s + g * g / num_probes, square, gradient)
        return (adapted, mean, square, step + 1), None

    nought = jax.tree.map(jnp.zeros_like, position)
    start = (preconditioner.init(position), nought, nought, jnp.zeros((), jnp.int32))
    (adapted, mean, square, _), _ = jax.lax.scan(probe, start, index)
    metric = preconditioner.metric(adapted)
    bessel = num_probes / (num_probes - 1)
    variance = jax.tree.map(lambda s, m: bessel * jnp.maximum(s - m * m, 0), square, mean)
    noise = tree.dot(metric, variance) / tree.size(position)

    root = jax.tree.map(jnp.sqrt, metric)
    few = index[: min(8, num_probes)]

    def product(v: Any) -> Any:
        """G^1/2 P G^1/2 v, the Hessian averaged over a few batches."""
        scaled = jax.tree.map(jnp.multiply, root, v)

        def one(index: jax.Array) -> Any:
            batch = jax.tree.map(lambda x: jnp.asarray(x)[index], data)
            slope = jax.grad(lambda x: target.log_density(x, batch))
            return jax.jvp(slope, (position,), (scaled,))[1]

        total = jax.tree.map(lambda x: -jnp.mean(x, axis=0), jax.lax.map(one, few))
        return jax.tree.map(jnp.multiply, root, total)

    def iterate(_: Any, carry: Any) -> Any:
        v, _ = carry
        moved = product(v)
        norm = jnp.sqrt(tree.dot(moved, moved))
        return jax.tree.map(lambda x: x / jnp.maximum(norm, 1e-30).astype(x.dtype), moved), norm

    v = tree.random_normal_like(start_key, position)
    norm = jnp.sqrt(tree.dot(v, v))
    v = jax.tree.map(lambda x: x / norm.astype(x.dtype), v)
    _, largest = jax.lax.fori_loop(0, 20, iterate, (v, jnp.zeros_like(norm)))
    return noise, largest


def _settling(trace: np.ndarray) -> tuple[int, bool]:
    """(twice the steps until the last chain's log density enters its final band, settled).

    The band is the mean of the last third, plus or minus twice the spread of block means there.
    """
    chains, periods = trace.shape
    width = max(1, periods // 30)
    blocks = trace[:, : periods // width * width].reshape(chains, -1, width).mean(axis=2)
    last = blocks[:, -max(3, blocks.shape[1] // 3) :]
    centre, spread = last.mean(axis=1), last.std(axis=1, ddof=1)
    outside = np.abs(blocks - centre[:, None]) > 2 * spread[:, None] + 1e-12
    # a chain has settled once it is more inside than outside from there on
    first = 0
    for row in outside:
        wrong = np.flatnonzero(row[: blocks.shape[1] - last.shape[1]])
        runs = wrong[(wrong + 1 < blocks.shape[1]) & row[np.minimum(wrong + 1, len(row) - 1)]]
        first = max(first, int(runs.max()) + 2 if len(runs) else 1)
    half = last.shape[1] // 2
    drift = last[:, half:].mean(axis=1) - last[:, :half].mean(axis=1)
    error = spread * np.sqrt(4 / last.shape[1])
    settled = bool(np.all(np.abs(drift) < 4 * error + 1e-12))
    steps = 2 * first * width * 10
    return -(-steps // 100) * 100, settled
