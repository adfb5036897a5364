"""Cubic spline of the pair distance, linear in its parameters."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params
from bayespot.potentials.curves import cubic_bsplines, pair_rows, species_rows
from bayespot.potentials.linear import Linear
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class CubicSpline(Linear):
    """``U = sum_pairs sum_k c_k B_k(d)``, cubic B-splines on equal intervals (de Boor 1978).

    A natural spline at its first knot (no curvature there), so that below it the energy goes on as
    a straight line; at the cut-off the last three functions are left out, so that energy, force
    and curvature vanish.  The coefficients are about the energies at the knots, in eV.  Costs four
    products a pair.

    Attributes:
        start: first knot, Angstrom: the shortest distance that the data show.
        range: last knot and cut-off, Angstrom.
        basis: number of coefficients of a curve; there are ``basis + 1`` intervals.
        species: atomic numbers, with a curve for each pair of them; empty for one curve for all.
        scale: spread of the first coefficients, eV.
    """

    start: float = 1.0
    range: float = 5.0
    basis: int = 20
    species: tuple[int, ...] = ()
    scale: float = 0.1

    @property
    def cutoff(self) -> float:
        """Range in Angstrom."""
        return self.range

    @property
    def elements(self) -> frozenset[int] | None:
        """Those that have curves; None where one serves all."""
        return frozenset(self.species) if self.species else None

    @property
    def pairwise(self) -> bool:
        """A sum over pairs."""
        return True

    def init(self, key: jax.Array, system: System) -> Params:
        """Independent normal coefficients of spread ``scale``."""
        kinds = max(1, len(self.species))
        shape = (kinds * (kinds + 1) // 2, self.basis)
        return {"pair": self.scale * jax.random.normal(key, shape, system.positions.dtype)}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each pair to each atom, eV."""
        pairs = neighbors.pairs(system)
        curve: jax.Array | int = 0
        if self.species:
            row = species_rows(self.species, system.species)
            curve = jnp.asarray(pair_rows(len(self.species)))[row[:, None], pairs.gather(row)]
        table = expand(params["pair"])
        first, values = cubic_bsplines(pairs.distances, self.start, self.range, self.basis + 1)
        terms = [table[curve, first + k] * values[..., k] for k in (0, 1, 2, 3)]
        return pairs.weight * jnp.sum(jnp.where(pairs.mask, sum(terms), 0.0), axis=1)


def expand(free: jax.Array) -> jax.Array:
    """(curves, basis) free coefficients to the ``basis + 4`` of all B-splines.

    The first follows from the natural end, ``c_0 - 2 c_1 + c_2 = 0``; the last three are zero.
    """
    first = 2 * free[:, :1] - free[:, 1:2]
    return jnp.concatenate([first, free, jnp.zeros_like(free, shape=(len(free), 3))], axis=1)
