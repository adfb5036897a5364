"""Lennard-Jones pairs and their repulsive half, with fixed or learned parameters."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.potentials.basis import polynomial_envelope
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class LennardJones(Potential):
    """``4 eps ((s/d)^12 - (s/d)^6)`` or ``eps (s/d)^12``, brought smoothly to zero at the cut-off.

    Below a fifth of sigma the energy stays at its value there, which is finite: coinciding atoms
    give a huge number and no NaN.

    Attributes:
        sigma: Angstrom.
        epsilon: eV.
        range: cut-off in Angstrom.
        repulsion_only: the repulsive prior of methods.md section 5.
        trainable: learn ``log sigma`` and ``log epsilon``.
    """

    sigma: float = 1.0
    epsilon: float = 1.0
    range: float = 2.5
    repulsion_only: bool = False
    trainable: bool = False

    @property
    def cutoff(self) -> float:
        """Range in Angstrom."""
        return self.range

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
        sigma = jnp.exp(params["log_sigma"]) if self.trainable else self.sigma
        epsilon = jnp.exp(params["log_epsilon"]) if self.trainable else self.epsilon
        pairs = neighbors.pairs(system)
        sixth = (sigma / jnp.maximum(pairs.distances, 0.2 * self.sigma)) ** 6
        energies = sixth**2 if self.repulsion_only else 4 * (sixth**2 - sixth)
        envelope = polynomial_envelope(pairs.distances, self.range, order=12) * pairs.mask
        return 0.5 * epsilon * jnp.sum(energies * envelope, axis=1)
