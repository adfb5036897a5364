"""PaiNN: equivariant message passing with scalars and vectors (Schuett, Unke, Gastegger 2021)."""

import dataclasses

import jax
import jax.numpy as jnp

from bayespot.neighbors import Neighbors
from bayespot.potentials.basis import bessel, directions, polynomial_envelope
from bayespot.potentials.network import HaikuNetwork, embedding
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class PaiNN(HaikuNetwork):
    """A message-passing network on distances and directions.

    Messages cost ``atoms * slots * features`` numbers times 3 for the vectors, no angles.  What
    the paper's equations compute in vain is left out: vectors into the first block (they are zero)
    and vectors out of the last (nobody reads them).

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off in Angstrom.
        features: number of scalars and of vectors per atom.
        interactions: number of blocks of a message and an update.
        basis: number of Bessel functions.
        scale: energy unit of the read-out in eV; about the spread of the data.
        neighbors: mean number of neighbours; sums over neighbours are divided by its square root,
            which keeps features of order one in dense systems too (the paper does not divide: 1).
    """

    features: int = 32
    interactions: int = 3
    basis: int = 20
    scale: float = 1.0
    neighbors: float = 10.0

    def _forward(self, system: System, neighbors: Neighbors) -> jax.Array:
        import haiku as hk

        width = self.features
        pairs = neighbors.pairs(system)
        dtype, root = system.positions.dtype, self.neighbors**0.5
        s = embedding(self.rows(system), len(self.species), width, dtype)
        v = jnp.zeros((len(s), 3, width), dtype)
        # one input scale whatever the range: sqrt(r_c/2) d_c b_n(d) is of order one
        radial = bessel(pairs.distances, self.range, self.basis) * jnp.sqrt(self.range)
        envelope = (polynomial_envelope(pairs.distances, self.range) * pairs.mask)[..., None]
        unit = directions(pairs.vectors)[..., None]
        for block in range(self.interactions):
            first, last = block == 0, block == self.interactions - 1
            name = f"block{block}"

            parts = 2 if first else 3
            filters = hk.Linear(parts * width, name=f"{name}_filter")(radial) * envelope
            inward = jax.nn.swish(hk.Linear(width, name=f"{name}_in0")(s))
            inward = hk.Linear(parts * width, name=f"{name}_in1")(inward)
            to_scalar, along, *carry = jnp.split(filters * pairs.gather(inward), parts, -1)
            s = s + jnp.sum(to_scalar, axis=1) / root
            message = along[:, :, None] * unit
            if carry:
                message += carry[0][:, :, None] * pairs.gather(v)
            v = v + jnp.sum(message, axis=1) / root

            left, right = jnp.split(
                hk.Linear(2 * width, with_bias=False, name=f"{name}_mix")(v), 2, -1
            )
            # a rounded norm: vectors vanish at symmetric sites, where a norm has a kink
            norm = jnp.sqrt(jnp.sum(right**2, axis=1) + 1e-4)
            parts = 2 if last else 3
            gates = hk.Linear(width, name=f"{name}_out0")(jnp.concatenate([s, norm], -1))
            gates = hk.Linear(parts * width, name=f"{name}_out1")(jax.nn.swish(gates))
            alone, product, *turn = jnp.split(gates, parts, -1)
            s = s + alone + product * jnp.sum(left * right, axis=1)
            if turn:
                v = v + turn[0][:, None] * left
        hidden = jax.nn.swish(hk.Linear(width // 2, name="readout0")(s))
        return self.scale * hk.Linear(1, name="readout1")(hidden)[:, 0]
