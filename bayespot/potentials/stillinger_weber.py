"""Stillinger-Weber: pairs and tetrahedral angles (Stillinger and Weber 1985)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class StillingerWeber(Potential):
    """Pairs that bind and angles that want ``cos = -1/3``; silicon unless told otherwise.

    ``U/eps = sum_ij A (B x^p - x^q) e_ij(1) + lambda sum_jik (cos - cos0)^2 e_ij(gamma)
    e_ik(gamma)`` with ``x = s/d`` and ``e(g) = exp(g s/(d - r_c))``, which goes to zero at the
    cut-off with all its derivatives.  The sum over pairs of neighbours needs no pairs: with
    ``g_j = e_ij(gamma)`` and unit vectors ``u_j`` it is half of ``|sum g u u^T|^2 -
    2 cos0 |sum g u|^2 + cos0^2 (sum g)^2`` less the terms of a neighbour with itself, so that the
    cost grows with the number of neighbours, not its square.  Below a fifth of sigma pair energies
    stay at their value there.  Needs full neighbour lists.

    Attributes:
        sigma: Angstrom.
        epsilon: eV.
        range: cut-off in Angstrom, ``a s`` of the paper.
        strength: lambda of the angles.
        cosine: cos0 of the angles.
        gamma, A, B, p, q: as in the paper.
        trainable: learn the logarithms of sigma, epsilon and the strength.
        species: atomic numbers it is meant for; empty for all.
    """

    sigma: float = 2.0951
    epsilon: float = 2.1683
    range: float = 3.77118
    strength: float = 21.0
    cosine: float = -1 / 3
    gamma: float = 1.2
    A: float = 7.049556277
    B: float = 0.6022245584
    p: int = 4
    q: int = 0
    trainable: bool = False
    species: tuple[int, ...] = ()

    @property
    def cutoff(self) -> float:
        """Range in Angstrom."""
        return self.range

    @property
    def elements(self) -> frozenset[int] | None:
        """As given; None for all."""
        return frozenset(self.species) if self.species else None

    def init(self, key: jax.Array, system: System) -> Params:
        """Starts from the given values."""
        del key
        if not self.trainable:
            return {}
        start = {"sigma": self.sigma, "epsilon": self.epsilon, "strength": self.strength}
        dtype = system.positions.dtype
        return {f"log_{k}": jnp.log(jnp.asarray(v, dtype)) for k, v in start.items()}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each pair to each of its atoms, angles to their middle atom, eV."""
        sigma = jnp.exp(params["log_sigma"]) if self.trainable else self.sigma
        epsilon = jnp.exp(params["log_epsilon"]) if self.trainable else self.epsilon
        strength = jnp.exp(params["log_strength"]) if self.trainable else self.strength
        pairs = neighbors.pairs(system)
        if pairs.weight != 0.5:
            raise ValueError("potentials with angles need a full neighbour list, not a half list")
        inside = pairs.mask & (pairs.distances < self.range)
        gap = jnp.where(inside, pairs.distances - self.range, -1.0)
        distances = jnp.maximum(pairs.distances, 0.2 * self.sigma)

        x = sigma / distances
        bare = self.A * (self.B * x**self.p - x**self.q)
        two = pairs.weight * jnp.sum(jnp.where(inside, bare * jnp.exp(sigma / gap), 0.0), axis=1)

        g = jnp.where(inside, jnp.exp(self.gamma * sigma / gap), 0.0)
        u = pairs.vectors / distances[..., None]
        # full precision: the terms cancel, and accelerators would round them to 10 bits
        tensor = jnp.einsum("asi,asj->aij", g[..., None] * u, u, precision="highest")
        vector = jnp.sum(g[..., None] * u, axis=1)
        everything = (
            jnp.sum(tensor**2, axis=(1, 2))
            - 2 * self.cosine * jnp.sum(vector**2, axis=1)
            + self.cosine**2 * jnp.sum(g, axis=1) ** 2
        )
        itself = jnp.sum((g * (jnp.sum(u**2, axis=-1) - self.cosine)) ** 2, axis=1)
        return epsilon * (two + 0.5 * strength * (everything - itself))
