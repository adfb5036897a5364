"""Energies and snapshots of kept configurations, frame by frame, differentiable in parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bayespot.neighbors import Lists
from bayespot.observables import Frame, Observable
from bayespot.potentials import Potential
from bayespot.system import System


class Samples(NamedTuple):
    """Configurations of one trajectory.

    Attributes:
        positions: (frames, atoms, 3) Angstrom.
        cell: (frames, 3, 3) Angstrom.
        energy: (frames,) potential energy under the law they were drawn from, eV.
    """

    positions: Float[Array, "frames atoms 3"]
    cell: Float[Array, "frames 3 3"]
    energy: Float[Array, " frames"]

    @property
    def volume(self) -> Float[Array, "*frames"]:
        """Angstrom^3."""
        return jnp.abs(jnp.linalg.det(self.cell))


def energies(
    potential: Potential,
    params: Any,
    system: System,
    samples: Samples,
    lists: Lists,
    batch_size: int = 8,
) -> tuple[Float[Array, " frames"], Bool[Array, ""]]:
    """Potential energies in eV, and whether ``lists`` were too small (then they are wrong).

    Derivatives take the memory of one batch: activations are computed again on the way back.

    Args:
        potential: evaluated.
        params: its parameters.
        system: species and masses.
        samples: configurations.
        lists: of one configuration, rebuilt for each.
        batch_size: frames evaluated at once.
    """

    def one(positions: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
        here = system.replace(positions=positions, cell=cell)
        built = lists.update(here)
        return potential.energy(params, here, built), built.overflow

    found, crowded = _over_frames(one, samples, batch_size)
    return found, jnp.any(crowded)


def snapshots(
    observables: Sequence[Observable],
    potential: Potential,
    params: Any,
    system: System,
    samples: Samples,
    lists: Lists,
    batch_size: int = 8,
) -> tuple[dict[str, dict[str, jax.Array]], Float[Array, " frames"], Bool[Array, ""]]:
    """What each observable averages, by name, and potential energies, (frames, ...).

    Snapshots may depend on ``params`` through energies, forces and stresses, and derivatives with
    respect to them are right.  Arguments as for ``energies``, whose flag comes last.
    """

    def one(positions: jax.Array, cell: jax.Array) -> Any:
        here = system.replace(positions=positions, cell=cell)
        built = lists.update(here)
        energy = potential.energy(params, here, built)
        frame = Frame(here, energy, None, built, potential, params)
        return {o.name: o.snapshot(frame) for o in observables}, energy, built.overflow

    found, energy, crowded = _over_frames(one, samples, batch_size)
    return found, energy, jnp.any(crowded)


def _over_frames(function: Any, samples: Samples, batch_size: int) -> Any:
    """``function(positions, cell)`` of every frame."""
    remembered = jax.checkpoint(lambda x: function(*x))
    frames = len(samples.energy)
    return jax.lax.map(
        remembered, (samples.positions, samples.cell), batch_size=min(batch_size, frames)
    )
