"""Lennard-Jones pairs and their repulsive half, with fixed or learned parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.potentials.basis import polynomial_envelope
from bayespot.potentials.curves import species_rows
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class LennardJones(Potential):
    """``4 eps ((s/d)^12 - (s/d)^6)`` or ``eps (s/d)^12``, brought smoothly to zero at the cut-off.

    Below a fifth of sigma the energy goes on as a straight line: atoms on top of each other are
    pushed apart, with a huge energy and no NaN.

    Attributes:
        sigma: Angstrom; one for all, or one for each of ``species``.
        epsilon: eV; likewise.
        range: cut-off in Angstrom.
        repulsion_only: the repulsive prior of methods.md section 5.
        trainable: learn ``log sigma`` and ``log epsilon``.
        species: atomic numbers, where they differ; pairs have the mean sigma and the geometric
            mean of epsilon (Lorentz-Berthelot).
    """

    sigma: float | tuple[float, ...] = 1.0
    epsilon: float | tuple[float, ...] = 1.0
    range: float = 2.5
    repulsion_only: bool = False
    trainable: bool = False
    species: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        wanted = (len(self.species),) if self.species else ()
        if not np.shape(self.sigma) == np.shape(self.epsilon) == wanted:
            raise ValueError("LennardJones needs one sigma and one epsilon for each of its species")

    @property
    def cutoff(self) -> float:
        """Range in Angstrom."""
        return self.range

    @property
    def elements(self) -> frozenset[int] | None:
        """Those given; None where one set of parameters serves all."""
        return frozenset(self.species) if self.species else None

    @property
    def pairwise(self) -> bool:
        """A sum over pairs."""
        return True

    def init(self, key: jax.Array, system: System) -> Params:
        """Starts from the given values."""
        del key
        if not self.trainable:
            return {}
        dtype = system.positions.dtype
        return {
            "log_sigma": jnp.log(jnp.asarray(self.sigma, dtype)),
            "log_epsilon": jnp.log(jnp.asarray(self.epsilon, dtype)),
        }

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each pair to each atom, eV."""
        dtype = system.positions.dtype
        start, epsilon = jnp.asarray(self.sigma, dtype), jnp.asarray(self.epsilon, dtype)
        sigma = start
        if self.trainable:
            sigma, epsilon = jnp.exp(params["log_sigma"]), jnp.exp(params["log_epsilon"])
        pairs = neighbors.pairs(system)
        if self.species:
            row = species_rows(self.species, system.species)
            other = pairs.gather(row)
            sigma, start = ((x[row][:, None] + x[other]) / 2 for x in (sigma, start))
            epsilon = jnp.sqrt(epsilon[row][:, None] * epsilon[other])
        near = 0.2 * start
        beyond = jnp.maximum(pairs.distances, near)
        sixth = (sigma / beyond) ** 6
        energies = sixth**2 if self.repulsion_only else 4 * (sixth**2 - sixth)
        steep = sixth**2 if self.repulsion_only else 4 * (sixth**2 - 0.5 * sixth)
        energies -= 12 * steep / beyond * (pairs.distances - beyond)
        envelope = polynomial_envelope(pairs.distances, self.range, order=12) * pairs.mask
        return pairs.weight * jnp.sum(epsilon * energies * envelope, axis=1)
