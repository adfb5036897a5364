"""DimeNet++: directional message passing with angles (Gasteiger et al. 2020), in dm-haiku."""

import dataclasses

import jax
import jax.numpy as jnp

from bayespot.neighbors import Neighbors
from bayespot.potentials.network import HaikuNetwork, thermal
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class DimeNetPP(HaikuNetwork):
    """Messages on directed edges that see the angles to the edges that feed them.

    The angular sum of a block takes ``atoms * slots^2 * degrees * triplet_features``
    multiplications; its largest array holds ``atoms * slots^2 * degrees`` numbers, shared by all
    blocks.  Basis functions and angles are finite, with their derivatives, where atoms coincide.
    The defaults are a quarter of the original sizes.

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off in Angstrom.
        features: width of the messages.
        out_features: width of the output layers.
        triplet_features: width of the messages while they meet angles.
        basis_features: width that basis functions are squeezed through.
        species_features: width of the species embeddings, and of those of the temperature.
        interactions: number of blocks.
        out_layers: hidden layers of each output.
        residuals: residual layers before and after a block's skip connection.
        basis: number of radial Bessel functions, whose frequencies are learned.
        degrees: number of angular functions.
        envelope: order of the cut-off envelope.
        temperature: None, or in K: edges then also see a learned vector times ``k_B T`` and one
            divided by it (see ``network.thermal``), with T that of the system, or this one where
            the system tells none.
        scale: energy unit of the read-out in eV; about the spread of the data.
    """

    features: int = 32
    out_features: int = 64
    triplet_features: int = 16
    basis_features: int = 8
    species_features: int = 16
    interactions: int = 4
    out_layers: int = 3
    residuals: tuple[int, int] = (1, 2)
    basis: int = 6
    degrees: int = 7
    envelope: int = 6
    temperature: float | None = None
    scale: float = 1.0

    def _forward(self, system: System, neighbors: Neighbors) -> jax.Array:
        import haiku as hk

        from bayespot.potentials import triplets

        init = triplets.glorot_orthogonal

        def linear(x: jax.Array, width: int, name: str, bias: bool = False) -> jax.Array:
            return hk.Linear(width, with_bias=bias, w_init=init, name=name)(x)

        def dense(x: jax.Array, width: int, name: str, bias: bool = True) -> jax.Array:
            return jax.nn.swish(linear(x, width, name, bias))

        def residual(x: jax.Array, name: str) -> jax.Array:
            return x + dense(dense(x, self.features, f"{name}_0"), self.features, f"{name}_1")

        def read_out(messages: jax.Array, radial: jax.Array, name: str) -> jax.Array:
            x = jnp.sum(messages * linear(radial, self.features, f"{name}_radial"), axis=1)
            x = linear(x, self.out_features, f"{name}_up")
            for layer in range(self.out_layers):
                x = dense(x, self.out_features, f"{name}_{layer}")
            return linear(x, 1, f"{name}_energy")[:, 0]

        pairs = neighbors.pairs(system)
        dtype = system.positions.dtype
        radial, waves = triplets.waves(pairs, self.range, self.envelope, self.basis, self.degrees)
        angular = triplets.angles(pairs, self.degrees)
        turn = triplets.reversal(pairs)

        x = triplets.embed(self.rows(system), len(self.species), self.species_features, dtype)
        parts = [*triplets.edge_ends(pairs, x), linear(radial, self.features, "embed_radial")]
        if self.temperature is not None:
            heat = thermal(system, self.temperature, self.species_features)
            parts.append(jnp.broadcast_to(heat, (*pairs.mask.shape, len(heat))))
        m = dense(jnp.concatenate(parts, axis=-1), self.features, "embed_edge")

        energies = read_out(m, radial, "out0")
        for block in range(self.interactions):
            name = f"block{block}"
            gate = linear(radial, self.basis_features, f"{name}_radial0")
            x = dense(m, self.features, f"{name}_far")
            x = x * linear(gate, self.features, f"{name}_radial1")
            x = dense(x, self.triplet_features, f"{name}_down", bias=False)
            # the wave of an edge does not know the angle: it acts before the sum over edges
            with hk.experimental.name_scope(f"{name}_waves"):  # type: ignore[attr-defined]
                size = (self.degrees * self.basis, self.basis_features)
                w = hk.get_parameter("w", size, dtype, init=init)
            squeezed = jnp.einsum("asln,lnb->aslb", waves, w.reshape(waves.shape[2:] + w.shape[1:]))
            x = x[:, :, None] * linear(squeezed, self.triplet_features, f"{name}_angular")
            x = turn(jnp.einsum("atsl,aslf->atf", angular, x))
            x = dense(m, self.features, f"{name}_near") + dense(
                x, self.features, f"{name}_up", bias=False
            )
            for layer in range(self.residuals[0]):
                x = residual(x, f"{name}_before{layer}")
            m = m + dense(x, self.features, f"{name}_skip")
            for layer in range(self.residuals[1]):
                m = residual(m, f"{name}_after{layer}")
            energies += read_out(m, radial, f"out{block + 1}")
        return self.scale * energies
