"""What an alias call returns: JaxSGMC's ``run_fn``, its arguments and results around ``run``."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samplers.base import Info, Position, Sampler, Target
from samplers.jax_sgmc.problem import Problem, gradient_variance
from samplers.run import Block, Result, run


class Task(NamedTuple):
    """What a kernel is built for.

    Attributes:
        target: the density.
        start: of one chain.
        iterations: of the whole run.
        every: iterations between two draws.
        done: iterations before the kernel's first step.
        gradient_variance: of the mini-batch gradient, where it was measured.
    """

    target: Target
    start: Any
    iterations: int
    every: int
    done: int = 0
    gradient_variance: Any = 0.0


class Plan(NamedTuple):
    """Which iterations, counted from 1, give draws; all are multiples of ``thinning``."""

    burn_in: int
    thinning: int
    kept: np.ndarray


def plan_draws(iterations: int, burn_in: int, draws: int | None, multiple: int = 1) -> Plan:
    """``draws`` draws, evenly spread over what follows ``burn_in`` iterations.

    Args:
        iterations: of the whole run.
        burn_in: before the first draw.
        draws: None keeps every iteration.
        multiple: the thinning is a multiple of it.

    >>> plan_draws(100, 10, 4)
    Plan(burn_in=0, thinning=22, kept=array([22, 44, 66, 88]))
    """
    window = iterations - burn_in
    if burn_in < 0 or window < 1:
        raise ValueError(f"burn_in={burn_in} must lie in [0, iterations={iterations})")
    draws = window if draws is None else draws
    if not 1 <= draws <= window:
        raise ValueError(
            f"accepted_samples={draws} must lie between 1 and iterations - burn_in = {window}"
        )
    thinning = window // draws // multiple * multiple
    # the period in which burn-in ends gives the first draw at its end, after burn-in
    first = burn_in // thinning
    available = iterations // thinning - first
    index = first + (np.arange(draws) + 1) * available // draws
    return Plan(first * thinning, thinning, index * thinning)


@dataclass(frozen=True)
class Solver:
    """Runs a kernel from any number of starts.

    Attributes:
        kernel: builds the sampler.
        report: what of the kept ``Info`` joins the samples.
        problem: what is sampled.
        burn_in: iterations before the first draw.
        draws: per chain; None keeps every iteration after burn-in.
        save_to_numpy: return numpy arrays, else JAX's.
        progress_bar: report on stderr.
        steps: of the kernel an iteration.
        joined: ``iterations between two draws -> iterations a kernel step``.
        position: what of a start is a position of the target.
        measure_noise: burn in first, then give the kernel the variance of the gradient.
    """

    kernel: Callable[[Task], Sampler]
    report: Callable[[Info], dict[str, Any]]
    problem: Problem
    burn_in: int
    draws: int | None
    save_to_numpy: bool
    progress_bar: bool
    steps: int = 1
    joined: Callable[[int], int] = lambda every: 1
    position: Callable[[Any], Position] = lambda start: start
    measure_noise: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.steps < 1:
            raise ValueError(f"integration_steps must be at least 1, not {self.steps}")

    def __call__(
        self,
        *init_samples: Any,
        init_model_state: Any = None,
        iterations: int = 1000,
        key: jax.Array | None = None,
    ) -> list[dict[str, Any]]:
        """Run one chain from each of ``init_samples``; the package describes the result.

        Args:
            init_samples: pytrees of one structure; pairs of them for ``re_sgld``.
            init_model_state: for a potential with ``has_state``.
            iterations: burn-in included.
            key: of all randomness, from ``jax.random.key`` or ``PRNGKey``; None is key 0.
        """
        if not init_samples:
            raise ValueError("give at least one initial sample: each starts a chain")
        every = plan_draws(iterations, self.burn_in, self.draws).thinning
        joined = self.joined(every)
        plan = plan_draws(iterations, self.burn_in, self.draws, joined)
        starts = jax.tree.map(lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *init_samples)
        target = self.problem.target(self.position(init_samples[0]), init_model_state)
        task = Task(target, init_samples[0], iterations, every)
        run_key = _new_style(key)
        if self.measure_noise:
            run_key, burn_key, noise_key = jax.random.split(run_key, 3)
            if plan.burn_in:
                burn = Plan(0, plan.burn_in, np.array([plan.burn_in]))
                burnt = self._run(burn_key, self.kernel(task), starts, burn, joined)
                starts = jax.tree.map(lambda x: jnp.asarray(x[:, -1]), burnt.draws)
            variance = gradient_variance(noise_key, self.problem, target, starts)
            task = task._replace(done=plan.burn_in, gradient_variance=variance)
            plan = plan._replace(burn_in=0, kept=plan.kept - plan.burn_in)
        made = self._run(run_key, self.kernel(task), starts, plan, joined)
        for text in made.advice:
            warnings.warn(text, stacklevel=2)
        return self._results(made, len(plan.kept), init_model_state)

    def _run(
        self, key: jax.Array, sampler: Sampler, starts: Any, plan: Plan, joined: int
    ) -> Result:
        kept = plan.kept // joined * self.steps
        return run(
            key,
            sampler._replace(keep=lambda done: np.isin(done, kept)),
            starts,
            self.problem.arrays,
            batch_size=self.problem.batch_size,
            num_burn_in=plan.burn_in // joined * self.steps,
            num_draws=len(kept),
            thinning=plan.thinning // joined * self.steps,
            callback=_Progress() if self.progress_bar else None,
        )

    def _results(self, made: Result, count: int, state: Any) -> list[dict[str, Any]]:
        info = jax.tree.map(lambda x: x[:, made.kept], made.info)
        samples = {"variables": made.draws, **self.report(info)}
        states = jax.tree.map(lambda x: np.broadcast_to(x, (count, *np.shape(x))), state)
        convert = np.asarray if self.save_to_numpy else jnp.asarray

        def chain(index: int) -> dict[str, Any]:
            own = jax.tree.map(lambda x: x[index], samples)
            return jax.tree.map(convert, {**own, "model_state": states})

        return [
            {"sample_count": np.int32(count), "samples": chain(index)}
            for index in range(len(made.alive))
        ]


class _Progress:
    """A line on stderr each tenth of the run."""

    def __init__(self) -> None:
        self.shown = 0

    def __call__(self, block: Block) -> None:
        tenths = 10 * block.step // block.num_steps
        if tenths > self.shown:
            self.shown = tenths
            print(f"{10 * tenths} % done, {block.seconds_left:.0f} s left", file=sys.stderr)


def _new_style(key: jax.Array | None) -> jax.Array:
    if key is None:
        return jax.random.key(0)
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(key)
