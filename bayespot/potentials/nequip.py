"""NequIP: E(3)-equivariant convolutions (Batzner et al. 2022), with jax-md's convolution."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors, placeholder
from bayespot.potentials.base import Params
from bayespot.potentials.basis import bessel, directions, polynomial_envelope
from bayespot.potentials.network import Network
from bayespot.system import System


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """jax-md 0.2.29 calls what e3nn-jax 0.21 warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@dataclasses.dataclass(frozen=True)
class NequIP(Network):
    """Scalars and polar vectors (l_max 1), mixed by tensor products with the bonds' directions.

    The convolution is jax-md's; embedding, radial functions and read-out are ours: its own cut off
    with one continuous derivative, work in float32 and turn unit vectors by mirrors as if they
    were axial.  Memory ``atoms * slots * features * 11`` for the messages.  The first use imports
    flax and e3nn-jax, which takes seconds.

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off in Angstrom.
        features: number of scalars and of vectors per atom.
        interactions: number of convolutions.
        basis: number of Bessel functions.
        hidden: widths of the hidden layers from distances to weights.
        neighbors: what sums over neighbours are divided by; about the mean number of neighbours.
        scale: energy unit of the read-out in eV; about the spread of the data.
    """

    features: int = 32
    interactions: int = 4
    basis: int = 8
    hidden: int = 64
    neighbors: float = 10.0
    scale: float = 1.0

    def _network(self) -> Any:
        import e3nn_jax as e3nn
        import flax.linen as nn
        from jax_md._nn.e3nn_layer import Linear
        from jax_md._nn.nequip import NequIPConvolution

        class Convolutions(nn.Module):
            model: NequIP

            @nn.compact
            def __call__(self, system: System, neighbors: Neighbors) -> jax.Array:
                model = self.model
                pairs = neighbors.pairs(system)
                atoms, slots = pairs.mask.shape
                dtype = system.positions.dtype
                kinds = jax.nn.one_hot(model.rows(system), len(model.species), dtype=dtype)
                attributes = e3nn.IrrepsArray(f"{len(model.species)}x0e", kinds)

                # edges of a graph: slot by slot, from the neighbour to the atom
                sender = jnp.broadcast_to(pairs.gather(jnp.arange(atoms)), (atoms, slots)).ravel()
                receiver = jnp.repeat(jnp.arange(atoms), slots)
                d = pairs.distances.ravel()
                unit = directions(pairs.vectors).reshape(-1, 3)
                harmonics = jnp.concatenate([jnp.ones_like(unit[:, :1]), jnp.sqrt(3) * unit], 1)
                harmonics = e3nn.IrrepsArray("1x0e + 1x1o", harmonics.astype(dtype))
                # the radial network has no offsets: zero here is no message, so this is the mask
                envelope = polynomial_envelope(d, model.range) * pairs.mask.ravel()
                radial = bessel(d, model.range, model.basis) * jnp.sqrt(model.range)
                radial = radial * envelope[:, None]

                h = Linear(e3nn.Irreps(f"{model.features}x0e"))(attributes)
                for step in range(model.interactions):
                    last = step == model.interactions - 1
                    vectors = "" if last else f" + {model.features}x1o"
                    convolution: Any = NequIPConvolution(
                        hidden_irreps=e3nn.Irreps(f"{model.features}x0e{vectors}"),
                        use_sc=True,
                        nonlinearities={"e": "raw_swish", "o": "tanh"},
                        radial_net_n_hidden=model.hidden,
                        n_neighbors=model.neighbors,
                    )
                    h = convolution(h, attributes, harmonics, sender, receiver, radial)
                h = Linear(e3nn.Irreps(f"{model.features // 2}x0e"))(h)
                return model.scale * Linear(e3nn.Irreps("1x0e"))(h).array[:, 0]

        return Convolutions(self)

    def init(self, key: jax.Array, system: System) -> Params:
        """jax-md's initialisation, in the dtype of the positions: a dict of dicts of arrays."""
        with _quiet():
            init = jax.jit(self._network().init)
            params = init(key, system, placeholder(system))["params"]
        return jax.tree.map(lambda x: x.astype(system.positions.dtype), dict(params))

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Read-out of every atom, eV."""
        with _quiet():
            return self._network().apply({"params": params}, system, neighbors)
