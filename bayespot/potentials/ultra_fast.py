"""Ultra-fast potential: pairs and triplets in cubic B-splines (Xie, Rupp and Hennig 2023)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors, Pairs, safe_norm
from bayespot.potentials.base import Params
from bayespot.potentials.curves import cubic_bsplines, species_rows
from bayespot.potentials.linear import Linear
from bayespot.potentials.spline import CubicSpline
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class UltraFast(Linear):
    """``U = sum_ij V2(d_ij) + sum_i sum_{j<k} V3(d_ij, d_ik, d_jk)``, linear in its parameters.

    V2 is a ``CubicSpline`` for each pair of species; V3 a tensor product of B-splines for each
    species of the middle atom and pair of species of its neighbours, symmetric under exchange of
    equal neighbours and going to zero with both of its legs.  Functions that no triangle reaches
    have no parameter.  Costs 64 products and, with forces, 64 numbers of memory a triplet:
    ``atoms * slots^2/2`` of them, so that the reach of the pairs should not be much longer than
    that of the triplets.  Needs full neighbour lists.

    Attributes:
        species: atomic numbers it knows.
        start: first knot of all distances, Angstrom: the shortest that the data show.
        range: cut-off of the pairs, Angstrom.
        triplet_range: cut-off of the legs of a triplet, Angstrom.
        basis: number of coefficients of a pair's curve.
        triplet_basis: intervals of a leg; the third side, up to twice as long, has intervals of
            the same width.
        scale: spread of the first coefficients, eV.
    """

    species: tuple[int, ...] = ()
    start: float = 1.0
    range: float = 5.0
    triplet_range: float = 4.0
    basis: int = 20
    triplet_basis: int = 6
    scale: float = 0.1

    @property
    def cutoff(self) -> float:
        """The longer of the two ranges, Angstrom."""
        return max(self.range, self.triplet_range)

    @property
    def elements(self) -> frozenset[int]:
        """Those that have curves."""
        return frozenset(self.species)

    @property
    def _pair_terms(self) -> CubicSpline:
        return CubicSpline(self.start, self.range, self.basis, self.species, self.scale)

    def init(self, key: jax.Array, system: System) -> Params:
        """Independent normal coefficients of spread ``scale``."""
        key, sub = jax.random.split(key)
        count = _layout(self)[1]
        triplet = jax.random.normal(sub, (count,), system.positions.dtype)
        return {**self._pair_terms.init(key, system), "triplet": self.scale * triplet}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each pair to each of its atoms, triplets to their middle atom, eV."""
        pairs = neighbors.pairs(system)
        if pairs.weight != 0.5:
            raise ValueError("potentials with angles need a full neighbour list, not a half list")
        two = self._pair_terms.atomic_energies({"pair": params["pair"]}, system, neighbors)
        return two + self._triplets(params["triplet"], system, pairs)

    def _triplets(self, free: jax.Array, system: System, pairs: Pairs) -> jax.Array:
        layout = _layout(self)[0]
        table = jnp.append(free, jnp.zeros((), free.dtype))[layout]
        row = species_rows(self.species, system.species)
        leg = functools.partial(cubic_bsplines, start=self.start)
        first, values = leg(pairs.distances, stop=self.triplet_range, intervals=self.triplet_basis)
        near = pairs.mask & (pairs.distances < self.triplet_range)
        values = jnp.where(near[..., None], values, 0.0)

        j, k = np.triu_indices(values.shape[1], 1)
        opposite = safe_norm(pairs.vectors[:, k] - pairs.vectors[:, j])
        third, across = leg(opposite, stop=2 * self.triplet_range, intervals=_across(self))
        kind = jnp.broadcast_to(pairs.gather(row), near.shape)
        middle = jnp.broadcast_to(row[:, None], third.shape)
        corner = jnp.stack(
            [middle, kind[:, j], kind[:, k], first[:, j], first[:, k], third], axis=-1
        )
        block = jax.vmap(jax.vmap(lambda c: jax.lax.dynamic_slice(table, c, (1, 1, 1, 4, 4, 4))))
        coefficients = block(corner)[:, :, 0, 0, 0]
        inner = jnp.sum(coefficients * across[:, :, None, None, :], axis=-1)
        inner = jnp.sum(inner * values[:, k][:, :, None, :], axis=-1)
        return jnp.sum(inner * values[:, j], axis=(1, 2))


def _across(potential: UltraFast) -> int:
    """Intervals of the third side, about as wide as those of a leg."""
    width = (potential.triplet_range - potential.start) / potential.triplet_basis
    return int(np.ceil((2 * potential.triplet_range - potential.start) / width - 1e-9))


@functools.cache
def _layout(potential: UltraFast) -> tuple[np.ndarray, int]:
    """Parameter of each coefficient [species i, j, k; B-spline of d_ij, d_ik, d_jk], and their
    number, which stands where there is no parameter."""
    kinds, legs, sides = len(potential.species), potential.triplet_basis + 3, _across(potential) + 3
    shape = (kinds, kinds, kinds, legs, legs, sides)
    middle, a, b, l, m, n = np.indices(shape, np.int32, sparse=True)
    swap = (a > b) | ((a == b) & (l > m))
    # one number for a coefficient and its mirror image
    ordered = (
        middle,
        np.where(swap, b, a),
        np.where(swap, a, b),
        np.where(swap, m, l),
        np.where(swap, l, m),
        n,
    )
    code = np.ravel_multi_index(np.broadcast_arrays(*ordered), shape)

    def ends(number: np.ndarray, stop: float, intervals: int) -> tuple[np.ndarray, np.ndarray]:
        width = (stop - potential.start) / intervals
        low = np.where(number > 2, potential.start + (number - 3) * width, 0.0)
        return low, potential.start + (number + 1) * width

    (l0, l1), (m0, m1) = (ends(x, potential.triplet_range, potential.triplet_basis) for x in (l, m))
    n0, n1 = ends(n, 2 * potential.triplet_range, _across(potential))
    triangle = (n0 < l1 + m1) & (l0 < m1 + n1) & (m0 < l1 + n1)
    # the last three of a leg do not vanish at its cut-off
    vanishing = (l < legs - 3) & (m < legs - 3)
    used = np.broadcast_to(triangle & vanishing, shape)
    distinct, place = np.unique(code[used], return_inverse=True)
    layout = np.full(shape, len(distinct), np.int32)
    layout[used] = place
    return layout, len(distinct)
