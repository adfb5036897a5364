"""Potentials made of all members of a committee: their mean, and what uses their disagreement.

Parameters hold those of all members with a leading axis, under ``members`` where there is more.
Every one is a function of positions, so that its forces conserve its energy.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential, energy_and_forces, is_pairwise
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class CommitteeMean(Potential):
    """Mean energy of members.

    Attributes:
        potential: what all are parameters of.
        members: how many.
        driving: members whose mean is taken, () for all.  One alone drives at the cost of one,
            and the others are looked at only when their disagreement is asked for.
    """

    potential: Potential
    members: int
    driving: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.members < 2 or not all(0 <= i < self.members for i in self.driving):
            raise ValueError(
                f"driving {self.driving} must be among {self.members} members, at least two"
            )

    @property
    def cutoff(self) -> float:
        """That of a member."""
        return self.potential.cutoff

    @property
    def elements(self) -> frozenset[int] | None:
        """Those that a member knows."""
        return self.potential.elements

    @property
    def pairwise(self) -> bool:
        """True where a member is."""
        return is_pairwise(self.potential)

    @property
    def committee(self) -> CommitteeMean:
        """Itself: what others of this file have."""
        return self

    def member_params(self, params: Params) -> Params:
        """Of all members, leading axis."""
        return params

    def init(self, key: jax.Array, system: System) -> Params:
        """Independent members."""
        keys = jax.random.split(key, self.members)
        return jax.vmap(lambda k: self.potential.init(k, system))(keys)

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Mean over the driving members, eV."""
        if self.driving:
            params = jax.tree.map(lambda x: x[jnp.asarray(self.driving)], params)
        energies = jax.vmap(lambda p: self.potential.atomic_energies(p, system, neighbors))(params)
        return jnp.mean(energies, axis=0)

    def member_atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, "members atoms"]:
        """Of all members, eV; zero on padding."""

        def one(member: Params) -> jax.Array:
            energies = self.potential.atomic_energies(member, system, neighbors)
            return jnp.where(system.mask, energies, 0.0)

        return jax.vmap(one)(params)

    def member_forces(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> tuple[Float[Array, " members"], Float[Array, "members atoms 3"]]:
        """Energies (eV) and forces (eV/Angstrom) of all members."""
        return jax.vmap(lambda p: energy_and_forces(self.potential, p, system, neighbors))(params)


@dataclasses.dataclass(frozen=True)
class _WithBaseline(Potential):
    """A committee and another potential; parameters under ``members`` and ``baseline``."""

    committee: CommitteeMean
    baseline: Potential

    @property
    def cutoff(self) -> float:
        """The longer one."""
        return max(self.committee.cutoff, self.baseline.cutoff)

    @property
    def elements(self) -> frozenset[int] | None:
        """Those that both know."""
        return _common(self.committee, self.baseline)

    def member_params(self, params: Params) -> Params:
        """Of all members, leading axis."""
        return params["members"]

    def init(self, key: jax.Array, system: System) -> Params:
        """Of the members, and of the baseline."""
        return _pair(key, system, self.committee, self.baseline)


@dataclasses.dataclass(frozen=True)
class WeightedBaseline(_WithBaseline):
    """A baseline potential that the committee corrects as far as its members agree.

    ``U = U_b + s^2 (U_mean - U_b) / (s^2 + sigma^2)`` with ``sigma`` the standard deviation
    (ddof=1) of the members' energies (Imbalzano et al. 2021, J. Chem. Phys. 154, 074102, eq. 12).
    Energies of large systems disagree more: ``s`` is of the whole system.

    Attributes:
        committee: the members.
        baseline: a potential that is crude and safe.
        baseline_error: s, how far its energy may be wrong, eV.
    """

    baseline_error: float

    def __post_init__(self) -> None:
        if not self.baseline_error > 0:
            raise ValueError(f"baseline_error must be positive, not {self.baseline_error}")

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Of every atom, eV."""
        members = self.committee.member_atomic_energies(params["members"], system, neighbors)
        variance = jnp.var(jnp.sum(members, axis=1), ddof=1)
        weight = self.baseline_error**2 / (self.baseline_error**2 + variance)
        below = self.baseline.atomic_energies(params["baseline"], system, neighbors)
        return below + weight * (jnp.mean(members, axis=0) - below)


@dataclasses.dataclass(frozen=True)
class Biased(Potential):
    """The mean of a committee, lowered where members disagree: MD goes there to explore.

    ``U = U_mean + A (exp(-sigma^2 / (N b^2)) - 1)`` with ``sigma`` the standard deviation (ddof=1)
    of the members' energies and ``N`` atoms (uncertainty-driven dynamics; Kulichenko et al. 2023,
    Nat. Comput. Sci. 3, 230; their sum of squares has another constant in front).

    Attributes:
        committee: the members.
        depth: A, eV.
        width: b, eV per square root of atoms.
    """

    committee: CommitteeMean
    depth: float
    width: float

    def __post_init__(self) -> None:
        if not (self.depth >= 0 and self.width > 0):
            raise ValueError(f"depth {self.depth} and width {self.width} must be positive")

    @property
    def cutoff(self) -> float:
        """That of a member."""
        return self.committee.cutoff

    @property
    def elements(self) -> frozenset[int] | None:
        """Those that a member knows."""
        return self.committee.elements

    def member_params(self, params: Params) -> Params:
        """Of all members, leading axis."""
        return params

    def init(self, key: jax.Array, system: System) -> Params:
        """Of the members."""
        return self.committee.init(key, system)

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Of every atom, eV; the bias is shared among all."""
        members = self.committee.member_atomic_energies(params, system, neighbors)
        variance = jnp.var(jnp.sum(members, axis=1), ddof=1)
        atoms = jnp.sum(system.mask)
        bias = self.depth * jnp.expm1(-variance / (atoms * self.width**2))
        return jnp.mean(members, axis=0) + jnp.where(system.mask, bias / atoms, 0.0)


@dataclasses.dataclass(frozen=True)
class Fallback(_WithBaseline):
    """The mean of a committee, with another potential at hand.

    Its energy is the committee's.  A ``md.Monitor`` with the action "fall back" drives a trajectory
    with ``switched`` while members disagree.

    Attributes:
        committee: the members.
        baseline: taken in their place.
    """

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """The committee's, eV."""
        return self.committee.atomic_energies(params["members"], system, neighbors)

    def switched(self, fallen: Any) -> Potential:
        """The baseline where ``fallen`` (a traced truth value), else the committee."""
        return _Switched(self, fallen)


@dataclasses.dataclass(frozen=True, eq=False)
class _Switched(Potential):
    both: Fallback
    fallen: Any

    @property
    def cutoff(self) -> float:
        return self.both.cutoff

    def init(self, key: jax.Array, system: System) -> Params:
        return self.both.init(key, system)

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        below = self.both.baseline.atomic_energies(params["baseline"], system, neighbors)
        return jnp.where(self.fallen, below, self.both.atomic_energies(params, system, neighbors))


WithMembers = CommitteeMean | WeightedBaseline | Biased | Fallback


def _common(*potentials: Potential) -> frozenset[int] | None:
    known = [p.elements for p in potentials if p.elements is not None]
    return frozenset.intersection(*known) if known else None


def _pair(key: jax.Array, system: System, members: Potential, baseline: Potential) -> Params:
    first, second = jax.random.split(key)
    return {"members": members.init(first, system), "baseline": baseline.init(second, system)}
