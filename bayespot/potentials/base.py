"""The contract of a potential, sums of potentials, and forces and stress by differentiation."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import GivenPairs, Neighbors
from bayespot.system import System

Params = Any


@dataclasses.dataclass(frozen=True)
class Potential(abc.ABC):
    """Energy of a configuration as a function of parameters.

    Subclasses give ``cutoff``, ``init`` and ``atomic_energies``; everything else follows.
    """

    @property
    @abc.abstractmethod
    def cutoff(self) -> float:
        """Range of the interaction, Angstrom."""

    @abc.abstractmethod
    def init(self, key: jax.Array, system: System) -> Params:
        """Random parameters; an empty dict where there is nothing to learn."""

    @abc.abstractmethod
    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Energy of each atom in eV; padding may hold anything finite."""

    @property
    def elements(self) -> frozenset[int] | None:
        """Atomic numbers this potential knows; None knows all."""
        return None

    @property
    def pairwise(self) -> bool:
        """True for a sum over pairs of functions of their distance, and of nothing else.

        Its forces need no scatter over neighbours, and half lists will do.
        """
        return False

    def energy(self, params: Params, system: System, neighbors: Neighbors) -> Float[Array, ""]:
        """Potential energy in eV."""
        energies = self.atomic_energies(params, system, neighbors)
        return jnp.sum(jnp.where(system.mask, energies, 0.0))

    def __add__(self, other: Potential) -> Sum:
        return Sum((*_terms(self), *_terms(other)))


def _terms(potential: Potential) -> tuple[Potential, ...]:
    return potential.terms if isinstance(potential, Sum) else (potential,)


@dataclasses.dataclass(frozen=True)
class Sum(Potential):
    """Sum of potentials (Delta-learning: network + prior); parameters are a list, one a term."""

    terms: tuple[Potential, ...] = ()

    @property
    def cutoff(self) -> float:
        """The longest range of the terms."""
        return max(term.cutoff for term in self.terms)

    @property
    def elements(self) -> frozenset[int] | None:
        """Elements that every term knows."""
        known = [term.elements for term in self.terms if term.elements is not None]
        return frozenset.intersection(*known) if known else None

    @property
    def pairwise(self) -> bool:
        """True where every term is."""
        return all(is_pairwise(term) for term in self.terms)

    def init(self, key: jax.Array, system: System) -> Params:
        """One set of parameters a term, from independent keys."""
        keys = jax.random.split(key, len(self.terms))
        return [term.init(k, system) for term, k in zip(self.terms, keys, strict=True)]

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Sum over the terms."""
        energies = [
            term.atomic_energies(p, system, neighbors)
            for term, p in zip(self.terms, params, strict=True)
        ]
        return jnp.sum(jnp.stack(energies), axis=0)


def energy_and_forces(
    potential: Potential, params: Params, system: System, neighbors: Neighbors
) -> tuple[Float[Array, ""], Float[Array, "atoms 3"]]:
    """Energy in eV and forces ``-dU/dr`` in eV/Angstrom (zero on padding)."""
    value, forces, _ = energy_forces_virial(potential, params, system, neighbors, virial=False)
    return value, forces


def energy_forces_virial(
    potential: Potential,
    params: Params,
    system: System,
    neighbors: Neighbors,
    virial: bool = True,
) -> tuple[Float[Array, ""], Float[Array, "atoms 3"], Float[Array, ""] | None]:
    """Energy in eV, forces in eV/Angstrom, and the trace of dU/dstrain in eV (None if unwanted)."""
    if is_pairwise(potential):
        return _of_pairs(potential, params, system, neighbors)

    def energy(positions: jax.Array, cell: jax.Array) -> jax.Array:
        return potential.energy(params, system.replace(positions=positions, cell=cell), neighbors)

    wanted = (0, 1) if virial else (0,)
    value, gradients = jax.value_and_grad(energy, wanted)(system.positions, system.cell)
    trace = None
    if virial:
        trace = jnp.sum(system.positions * gradients[0]) + jnp.sum(system.cell * gradients[1])
    return value, -gradients[0], trace


def is_pairwise(potential: Potential) -> bool:
    """``potential.pairwise``, unless a subclass changed the energies and did not say it again."""
    family = type(potential).__mro__
    says, computes = (
        next(i for i, c in enumerate(family) if name in vars(c))
        for name in ("pairwise", "atomic_energies")
    )
    return potential.pairwise and says <= computes


def _of_pairs(
    potential: Potential, params: Params, system: System, neighbors: Neighbors
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """By differentiating with respect to the distances between atoms.

    In a full list each pair is met from both ends with opposite vectors, so that what an atom
    feels is twice the sum over its own slots: no scatter over neighbours.
    """
    pairs = neighbors.pairs(system)

    def energy(distances: jax.Array) -> jax.Array:
        return potential.energy(params, system, GivenPairs(pairs._replace(distances=distances)))

    value, slopes = jax.value_and_grad(energy)(pairs.distances)
    slopes = jnp.where(pairs.mask, slopes, 0.0)
    apart = pairs.distances > 0
    pulls = jnp.where(apart, slopes / jnp.where(apart, pairs.distances, 1.0), 0.0)
    # one component at a time: three plain reductions instead of a strided one
    parts = [pulls * pairs.vectors[..., k] for k in range(3)]
    forces = jnp.stack([jnp.sum(part, axis=1) for part in parts], axis=-1)
    if pairs.weight == 1.0:
        back = jax.vjp(pairs.gather, jnp.zeros_like(system.positions))[1]
        forces = forces - back(jnp.stack(parts, axis=-1))[0]
    else:
        forces = forces / pairs.weight
    return value, forces, jnp.sum(slopes * pairs.distances)


def stress(
    potential: Potential, params: Params, system: System, neighbors: Neighbors
) -> Float[Array, "3 3"]:
    """Potential part of the stress ``(1/V) dU/d(strain)`` in eV/Angstrom^3 (ASE's sign)."""

    def energy(strain: jax.Array) -> jax.Array:
        deformation = jnp.eye(3, dtype=strain.dtype) + (strain + strain.T) / 2
        deformed = system.replace(
            positions=system.positions @ deformation, cell=system.cell @ deformation
        )
        return potential.energy(params, deformed, neighbors)

    volume = jnp.abs(jnp.linalg.det(system.cell))
    return jax.grad(energy)(jnp.zeros((3, 3), system.positions.dtype)) / volume
