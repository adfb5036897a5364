"""The contract every sampler obeys, and the one convention of scale and temperature.

Scale
    ``Target.log_density(position, batch)`` is an unbiased estimate of the log density of the
    *whole* data set: the factor N/B is inside it, exactly once.  No sampler multiplies by N/B.
Temperature
    A cold or hot posterior is a property of the target (its log density divided by tau).  No
    sampler multiplies its noise by tau; sampling the tempered density is the same thing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray
Position = Any
Batch = Any
State = Any


class Target(NamedTuple):
    """The density a sampler sees.

    Attributes:
        log_density: ``(position, batch) -> scalar``, unbiased for ``log_density_full(position)``
            when the batch is drawn uniformly.
        log_density_full: ``position -> scalar``, over all data; what NUTS and Metropolis tests use.
        data_size: N, the number of data; turns a gradient into the mean gradient of one datum,
            the scale that preconditioners and optimisers work on.
    """

    log_density: Callable[[Position, Batch], jax.Array]
    log_density_full: Callable[[Position], jax.Array]
    data_size: int


class Info(NamedTuple):
    """What one step reports; scalars, averaged over the steps between two draws.

    Attributes:
        log_density: log density (its mini-batch estimate where the sampler sees batches) at the
            position the step started from; at the new one for Metropolised samplers.
        step_size: the step size used.
        acceptance: acceptance rate; 1 where nothing is ever rejected.
        divergent: 1 where the integrator diverged, else 0.
    """

    log_density: Array
    step_size: Array
    acceptance: Array
    divergent: Array


class Sampler(NamedTuple):
    """A pair of pure functions over one chain; the loop maps them over chains.

    Attributes:
        init: ``(key, position) -> state``; every state has a field ``position``.
        step: ``(key, state, batch) -> (state, info)``.
        draw: ``state -> position``, what is kept as a draw.
        refresh: ``state -> state``, work done before every draw and not at every step (validation).
    """

    init: Callable[[jax.Array, Position], State]
    step: Callable[[jax.Array, State, Batch], tuple[State, Info]]
    draw: Callable[[State], Position] = lambda state: state.position
    refresh: Callable[[State], State] = lambda state: state
