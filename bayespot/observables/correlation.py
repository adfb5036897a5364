"""Correlations in time: what velocities and positions have to do with earlier ones.

Every frame is correlated with the ``lags`` frames up to it, so that all time origins count, and
block averages and error bars work as for any other observable.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.observables.base import Observable
from bayespot.observables.frame import Frame
from bayespot.system import System
from bayespot.units import MASS


@dataclasses.dataclass(frozen=True)
class TimeCorrelation(Observable):
    """What one moment has to do with earlier ones, averaged over atoms and time origins.

    Only a trajectory has it: configurations that are reweighted have no past.  The engine keeps
    ``lags`` vectors of each atom of each replica.

    Attributes:
        lags: how many lags there are, 0 included: frames from a moment back to the earliest.
        interval: fs between two frames, ``length.stride * time_step``.
        species: atomic number; None takes all atoms.
        remove_drift: take velocities and positions relative to the centre of mass of all atoms.
            Langevin dynamics moves it about, as it does a particle of the total mass, which adds
            ``k_B T/(M gamma)`` to a diffusion coefficient.  Switch it off where an outer field
            holds the atoms, and for the law of single Langevin particles.
    """

    lags: int
    interval: float
    species: int | None = None
    remove_drift: bool = True

    fixed_cell: ClassVar[bool] = False
    """Whether a barostat would spoil it."""

    def __post_init__(self) -> None:
        if not isinstance(self.lags, int) or isinstance(self.lags, bool) or self.lags < 2:
            raise UserError(
                f"observable {self.name} has {self.lags} lags", "Give a whole number of at least 2"
            )
        if not 0 < self.interval < np.inf:
            raise UserError(
                f"observable {self.name} has an interval of {self.interval} fs",
                "Give the time between two frames, stride times time step",
            )

    def check(self, system: System, between: np.ndarray, varies_cell: bool) -> None:
        """Refuse a simulation that cannot give it.

        Args:
            system: what is simulated.
            between: fs between two frames, of one replica or several.
            varies_cell: at constant pressure.

        Raises:
            UserError: no atoms to average over, another ``interval``, a barostat that moves what
                shall diffuse.
        """
        species = np.asarray(system.species)
        if self.species is not None and self.species not in species[species > 0]:
            raise UserError(
                f"{self.name} is of element {self.species}, which the system does not hold",
                "Name an element that is simulated",
            )
        if self.remove_drift and np.sum(species > 0) == 1:
            raise UserError(
                f"observable {self.name} takes the drift off a single atom, which leaves nothing",
                "Set remove_drift = False",
            )
        wrong = between[np.abs(between / self.interval - 1) > 1e-6]
        if len(wrong):
            raise UserError(
                f"observable {self.name} has an interval of {self.interval:g} fs, and frames are"
                f" {wrong[0]:g} fs apart",
                "Make it stride times time step, the same for all replicas",
            )
        if self.fixed_cell and varies_cell:
            raise UserError(
                f"observable {self.name} measures how far atoms diffuse, and a barostat moves them"
                " with the cell",
                "Use constant volume (NVT or NVE), at the mean density",
            )

    @property
    def window(self) -> int:
        """Frames that it looks at."""
        return self.lags

    @property
    def times(self) -> np.ndarray:
        """(lags,) fs."""
        return self.interval * np.arange(self.lags)

    def selected(self, system: System) -> jax.Array:
        """(atoms,) which of them count."""
        return system.mask if self.species is None else system.species == self.species

    def relative(self, system: System, values: jax.Array) -> jax.Array:
        """(atoms, 3) values less those of the centre of mass; zero for atoms that do not count."""
        if self.remove_drift:
            mass = jnp.where(system.mask, system.masses, 0.0)[:, None]
            values = values - jnp.sum(mass * values, axis=0) / jnp.sum(mass)
        return jnp.where(self.selected(system)[:, None], values, 0.0)

    def past(self, frame: Frame) -> jax.Array:
        """(lags, atoms, 3) what was tracked, this moment first.

        Raises:
            UserError: the frame is no part of a trajectory.
        """
        if frame.history is None:
            raise UserError(
                f"observable {self.name} looks back in time, and the frame has no past",
                "Compute it in a simulation: it cannot be reweighted",
            )
        return frame.history

    def mean(self, frame: Frame, values: jax.Array) -> jax.Array:
        """(lags,) sums over components, averages over atoms, of (lags, atoms, 3) values."""
        return jnp.sum(values, axis=(1, 2)) / jnp.sum(self.selected(frame.system))


@dataclasses.dataclass(frozen=True)
class VelocityCorrelation(TimeCorrelation):
    """Tracks velocities; ``<v(0).v(t)>`` in Angstrom^2/fs^2."""

    def track(self, frame: Frame) -> jax.Array:
        """(atoms, 3) velocities, Angstrom/fs.

        Raises:
            UserError: the frame has no momenta.
        """
        if frame.momenta is None:
            raise UserError(
                f"observable {self.name} is made of velocities, and the frame has none",
                "Compute it in a simulation: it cannot be reweighted",
            )
        system = frame.system
        return self.relative(system, frame.momenta / (MASS * system.masses[:, None]))

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """The velocities of now times those of before."""
        past = self.past(frame)
        return {"vacf": self.mean(frame, past * past[0])}
