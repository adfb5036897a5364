"""GemNet-T: geometric message passing with triplets (Gasteiger et al. 2021), in dm-haiku."""

import dataclasses

import jax
import jax.numpy as jnp

from bayespot.neighbors import Neighbors
from bayespot.potentials.network import HaikuNetwork
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class GemNetT(HaikuNetwork):
    """Messages on directed edges that see the other edges of the atom they reach, and both ways.

    The triplet variant with energies read from messages at each atom; forces are gradients.  A
    block takes per edge ``slots * degrees * triplet_features`` multiplications for the angular sum
    and ``triplet_features^2 * basis_features`` for the bilinear layer; the largest array holds
    ``atoms * slots^2 * degrees`` numbers.

    The original fits a factor for each sum and product so that variance neither grows nor fades
    with depth.  Here they are three constants, near those of a water box at the defaults.

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off in Angstrom.
        features: width of atoms and messages.
        triplet_features: width of the messages while they meet angles, before and after.
        basis_features: width that basis functions are squeezed through.
        interactions: number of blocks.
        residuals: residual layers before and after a block's skip connection, after the atoms are
            joined in, and of the atoms.
        basis: number of radial Bessel functions, whose frequencies are learned.
        degrees: number of angular functions.
        envelope: order of the cut-off envelope.
        factors: constants after the radial product, the angular sum and the sum over neighbours.
        scale: energy unit of the read-out in eV; about the spread of the data.
    """

    features: int = 128
    triplet_features: int = 64
    basis_features: int = 16
    interactions: int = 4
    residuals: tuple[int, int, int, int] = (1, 1, 1, 2)
    basis: int = 6
    degrees: int = 7
    envelope: int = 5
    factors: tuple[float, float, float] = (4.0, 0.5, 0.5)
    scale: float = 1.0

    def _forward(self, system: System, neighbors: Neighbors) -> jax.Array:
        import haiku as hk

        from bayespot.potentials import triplets

        half = 0.5**0.5  # two terms of unit variance add up to unit variance

        def linear(x: jax.Array, width: int, name: str) -> jax.Array:
            return hk.Linear(width, with_bias=False, w_init=triplets.he_orthogonal, name=name)(x)

        def dense(x: jax.Array, width: int, name: str) -> jax.Array:
            return jax.nn.swish(linear(x, width, name)) / 0.6  # of about unit variance

        def residuals(x: jax.Array, count: int, name: str) -> jax.Array:
            for layer in range(count):
                y = dense(x, self.features, f"{name}{layer}_0")
                x = (x + dense(y, self.features, f"{name}{layer}_1")) * half
            return x

        def weight(name: str, *shape: int, dtype) -> jax.Array:  # type: ignore[no-untyped-def]
            with hk.experimental.name_scope(name):  # type: ignore[attr-defined]
                return hk.get_parameter("w", shape, dtype, init=triplets.he_orthogonal)

        def at_atoms(m: jax.Array, radial: jax.Array, name: str) -> jax.Array:
            x = jnp.sum(m * linear(radial, self.features, f"{name}_radial"), axis=1)
            x = dense(x * self.factors[2], self.features, f"{name}_in")
            return residuals(x, self.residuals[3], f"{name}_atom")

        def join(h: jax.Array, edges: jax.Array, pairs, name: str) -> jax.Array:  # type: ignore[no-untyped-def]
            x = jnp.concatenate([*triplets.edge_ends(pairs, h), edges], axis=-1)
            return dense(x, self.features, name)

        pairs = neighbors.pairs(system)
        dtype = system.positions.dtype
        radial, waves = triplets.waves(pairs, self.range, self.envelope, self.basis, self.degrees)
        angular = triplets.angles(pairs, self.degrees)
        turn = triplets.reversal(pairs)

        # squeezed once for all blocks
        narrow = self.basis_features
        for_edges = linear(radial, narrow, "radial_edges")
        for_atoms = linear(radial, narrow, "radial_atoms")
        for_energy = linear(radial, narrow, "radial_energy")
        w = weight("waves", self.degrees, self.basis, narrow, dtype=dtype)
        waves = jnp.einsum("asln,lnb->aslb", waves, w)

        h = triplets.embed(self.rows(system), len(self.species), self.features, dtype)
        m = join(h, radial, pairs, "embed_edge")

        def energy(m: jax.Array, name: str) -> jax.Array:
            return linear(at_atoms(m, for_energy, name), 1, f"{name}_energy")[:, 0]

        energies = energy(m, "out0")
        for block in range(self.interactions):
            name, width = f"block{block}", self.triplet_features
            x = dense(m, self.features, f"{name}_other")
            x = x * linear(for_edges, self.features, f"{name}_radial") * self.factors[0]
            x = dense(x, width, f"{name}_down")
            # the angle meets the other edge's message, its own edge's wave, then the weights
            x = jnp.einsum("atsl,asf->atlf", angular, x)
            x = jnp.einsum("atlb,atlf->atbf", waves, x)
            w = weight(f"{name}_bilinear", narrow, width, width, dtype=dtype)
            x = jnp.einsum("atbf,bfg->atg", x, w) * self.factors[1]
            here, there = (dense(x, self.features, f"{name}_{k}") for k in ("here", "there"))
            x = (dense(m, self.features, f"{name}_own") + (here + turn(there)) * half) * half
            x = residuals(x, self.residuals[0], f"{name}_before")
            m = residuals((m + x) * half, self.residuals[1], f"{name}_after")
            h = (h + at_atoms(m, for_atoms, f"{name}_atoms")) * half
            x = residuals(join(h, m, pairs, f"{name}_join"), self.residuals[2], f"{name}_joined")
            m = (m + x) * half
            energies += energy(m, f"out{block + 1}")
        return self.scale * energies
