"""Pressure and stress of periodic systems, potential and kinetic."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.observables.base import Context, Observable, namespace
from bayespot.observables.frame import Frame
from bayespot.observables.moduli import AXIAL, VOIGT
from bayespot.potentials.base import energy_forces_virial
from bayespot.units import BOLTZMANN, GPA


def check_periodic(observable: Observable, frame: Frame) -> None:
    """Refuse systems that have no volume.

    Raises:
        UserError: an open direction.
    """
    if not all(frame.system.pbc):
        raise UserError(
            f"{observable.name} needs a volume, and the system is open along "
            + ", ".join("abc"[k] for k in range(3) if not frame.system.pbc[k]),
            "Leave it out, or give the system a cell that is periodic in all directions",
        )


def strain_tensor(voigt: jax.Array) -> jax.Array:
    """(3, 3) from (6,) xx, yy, zz, 2 yz, 2 xz, 2 xy."""
    half = jnp.asarray([1.0, 1.0, 1.0, 0.5, 0.5, 0.5], voigt.dtype) * voigt
    place = np.zeros((3, 3), int)
    for n, (i, j) in enumerate(VOIGT):
        place[i, j] = place[j, i] = n
    return half[place]


@dataclasses.dataclass(frozen=True)
class Pressure(Observable):
    """``<N k_B T/V - (dU/d ln V)/V>``, the mean pressure.

    The kinetic part is that of 3N free momenta, as of Langevin dynamics; a thermostat that keeps
    the total momentum at zero has N - 1 in place of N.
    """

    @property
    def unit(self) -> str:
        """GPa."""
        return "GPa"

    @property
    def title(self) -> str:
        """For figures."""
        return "pressure"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """What the potential adds, in GPa, and 1/V."""
        check_periodic(self, frame)
        assert frame.potential is not None
        assert frame.neighbors is not None
        trace = energy_forces_virial(frame.potential, frame.params, frame.system, frame.neighbors)[
            2
        ]
        assert trace is not None
        inverse = 1 / frame.volume
        return {"virial": -trace / 3 * inverse / GPA, "inverse_volume": inverse}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """With the ideal gas, whose mean at constant pressure is that of 1/V."""
        ideal = context.num_atoms * BOLTZMANN * context.temperature / GPA
        return mean["virial"] + ideal * mean["inverse_volume"]


@dataclasses.dataclass(frozen=True)
class Stress(Observable):
    """``<(dU/d strain)/V> - N k_B T <1/V>``, the mean stress, xx, yy, zz, yz, xz, xy.

    Tension is positive, as in ASE; a third of the trace is minus the pressure.  The strain is
    symmetric.  For the kinetic part see ``Pressure``.
    """

    @property
    def unit(self) -> str:
        """GPa."""
        return "GPa"

    @property
    def axis(self) -> np.ndarray:
        """Voigt's numbers."""
        return np.arange(1.0, 7.0)

    @property
    def components(self) -> tuple[str, ...]:
        """Axes of each."""
        return tuple("xyz"[i] + "xyz"[j] for i, j in VOIGT)

    @property
    def axis_label(self) -> str:
        """Which they are."""
        return f"component ({' '.join(self.components)})"

    @property
    def title(self) -> str:
        """For figures."""
        return "stress"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """What the potential adds, in GPa, and 1/V."""
        check_periodic(self, frame)
        none = jnp.zeros(6, frame.system.positions.dtype)
        slope = jax.grad(lambda strain: frame.strained_energy(strain_tensor(strain)))(none)
        inverse = 1 / frame.volume
        return {"stress": slope * inverse / GPA, "inverse_volume": inverse}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """With the ideal gas."""
        ideal = context.num_atoms * BOLTZMANN * context.temperature / GPA
        inverse = namespace(mean).asarray(mean["inverse_volume"])[..., None]
        return mean["stress"] - ideal * inverse * AXIAL
