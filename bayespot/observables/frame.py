"""One configuration of a trajectory, with what observables may ask of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bayespot.neighbors import NeighborList, Neighbors
from bayespot.neighbors.pairs import Pairs
from bayespot.potentials import Potential
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a snapshot is computed from.

    Attributes:
        system: positions and cell of this moment.
        energy: its potential energy, eV.
        momenta: (atoms, 3) eV fs/Angstrom; None where only configurations are known, as in
            reweighting.
        neighbors: up to date for ``potential``.
        potential: what drove the trajectory.
        params: of ``potential``; snapshots may be differentiated with respect to them.
        history: what the observable tracks, (window, ...), this moment first; None where it
            tracks nothing.
    """

    system: System
    energy: jax.Array
    momenta: jax.Array | None = None
    neighbors: Neighbors | None = None
    potential: Potential | None = None
    params: Any = None
    history: jax.Array | None = None

    @property
    def volume(self) -> jax.Array:
        """Angstrom^3."""
        return jnp.abs(jnp.linalg.det(self.system.cell))

    def pairs(self, cutoff: float) -> Pairs | None:
        """All pairs up to ``cutoff`` Angstrom (and some beyond), each from both ends.

        None where the potential's list does not reach so far, or holds each pair once.
        """
        lists = self.neighbors
        if isinstance(lists, NeighborList) and (cutoff > lists.cutoff or lists.half):
            return None
        return None if lists is None else lists.pairs(self.system)

    def strained_energy(self, strain: jax.Array) -> jax.Array:
        """Potential energy in eV after the homogeneous deformation ``1 + (strain + strain^T)/2``.

        Its first derivative at zero is the volume times the potential part of the stress, its
        second the Born term.
        """
        assert self.potential is not None
        assert self.neighbors is not None
        here = self.system
        deformation = jnp.eye(3, dtype=strain.dtype) + (strain + strain.T) / 2
        there = here.replace(positions=here.positions @ deformation, cell=here.cell @ deformation)
        return self.potential.energy(self.params, there, self.neighbors)
