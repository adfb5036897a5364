"""SchNet: continuous-filter convolutions over neighbours (Schuett et al. 2017), in dm-haiku."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors, placeholder
from bayespot.potentials.base import Params, Potential
from bayespot.potentials.basis import gaussians, polynomial_envelope
from bayespot.system import System


def shifted_softplus(x: jax.Array) -> jax.Array:
    """``log(1 + e^x) - log 2``: smooth, zero at zero."""
    return jax.nn.softplus(x) - jnp.log(2.0).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class SchNet(Potential):
    """A message-passing network on distances.

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off in Angstrom.
        features: width of the atom features and filters.
        interactions: number of message-passing blocks.
        basis: number of Gaussians.
        scale: energy unit of the read-out in eV; about the spread of the data.
    """

    species: tuple[int, ...] = ()
    range: float = 5.0
    features: int = 32
    interactions: int = 2
    basis: int = 20
    scale: float = 1.0

    @property
    def cutoff(self) -> float:
        """Range of one block; information travels ``interactions`` times as far."""
        return self.range

    @property
    def elements(self) -> frozenset[int]:
        """The embedded elements."""
        return frozenset(self.species)

    def _network(self):  # type: ignore[no-untyped-def]
        import haiku as hk

        def forward(system: System, neighbors: Neighbors) -> jax.Array:
            width = self.features
            pairs = neighbors.pairs(system)
            row = np.zeros(120, np.int32)
            row[list(self.species)] = np.arange(len(self.species))
            index = jnp.asarray(row)[system.species]
            # hk.Embed would hold float32 parameters in a float64 model
            with hk.experimental.name_scope("embed"):  # type: ignore[attr-defined]
                shape, dtype = (len(self.species), width), system.positions.dtype
                init = hk.initializers.TruncatedNormal()
                x = hk.get_parameter("embeddings", shape, dtype, init=init)[index]
            radial = gaussians(pairs.distances, self.range, self.basis)
            envelope = polynomial_envelope(pairs.distances, self.range) * pairs.mask
            for block in range(self.interactions):
                name = f"block{block}"
                filters = hk.Linear(width, name=f"{name}_filter0")(radial)
                filters = hk.Linear(width, name=f"{name}_filter1")(shifted_softplus(filters))
                filters = filters * envelope[..., None]
                inward = hk.Linear(width, with_bias=False, name=f"{name}_in")(x)
                messages = jnp.sum(filters * pairs.gather(inward), axis=1)
                update = shifted_softplus(hk.Linear(width, name=f"{name}_out0")(messages))
                x = x + hk.Linear(width, name=f"{name}_out1")(update)
            hidden = shifted_softplus(hk.Linear(width // 2, name="readout0")(x))
            return self.scale * hk.Linear(1, name="readout1")(hidden)[:, 0]

        return hk.without_apply_rng(hk.transform(forward))

    def init(self, key: jax.Array, system: System) -> Params:
        """Haiku's default initialisation."""
        return self._network().init(key, system, placeholder(system))

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Read-out of every atom, eV."""
        return self._network().apply(params, system, neighbors)
