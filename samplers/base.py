"""The contract every sampler obeys, and the one convention of scale and temperature.

Scale
    ``Target.log_density(position, batch)`` is an unbiased estimate of the log density of the
    *whole* data set: the factor N/B is inside it, exactly once.  No sampler multiplies by N/B.
Temperature
    A cold or hot posterior is a property of the target (its log density divided by tau).  No
    sampler multiplies its noise by tau; sampling the tempered density is the same thing, and
    Metropolis tests and replica swaps then use it too.  The ``temperature`` some samplers take is
    a schedule *relative* to the target, 1 wherever draws are kept: annealing, and the noiseless
    exploration of cyclical samplers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
Position = Any
Batch = Any
State = Any
Gradient = Any


class Estimator(NamedTuple):
    """How a sampler gets gradients; plain automatic differentiation where a target has none.

    Attributes:
        init: ``position -> state``.
        estimate: ``(state, position, batch) -> (log density, gradient)``, both unbiased.
        refresh: ``(state, position) -> state``, full-data work done once before every draw.
    """

    init: Callable[[Position], State]
    estimate: Callable[[State, Position, Batch], tuple[jax.Array, Gradient]]
    refresh: Callable[[State, Position], State] | None = None


class Target(NamedTuple):
    """The density a sampler sees.

    Attributes:
        log_density: ``(position, batch) -> scalar``, unbiased for ``log_density_full(position)``
            when the batch is drawn uniformly.
        log_density_full: ``position -> scalar``, over all data; what NUTS and Metropolis tests use.
        data_size: N, the number of data; turns a gradient into the mean gradient of one datum,
            the scale that preconditioners and optimisers work on.
        estimator: how to estimate the gradient of ``log_density``; None differentiates it.
            Wrappers set it: ``clip_gradients``, ``control_variates``.
    """

    log_density: Callable[[Position, Batch], jax.Array]
    log_density_full: Callable[[Position], jax.Array]
    data_size: int
    estimator: Estimator | None = None


class Info(NamedTuple):
    """What one step reports; scalars, averaged over the steps between two draws.

    Attributes:
        log_density: log density (its mini-batch estimate where the sampler sees batches) at the
            position the step started from; at the new one for Metropolised samplers.
        step_size: the step size used.
        acceptance: acceptance rate; 1 where nothing is ever rejected.
        divergent: 1 where the integrator diverged, else 0.
        gradients: gradients evaluated, each of one batch or, for full-data samplers, of all data;
            an estimate counts once whatever it costs (``control_variates`` needs two).
        extra: arrays of one sampler alone by name, such as the swap rates of a ladder.
    """

    log_density: Array
    step_size: Array
    acceptance: Array
    divergent: Array
    gradients: Array
    extra: dict[str, Array] = {}  # noqa: RUF012 -- never mutated


class Sampler(NamedTuple):
    """Pure functions over one chain; the loop maps them over chains.

    Attributes:
        init: ``(key, position) -> state``; every state has a field ``position``.
        step: ``(key, state, batch) -> (state, info)``.
        draw: ``state -> position``, what is kept as a draw.
        refresh: ``state -> state``, work done once before every draw and not at every step
            (validation, the anchor of control variates); None where there is none.
        num_batches: mini-batches one step consumes; an int gives ``batch`` a leading axis of that
            length, None is one batch without it.
        keep: ``numbers of steps done -> which give a draw`` (numpy); None keeps all.
    """

    init: Callable[[jax.Array, Position], State]
    step: Callable[[jax.Array, State, Batch], tuple[State, Info]]
    draw: Callable[[State], Position] = lambda state: state.position
    refresh: Callable[[State], State] | None = None
    num_batches: int | None = None
    keep: Callable[[np.ndarray], np.ndarray] | None = None


def plain_info(
    log_density: jax.Array,
    step_size: jax.Array,
    gradients: int = 1,
    acceptance: Array | float = 1.0,
) -> Info:
    """The report of a sampler that does not diverge."""
    nought = jax.numpy.zeros_like(log_density)
    h = step_size.astype(log_density.dtype)
    return Info(log_density, h, nought + acceptance, nought, nought + gradients)
