"""SchNet: continuous-filter convolutions over neighbours (Schuett et al. 2017), in dm-haiku."""

import dataclasses

import jax
import jax.numpy as jnp

from bayespot.neighbors import Neighbors
from bayespot.potentials.basis import gaussians, polynomial_envelope
from bayespot.potentials.network import HaikuNetwork, embedding, thermal
from bayespot.system import System


def shifted_softplus(x: jax.Array) -> jax.Array:
    """``log(1 + e^x) - log 2``: smooth, zero at zero."""
    return jax.nn.softplus(x) - jnp.log(2.0).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class SchNet(HaikuNetwork):
    """A message-passing network on distances.

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off in Angstrom.
        features: width of the atom features and filters.
        interactions: number of message-passing blocks.
        basis: number of Gaussians.
        scale: energy unit of the read-out in eV; about the spread of the data.
        neighbors: mean number of neighbours; sums over neighbours are divided by its square root,
            which keeps features of order one in dense systems too (the paper does not divide: 1).
        temperature: None, or in K: filters then also see a learned vector times ``k_B T`` and one
            divided by it (see ``network.thermal``), with T that of the system, or this one where
            the system tells none.
    """

    features: int = 32
    interactions: int = 2
    basis: int = 20
    scale: float = 1.0
    neighbors: float = 10.0
    temperature: float | None = None

    def _forward(self, system: System, neighbors: Neighbors) -> jax.Array:
        import haiku as hk

        width = self.features
        pairs = neighbors.pairs(system)
        x = embedding(self.rows(system), len(self.species), width, system.positions.dtype)
        radial = gaussians(pairs.distances, self.range, self.basis)
        envelope = polynomial_envelope(pairs.distances, self.range) * pairs.mask
        heat = None if self.temperature is None else thermal(system, self.temperature)
        for block in range(self.interactions):
            name = f"block{block}"
            filters = hk.Linear(width, name=f"{name}_filter0")(radial)
            if heat is not None:  # as if joined to the radial functions
                filters += hk.Linear(width, with_bias=False, name=f"{name}_heat")(heat)
            filters = hk.Linear(width, name=f"{name}_filter1")(shifted_softplus(filters))
            filters = filters * envelope[..., None]
            inward = hk.Linear(width, with_bias=False, name=f"{name}_in")(x)
            messages = jnp.sum(filters * pairs.gather(inward), axis=1) / self.neighbors**0.5
            update = shifted_softplus(hk.Linear(width, name=f"{name}_out0")(messages))
            x = x + hk.Linear(width, name=f"{name}_out1")(update)
        hidden = shifted_softplus(hk.Linear(width // 2, name="readout0")(x))
        return self.scale * hk.Linear(1, name="readout1")(hidden)[:, 0]
