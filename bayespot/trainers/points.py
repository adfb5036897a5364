"""State points: replicas that share their conditions, and the weights of their frames there."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.md import NPT, Simulation
from bayespot.reweight import Samples, State, effective_size, log_weights


@dataclasses.dataclass(frozen=True)
class Point:
    """A state point: the replicas of a simulation that share its conditions.

    Attributes:
        replicas: their indices.
        temperature: K.
        pressure: GPa; None at constant volume.
    """

    replicas: tuple[int, ...]
    temperature: float
    pressure: float | None = None

    @property
    def state(self) -> State:
        """For weights."""
        return State(self.temperature, self.pressure)

    def weigh(
        self, energy: jax.Array, samples: Samples, valid: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Log weights of one member's frames here, flat, and their effective share.

        Args:
            energy: (replicas, frames) eV at the parameters wanted.
            samples: (replicas, frames, ...).
            valid: (replicas,); frames of others count nothing.
        """
        which = jnp.asarray(self.replicas)
        counted = jnp.repeat(valid[which], samples.energy.shape[1])
        volume = None
        if self.pressure is not None:
            volume = samples.volume[which].ravel()
        # frames of failed trajectories may hold anything
        new = jnp.where(counted, energy[which].ravel(), 0.0)
        drawn = jnp.where(counted, samples.energy[which].ravel(), 0.0)
        log_w = log_weights(new, drawn, self.state, volume=volume)
        log_w = jax.nn.log_softmax(jnp.where(counted, log_w, -jnp.inf))
        return log_w, effective_size(log_w) / jnp.maximum(jnp.sum(counted), 1)


def points_of(simulation: Simulation, replicas: int) -> tuple[Point, ...]:
    """State points of a simulation: replicas of equal temperature and pressure, in their order."""
    ensemble = simulation.ensemble
    temperature = np.broadcast_to(np.asarray(ensemble.temperature, float), replicas)
    pressure = np.full(replicas, np.nan)
    if isinstance(ensemble, NPT):
        pressure = np.broadcast_to(np.asarray(ensemble.pressure, float), replicas)
    found: dict[tuple[float, float | None], list[int]] = {}
    for i, (t, p) in enumerate(zip(temperature, pressure, strict=True)):
        found.setdefault((float(t), None if np.isnan(p) else float(p)), []).append(i)
    return tuple(Point(tuple(which), *at) for at, which in found.items())
