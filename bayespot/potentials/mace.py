"""MACE: many-body messages from products of atomic densities (Batatia et al. 2022), in dm-haiku."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.neighbors import Neighbors
from bayespot.potentials.basis import bessel, directions, polynomial_envelope
from bayespot.potentials.network import HaikuNetwork
from bayespot.system import System

LMAX = 2  # spherical harmonics of the densities


@functools.cache
def symmetric_products(correlation: int, l: int) -> list[np.ndarray]:
    """What invariants (l = 0) or polar vectors (l = 1) there are in products of densities.

    Returns:
        For each order up to ``correlation`` (monomials, paths, 2l + 1): coefficients of the
        monomials ``A_i A_j ..`` with ``i <= j <= ..`` of one channel's (0e + 1o + 2e) density.
    """
    import e3nn_jax as e3nn

    kind = e3nn.Irrep(l, (-1) ** l)
    tables = []
    with jax.ensure_compile_time_eval():
        for order in range(1, correlation + 1):
            found = e3nn.reduced_symmetric_tensor_product_basis(
                e3nn.Irreps("0e + 1o + 2e"), order, keep_ir=[kind]
            )
            dense = np.asarray(found.array, np.float64)
            rows = []
            for at in itertools.combinations_with_replacement(range(dense.shape[0]), order):
                copies = math.factorial(order)
                for i in set(at):
                    copies //= math.factorial(at.count(i))
                rows.append(copies * dense[at])
            tables.append(np.stack(rows).reshape(len(rows), -1, 2 * l + 1))
    return tables


def _monomials(density: jax.Array, order: int) -> jax.Array:
    at = np.array(list(itertools.combinations_with_replacement(range(density.shape[-1]), order)))
    return functools.reduce(jnp.multiply, (density[..., column] for column in at.T))


def _paths(vectors: bool) -> list[tuple[int, int, int]]:
    """(l of the neighbour, l of the direction, l of the density) that parity allows."""
    return [
        (a, b, c)
        for a in range(2 if vectors else 1)
        for b in range(LMAX + 1)
        for c in range(LMAX + 1)
        if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0
    ]


@dataclasses.dataclass(frozen=True)
class MACE(HaikuNetwork):
    """Densities of neighbours up to l = 2, their symmetric products, hidden scalars and vectors.

    One block sees ``correlation + 1`` atoms at once; no sum runs over triplets.  Memory
    ``atoms * slots * features * 4`` for the densities and, at correlation 3,
    ``atoms * features * 219`` for the products.  The first use imports e3nn-jax.

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off in Angstrom.
        features: channels of densities and hidden features.
        interactions: number of blocks.
        basis: number of Bessel functions.
        hidden: width of the two hidden layers from distances to weights.
        correlation: order of the products, 1 to 3.
        neighbors: what sums over neighbours are divided by; about the mean number of neighbours.
        scale: energy unit of the read-outs in eV; about the spread of the data.
    """

    features: int = 32
    interactions: int = 2
    basis: int = 8
    hidden: int = 64
    correlation: int = 3
    neighbors: float = 10.0
    scale: float = 1.0

    def _forward(self, system: System, neighbors: Neighbors) -> jax.Array:
        import e3nn_jax as e3nn
        import haiku as hk

        width = self.features

        def parameter(name: str, fan_in: int, *shape: int, dtype: Any) -> jax.Array:
            init = hk.initializers.RandomNormal(fan_in**-0.5)
            return hk.get_parameter(name, shape, dtype, init=init)

        def mix(x: list[jax.Array], name: str, kind: jax.Array | None = None) -> list[jax.Array]:
            """Each degree's channels among themselves, with weights of the atom's element."""
            mixed = []
            for l, part in enumerate(x):
                size, dtype = part.shape[1], part.dtype
                if kind is None:
                    w = parameter(f"{name}_{l}", size, size, width, dtype=dtype)
                    mixed.append(jnp.einsum("ifm,fg->igm", part, w))
                else:
                    shape = (len(self.species), size, width)
                    w = parameter(f"{name}_{l}", size, *shape, dtype=dtype)
                    mixed.append(jnp.einsum("ifm,is,sfg->igm", part, kind, w))
            return mixed

        pairs = neighbors.pairs(system)
        dtype = system.positions.dtype
        kind = jax.nn.one_hot(self.rows(system), len(self.species), dtype=dtype)
        count = len(self.species)
        h = [(kind @ parameter("embed", 1, count, width, dtype=dtype))[..., None]]
        unit = directions(pairs.vectors)
        harmonics = [
            e3nn.spherical_harmonics(e3nn.Irreps(f"{l}{'eo'[l % 2]}"), unit, False).array
            for l in range(LMAX + 1)
        ]
        radial = bessel(pairs.distances, self.range, self.basis) * jnp.sqrt(self.range)
        envelope = (polynomial_envelope(pairs.distances, self.range) * pairs.mask)[..., None]
        energies = jnp.zeros(len(kind), dtype)
        for block in range(self.interactions):
            name, last = f"block{block}", block == self.interactions - 1
            paths = _paths(vectors=len(h) > 1)
            weights = radial
            for layer in range(2):
                weights = jax.nn.swish(
                    hk.Linear(self.hidden, name=f"{name}_radial{layer}")(weights)
                )
            weights = hk.Linear(len(paths) * width, name=f"{name}_radial2")(weights) * envelope
            sent = [pairs.gather(x) for x in mix(h, f"{name}_up")]
            sums: list[list[jax.Array]] = [[] for _ in range(LMAX + 1)]
            for (a, b, c), weight in zip(paths, jnp.split(weights, len(paths), -1), strict=True):
                couple = np.asarray(e3nn.clebsch_gordan(a, b, c)) * math.sqrt(2 * c + 1)
                bond = jnp.einsum("ijy,xyz->ijxz", harmonics[b], jnp.asarray(couple, dtype))
                message = jnp.einsum("ijfx,ijxz->ifz", weight[..., None] * sent[a], bond)
                sums[c].append(message / self.neighbors)
            density = mix([jnp.concatenate(x, axis=1) for x in sums], f"{name}_density")
            density = jnp.concatenate(density, axis=-1)

            skip = mix(h[:1] if last else h, f"{name}_skip", kind)
            product = []
            for l in range(1 if last else 2):
                tables = symmetric_products(self.correlation, l)
                terms = [
                    jnp.einsum("ifa,apm->ifpm", _monomials(density, order + 1), table)
                    for order, table in enumerate(jnp.asarray(t, dtype) for t in tables)
                ]
                found = jnp.concatenate(terms, axis=2)
                number = found.shape[2]
                w = parameter(f"{name}_product_{l}", number, count, number, width, dtype=dtype)
                product.append(jnp.einsum("ifpm,is,spf->ifm", found, kind, w))
            h = mix(product, f"{name}_out")
            h = [x + skip[l] if l < len(skip) else x for l, x in enumerate(h)]
            scalars = h[0][..., 0]
            if last:
                scalars = jax.nn.swish(hk.Linear(width // 2, name="readout")(scalars))
            energies += hk.Linear(1, name=f"{name}_energy")(scalars)[:, 0]
        return self.scale * energies
