"""A network on the distances and dihedrals of one molecule (CGnets: Wang et al. 2019)."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class InternalNetwork(Potential):
    """``scale * network(standardised distances, cos and sin of dihedrals)`` in open space.

    Two hidden layers.  All beads see all others: the most general body order, at the price of a
    handful of small products.  Each bead has an equal share of the energy.

    Attributes:
        pairs: of beads whose distances enter.
        means, spreads: of these distances, Angstrom.
        dihedrals: chains of four beads.
        width: of the hidden layers.
        scale: eV.
    """

    pairs: tuple[tuple[int, int], ...] = ()
    means: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    dihedrals: tuple[tuple[int, int, int, int], ...] = ()
    width: int = 32
    scale: float = 0.0259

    @classmethod
    def of(
        cls,
        positions: np.ndarray,
        bonds: tuple[tuple[int, int], ...],
        dihedrals: tuple[tuple[int, int, int, int], ...],
        width: int,
        scale: float,
    ) -> InternalNetwork:
        """All pairs that no bond joins, standardised by frames (frames, beads, 3)."""
        every = itertools.combinations(range(positions.shape[1]), 2)
        pairs = tuple(p for p in every if p not in {(min(b), max(b)) for b in bonds})
        i, j = np.array(pairs).T
        distances = np.linalg.norm(positions[:, i].astype(float) - positions[:, j], axis=-1)
        means, spreads = distances.mean(axis=0), distances.std(axis=0)
        return cls(pairs, tuple(means.tolist()), tuple(spreads.tolist()), dihedrals, width, scale)

    @property
    def cutoff(self) -> float:
        """No neighbours are needed."""
        return 0.0

    def init(self, key: jax.Array, system: System) -> Params:
        """LeCun normal weights, a tenth of them in the last layer."""
        sizes = (len(self.pairs) + 2 * len(self.dihedrals), self.width, self.width, 1)
        dtype = system.positions.dtype
        made = {}
        for n, (a, b) in enumerate(itertools.pairwise(sizes)):
            size = (0.1 if b == 1 else 1.0) / np.sqrt(a)
            made[f"w{n}"] = size * jax.random.normal(jax.random.fold_in(key, n), (a, b), dtype)
            made[f"b{n}"] = jnp.zeros(b, dtype)
        return made

    def inputs(self, positions: jax.Array) -> jax.Array:
        """(features,) of order one."""
        dtype = positions.dtype
        i, j = np.array(self.pairs).T
        # differences as products: no scatter in the derivative
        apart = jnp.asarray(_differences(i, j, len(positions)), dtype) @ positions
        distances = jnp.sqrt(jnp.sum(apart**2, axis=-1) + 1e-12)
        scaled = (distances - jnp.asarray(self.means, dtype)) / jnp.asarray(self.spreads, dtype)
        a, b, c, d = np.array(self.dihedrals).T
        one, two, three = (
            jnp.asarray(_differences(x, y, len(positions)), dtype) @ positions
            for x, y in ((a, b), (b, c), (c, d))
        )
        left, right = jnp.cross(one, two), jnp.cross(two, three)
        length = jnp.sqrt(jnp.sum(two**2, axis=-1) + 1e-12)
        x = jnp.sum(left * right, axis=-1)
        y = length * jnp.sum(one * right, axis=-1)
        # vanishing where three beads are in line, and smooth there
        norm = jnp.sqrt(x**2 + y**2 + 1e-6)
        return jnp.concatenate([scaled, x / norm, y / norm])

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Equal shares, eV."""
        del neighbors
        x = self.inputs(system.positions)
        for n in (0, 1):
            x = jax.nn.silu(x @ params[f"w{n}"] + params[f"b{n}"])
        energy = self.scale * (x @ params["w2"] + params["b2"])[0]
        return jnp.full(len(system.positions), energy / len(system.positions))


def _differences(i: np.ndarray, j: np.ndarray, size: int) -> np.ndarray:
    """(pairs, size): the second bead of each pair less the first."""
    made = np.zeros((len(i), size))
    made[np.arange(len(i)), j] += 1
    made[np.arange(len(i)), i] -= 1
    return made
