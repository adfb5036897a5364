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
        lists: leaves of the neighbour lists of each frame; None where they are found again
            whenever they are needed, which takes longer than the energy of a cheap potential.
    """

    positions: Float[Array, "frames atoms 3"]
    cell: Float[Array, "frames 3 3"]
    energy: Float[Array, " frames"]
    lists: tuple[jax.Array, ...] | None = None

    @property
    def volume(self) -> Float[Array, "*frames"]:
        """Angstrom^3."""
        return jnp.abs(jnp.linalg.det(self.cell))


def with_lists(
    system: System, samples: Samples, lists: Lists, batch_size: int = 8
) -> tuple[Samples, Bool[Array, ""]]:
    """Samples that keep their neighbours, and whether ``lists`` were too small.

    Args:
        system: species and masses.
        samples: configurations.
        lists: of one configuration.
        batch_size: frames at once.
    """

    def one(positions: jax.Array, cell: jax.Array) -> Lists:
        return lists.update(system.replace(positions=positions, cell=cell))

    each = samples.positions, samples.cell
    made = jax.lax.map(lambda x: one(*x), each, batch_size=batch_size)
    return samples._replace(lists=tuple(jax.tree.leaves(made))), jnp.any(made.overflow)


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
        lists: of one configuration, rebuilt for each where ``samples`` have none.
        batch_size: frames evaluated at once.
    """

    def one(here: System, built: Lists) -> tuple[jax.Array, jax.Array]:
        return potential.energy(params, here, built), built.overflow

    found, crowded = _over_frames(one, system, samples, lists, batch_size)
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

    def one(here: System, built: Lists) -> Any:
        energy = potential.energy(params, here, built)
        frame = Frame(here, energy, None, built, potential, params)
        return {o.name: o.snapshot(frame) for o in observables}, energy, built.overflow

    found, energy, crowded = _over_frames(one, system, samples, lists, batch_size)
    return found, energy, jnp.any(crowded)


def _over_frames(
    function: Any, system: System, samples: Samples, lists: Lists, batch_size: int
) -> Any:
    """``function(system, lists)`` of every frame."""

    def one(x: Any) -> Any:
        positions, cell, leaves = x
        here = system.replace(positions=positions, cell=cell)
        if leaves is None:
            return function(here, lists.update(here))
        return function(here, jax.tree.unflatten(jax.tree.structure(lists), leaves))

    each = samples.positions, samples.cell, samples.lists
    if batch_size >= len(samples.energy):  # one batch: to compute it again would save no memory
        return jax.vmap(one)(each)
    return jax.lax.map(jax.checkpoint(one), each, batch_size=batch_size)
