"""The contract of a potential, sums of potentials, and forces and stress by differentiation."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
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

    def energy(positions: jax.Array) -> jax.Array:
        return potential.energy(params, system.replace(positions=positions), neighbors)

    value, gradient = jax.value_and_grad(energy)(system.positions)
    return value, -gradient


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
