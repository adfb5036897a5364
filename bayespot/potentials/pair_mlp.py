"""Pairwise multi-layer perceptron on Bessel functions of the distance (dm-haiku)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.potentials.basis import bessel, polynomial_envelope
from bayespot.potentials.network import thermal
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class PairMLP(Potential):
    """``U = sum_pairs s(d) MLP(bessel(d))``, the same for all species (methods.md section 5).

    Attributes:
        range: cut-off in Angstrom.
        basis: number of Bessel functions.
        hidden: widths of the hidden layers.
        scale: energy unit of the network's output, eV.
        temperature: None, or in K: the first layer then also sees a learned vector times ``k_B T``
            and one divided by it (see ``network.thermal``), with T that of the system, or this one
            where the system tells none.
    """

    range: float = 5.0
    basis: int = 6
    hidden: tuple[int, ...] = (64,)
    scale: float = 1.0
    temperature: float | None = None

    @property
    def cutoff(self) -> float:
        """Range in Angstrom."""
        return self.range

    def _network(self):  # type: ignore[no-untyped-def]
        import haiku as hk

        def forward(distances: jax.Array, system: System) -> jax.Array:
            # one input scale whatever the range: sqrt(r_c/2) d_c b_n(d) is of order one
            x = bessel(distances, self.range, self.basis) * jnp.sqrt(self.range)
            for layer, width in enumerate(self.hidden):
                x = hk.Linear(width, name=f"hidden{layer}")(x)
                if layer == 0 and self.temperature is not None:  # as if joined to the distances
                    heat = thermal(system, self.temperature)
                    x += hk.Linear(width, with_bias=False, name="heat")(heat)
                x = jax.nn.swish(x)
            return self.scale * hk.Linear(1, name="out")(x)[..., 0]

        return hk.without_apply_rng(hk.transform(forward))

    @property
    def pairwise(self) -> bool:
        """A sum over pairs."""
        return True

    def init(self, key: jax.Array, system: System) -> Params:
        """Haiku's default initialisation."""
        return self._network().init(key, jnp.ones((1, 1), system.positions.dtype), system)

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each pair to each atom, eV."""
        pairs = neighbors.pairs(system)
        energies = self._network().apply(params, pairs.distances, system)
        envelope = polynomial_envelope(pairs.distances, self.range) * pairs.mask
        return pairs.weight * jnp.sum(energies * envelope, axis=1)
