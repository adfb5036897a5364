"""JaxSGMC's alias calls: their arguments into our kernels'.  The table is the package's."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samplers.amagold import amagold as _amagold
from samplers.base import Info, Position, Sampler
from samplers.jax_sgmc.problem import Problem
from samplers.jax_sgmc.solver import Solver, Task
from samplers.metropolis import kinetic
from samplers.preconditioners import Preconditioner, fixed
from samplers.resgld import resgld as _resgld
from samplers.schedules import Schedule, first_last
from samplers.sggmc import obabo as _obabo
from samplers.sggmc import sggmc as _sggmc
from samplers.sghmc import sghmc as _sghmc
from samplers.sgld import sgld as _sgld

Potential = Callable[..., Any]

SWAP_EVERY = 10  # iterations between swap attempts of re_sgld, fewer where draws lie closer


def sgld(
    potential_fn: Potential,
    data_loader: Any,
    cache_size: int = 512,
    batch_size: int = 32,
    first_step_size: float = 0.05,
    last_step_size: float = 0.001,
    burn_in: int = 0,
    accepted_samples: int = 1000,
    rms_prop: bool = False,
    alpha: float = 0.9,
    lmbd: float = 1e-5,
    save_to_numpy: bool = True,
    progress_bar: bool = True,
) -> Solver:
    """Stochastic-gradient Langevin dynamics, preconditioned by RMSProp if asked.

    Args:
        potential_fn: from ``potential.minibatch_potential``.
        data_loader: ``NumpyDataLoader`` or ``DeviceNumpyDataLoader``.
        cache_size: no effect.
        batch_size: data per mini-batch.  Its noise widens the law, in variance by the factor
            ``1 + eps G V / 2`` for a gradient of variance ``V``.
        first_step_size, last_step_size: ``eps``, half of ``h``.
        burn_in: iterations before the first draw.  RMSProp's ``G`` adapts until then; without
            burn-in over the first tenth of the run; for ten times its memory in any case.
        accepted_samples: draws per chain.
        rms_prop: precondition.
        alpha: memory of the squared gradient, in [0, 1).
        lmbd: floor of its root, in units of the gradient of all data.
        save_to_numpy: return numpy arrays, else JAX's.
        progress_bar: report on stderr.
    """
    del cache_size

    def kernel(task: Task) -> Sampler:
        eps = _schedule(first_step_size, last_step_size, task)
        adapt = max(burn_in or task.iterations // 10, math.ceil(10 / (1 - alpha)))
        metric = _rms_prop(task.target.data_size, alpha, lmbd, adapt) if rms_prop else None
        return _sgld(task.target, lambda step: 2 * eps(step), metric)

    problem = Problem(potential_fn, data_loader, batch_size)
    return Solver(
        kernel, _likelihood, problem, burn_in, accepted_samples, save_to_numpy, progress_bar
    )


def re_sgld(
    potential_fn: Potential,
    data_loader: Any,
    cache_size: int = 512,
    batch_size: int = 32,
    temperature: float = 1000.0,
    first_step_size: float = 0.05,
    last_step_size: float = 0.001,
    burn_in: int = 0,
    accepted_samples: int = 100,
    save_to_numpy: bool = True,
    progress_bar: bool = True,
) -> Solver:
    """Replica-exchange SGLD of a cold and a hot chain; draws are the cold one's.

    Each start is a pair (cold, hot).  A swap is tried every ``SWAP_EVERY`` iterations, or at each
    draw where draws lie closer, and judged on batches of its own.  One hot chain at the default
    temperature hardly ever swaps; a warning says so.

    Args:
        temperature: of the hot chain, above 1.
        potential_fn, data_loader, cache_size, batch_size, first_step_size, last_step_size: as
            for ``sgld``.
        burn_in, accepted_samples, save_to_numpy, progress_bar: as for ``sgld``.
    """
    del cache_size

    def joined(every: int) -> int:
        return min(SWAP_EVERY, every)

    def kernel(task: Task) -> Sampler:
        eps = _schedule(first_step_size, last_step_size, task)
        ladder = (1.0, float(temperature))
        sampler = _resgld(task.target, lambda step: 2 * eps(step), ladder, joined(task.every))

        def init(key: jax.Array, start: Any) -> Any:
            pair = jax.tree.map(lambda *x: jnp.stack(x), *start)
            return sampler.init(key, start[0])._replace(position=pair)

        return sampler._replace(init=init)

    problem = Problem(potential_fn, data_loader, batch_size)
    return Solver(
        kernel, _likelihood, problem, burn_in, accepted_samples, save_to_numpy, progress_bar,
        joined=joined, position=lambda start: start[0],
    )  # fmt: skip


def amagold(
    stochastic_potential_fn: Potential,
    full_potential_fn: Potential,
    data_loader: Any,
    cache_size: int = 512,
    batch_size: int = 32,
    integration_steps: int = 10,
    friction: float = 0.25,
    first_step_size: float = 0.001,
    last_step_size: float = 0.001,
    adaptive_step_size: bool = False,
    stabilization_constant: int = 10,
    decay_constant: float = 0.75,
    speed_constant: float = 0.05,
    target_acceptance_rate: float = 0.25,
    burn_in: int = 0,
    accepted_samples: int | None = None,
    mass: Any = None,
    save_to_numpy: bool = True,
    progress_bar: bool = True,
) -> Solver:
    """Amortised Metropolis-adjusted SGHMC: no bias at any step size, friction or batch size.

    Args:
        stochastic_potential_fn: from ``potential.minibatch_potential``.
        full_potential_fn: from ``potential.full_potential``; evaluated once an iteration.
        data_loader, cache_size, batch_size: as for ``sgld``.
        integration_steps: inner steps an iteration, each on a batch of its own.
        friction: decay rate of the momentum, per unit of time.
        first_step_size, last_step_size: time step; it changes between iterations only.
        adaptive_step_size: start at ``first_step_size``, adapt over the burn-in, then stay.
        stabilization_constant, decay_constant, speed_constant: no effect; the adaptation has
            their defaults.
        target_acceptance_rate: what the step size is adapted to.
        burn_in: iterations before the first draw.
        accepted_samples: draws per chain; None keeps every iteration after burn-in.
        mass: diagonal, a pytree like the sample or one number; None is 1.
        save_to_numpy, progress_bar: as for ``sgld``.
    """
    del cache_size, stabilization_constant, decay_constant, speed_constant

    def kernel(task: Task) -> Sampler:
        metric = _metric(mass, task.start)
        adapt = burn_in if adaptive_step_size else 0
        sampler = _amagold(
            task.target, first_step_size, friction * first_step_size, integration_steps, metric,
            adapt, target_acceptance_rate,
        )  # fmt: skip
        eps = None if adaptive_step_size else _schedule(first_step_size, last_step_size, task)
        return _tested(sampler, eps, metric)

    problem = Problem(stochastic_potential_fn, data_loader, batch_size, full_potential_fn)
    return Solver(kernel, _test, problem, burn_in, accepted_samples, save_to_numpy, progress_bar)


def sggmc(
    stochastic_potential_fn: Potential,
    full_potential_fn: Potential,
    data_loader: Any,
    cache_size: int = 512,
    batch_size: int = 32,
    integration_steps: int = 10,
    friction_coefficient: float = 1.0,
    first_step_size: float = 0.001,
    last_step_size: float = 0.001,
    adaptive_step_size: bool = False,
    stabilization_constant: int = 10,
    decay_constant: float = 0.75,
    speed_constant: float = 0.05,
    target_acceptance_rate: float = 0.25,
    burn_in: int = 0,
    accepted_samples: int | None = None,
    mass: Any = None,
    save_to_numpy: bool = True,
    progress_bar: bool = True,
) -> Solver:
    """Gradient-guided Monte Carlo: no bias at any step size, friction or batch size.

    Args:
        friction_coefficient: decay rate of the velocity, per unit of time.
        stochastic_potential_fn, full_potential_fn, integration_steps, mass: as for ``amagold``.
        first_step_size, last_step_size, adaptive_step_size, target_acceptance_rate: likewise.
        stabilization_constant, decay_constant, speed_constant, accepted_samples: likewise.
        data_loader, cache_size, batch_size, burn_in, save_to_numpy, progress_bar: as for ``sgld``.
    """
    del cache_size, stabilization_constant, decay_constant, speed_constant

    def kernel(task: Task) -> Sampler:
        metric = _metric(mass, task.start)
        adapt = burn_in if adaptive_step_size else 0
        sampler = _sggmc(
            task.target, first_step_size, friction_coefficient, integration_steps, metric,
            adapt, target_acceptance_rate,
        )  # fmt: skip
        eps = None if adaptive_step_size else _schedule(first_step_size, last_step_size, task)
        return _tested(sampler, eps, metric)

    def report(info: Info) -> dict[str, Any]:
        return {**_test(info), **info.extra}

    problem = Problem(stochastic_potential_fn, data_loader, batch_size, full_potential_fn)
    return Solver(kernel, report, problem, burn_in, accepted_samples, save_to_numpy, progress_bar)


def sghmc(
    potential_fn: Potential,
    data_loader: Any,
    cache_size: int = 512,
    batch_size: int = 32,
    integration_steps: int = 10,
    friction: Any = 1.0,
    mass: Any = None,
    first_step_size: float = 0.05,
    last_step_size: float = 0.001,
    burn_in: int = 0,
    accepted_samples: int = 1000,
    adapt_noise_model: bool = False,
    diagonal_noise: bool = True,
    save_to_numpy: bool = True,
    progress_bar: bool = True,
) -> Solver:
    """Stochastic-gradient Hamiltonian Monte Carlo.

    Args:
        potential_fn, data_loader, cache_size, batch_size: as for ``sgld``.
        integration_steps: steps an iteration; the inverse is part of the friction, as the package
            says.
        friction: ``C``, a number or a pytree like the sample.  One rate moves all: the mean of
            ``C/M``.  It decides how fast a chain forgets, not what it samples.
        mass: diagonal, a pytree like the sample or one number; None is 1.
        first_step_size, last_step_size: time step.
        adapt_noise_model: measure the variance of the mini-batch gradient after burn-in, and
            inject that much less noise.
        diagonal_noise: no effect; the variance is diagonal.
        burn_in, accepted_samples, save_to_numpy, progress_bar: as for ``sgld``.
    """
    del cache_size, diagonal_noise

    def kernel(task: Task) -> Sampler:
        eps = _schedule(first_step_size, last_step_size, task, integration_steps)
        metric = _metric(mass, task.start)
        a = _mean_rate(friction, metric, task.start) * first_step_size + 2 / integration_steps
        return _sghmc(
            task.target, lambda step: eps(step) ** 2, min(1.0, a), _preconditioner(metric),
            gradient_variance=task.gradient_variance,
        )  # fmt: skip

    problem = Problem(potential_fn, data_loader, batch_size)
    return Solver(
        kernel, _energy, problem, burn_in, accepted_samples, save_to_numpy, progress_bar,
        steps=integration_steps, measure_noise=adapt_noise_model,
    )  # fmt: skip


def obabo(
    potential_fn: Potential,
    data_loader: Any,
    cache_size: int = 512,
    batch_size: int = 32,
    integration_steps: int = 10,
    friction: float = 1.0,
    mass: Any = None,
    first_step_size: float = 0.05,
    last_step_size: float = 0.001,
    burn_in: int = 0,
    accepted_samples: int = 1000,
    save_to_numpy: bool = True,
    progress_bar: bool = True,
) -> Solver:
    """Underdamped Langevin dynamics by the OBABO splitting, without a test.

    Args:
        potential_fn, data_loader, cache_size, batch_size: as for ``sgld``.
        integration_steps: steps an iteration; the velocity lives on from one to the next.
        friction: decay rate of the velocity, per unit of time.
        mass: diagonal, a pytree like the sample or one number; None is 1.
        first_step_size, last_step_size: time step.
        burn_in, accepted_samples, save_to_numpy, progress_bar: as for ``sgld``.
    """
    del cache_size

    def kernel(task: Task) -> Sampler:
        eps = _schedule(first_step_size, last_step_size, task, integration_steps)
        metric = _preconditioner(_metric(mass, task.start))
        return _obabo(task.target, eps, float(friction), metric)

    problem = Problem(potential_fn, data_loader, batch_size)
    return Solver(
        kernel, _energy, problem, burn_in, accepted_samples, save_to_numpy, progress_bar,
        steps=integration_steps,
    )  # fmt: skip


def _likelihood(info: Info) -> dict[str, Any]:
    return {"likelihood": info.log_density}


def _energy(info: Info) -> dict[str, Any]:
    return {"energy": -info.log_density}


def _test(info: Info) -> dict[str, Any]:
    return {
        "energy": info.extra["potential"],
        "acceptance_ratio": info.acceptance,
        "step_size": info.step_size,
    }


def _schedule(first: float, last: float, task: Task, steps: int = 1) -> Schedule:
    """The step size of each iteration as a function of the kernel's steps, ``steps`` in each."""
    fall = first_last(first, last, max(task.iterations - 1, 1))
    return lambda step: fall(task.done + jnp.asarray(step) // steps)


class _Squares(NamedTuple):
    """Moving and plain mean of squared gradients, how many make the plain one, and the step."""

    moving: Any
    mean: Any
    count: jax.Array
    step: jax.Array


def _rms_prop(size: int, alpha: float, lmbd: float, adapt_steps: int) -> Preconditioner:
    """``G = 1/(lmbd + sqrt V)`` with ``V <- alpha V + (1 - alpha) g^2`` from 1, ``g`` of all data.

    From ``adapt_steps`` on, ``V`` is the mean of ``g^2`` over the second half of those steps: a
    ``V`` of ten steps, frozen where the gradient happens to be small, would blow the chain up.
    """

    def init(position: Any) -> _Squares:
        ones = jax.tree.map(jnp.ones_like, position)
        return _Squares(ones, ones, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def update(state: _Squares, mean_gradient: Any, step: jax.Array) -> _Squares:
        square = jax.tree.map(lambda g: (size * g) ** 2, mean_gradient)
        averaging = (step >= adapt_steps // 2) & (step < adapt_steps)
        count = state.count + averaging
        moving = jax.tree.map(lambda v, s: alpha * v + (1 - alpha) * s, state.moving, square)
        mean = jax.tree.map(
            lambda m, s: jnp.where(averaging, m + (s - m) / jnp.maximum(count, 1), m).astype(
                m.dtype
            ),
            state.mean,
            square,
        )
        return _Squares(moving, mean, count, step)

    def metric(state: _Squares) -> Any:
        frozen = state.step >= adapt_steps
        return jax.tree.map(
            lambda v, m: 1 / (lmbd + jnp.sqrt(jnp.where(frozen, m, v))), state.moving, state.mean
        )

    return Preconditioner(init, update, metric)


def _is_number(value: Any) -> bool:
    return jax.tree.structure(value) == jax.tree.structure(0.0) and jnp.ndim(value) == 0


def _metric(mass: Any, start: Position) -> Any:
    """``G = 1/M``, a pytree like the position; None where the mass is 1."""
    if mass is None:
        return None
    if _is_number(mass):
        mass = jax.tree.map(lambda _: mass, start)

    def inverse(m: Any, x: Any) -> jax.Array:
        return jnp.broadcast_to(1 / jnp.asarray(m, jnp.result_type(x)), jnp.shape(x))

    return jax.tree.map(inverse, mass, start)


def _preconditioner(metric: Any) -> Preconditioner | None:
    return None if metric is None else fixed(metric)


def _mean_rate(friction: Any, metric: Any, start: Position) -> float:
    """The mean of ``C/M`` over the numbers of a position."""
    if _is_number(friction):
        friction = jax.tree.map(lambda _: friction, start)
    rates = friction if metric is None else jax.tree.map(jnp.multiply, friction, metric)
    shaped = jax.tree.map(lambda r, x: np.broadcast_to(r, np.shape(x)).ravel(), rates, start)
    return float(np.concatenate(jax.tree.leaves(shaped)).mean())


def _tested(sampler: Sampler, step_size: Schedule | None, metric: Any) -> Sampler:
    """A kernel with a Metropolis test, its step size from a schedule, its energies reported.

    Every iteration keeps the law at whatever step size it has: changing it in between is right.
    """

    def step(key: jax.Array, state: Any, batch: Any) -> tuple[Any, Info]:
        if step_size is not None:
            h = jnp.asarray(step_size(state.rate.step), state.rate.step_size.dtype)
            state = state._replace(rate=state.rate._replace(step_size=h))
        new, info = sampler.step(key, state, batch)
        g = jax.tree.map(jnp.ones_like, new.velocity) if metric is None else metric
        extra = {"potential": -new.log_density, "kinetic_energy": kinetic(new.velocity, g)}
        return new, info._replace(extra=extra)

    return sampler._replace(step=step)
