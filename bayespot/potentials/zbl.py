"""Universal screened nuclear repulsion of Ziegler, Biersack and Littmark."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.potentials.curves import switch
from bayespot.system import System

COULOMB = 14.399645478425668
"""Energy of two elementary charges at 1 Angstrom, eV."""

_STRENGTHS = (0.18175, 0.50986, 0.28022, 0.02817)
_DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)


@dataclasses.dataclass(frozen=True)
class ZBL(Potential):
    """``Z_i Z_j e^2/(4 pi eps0 d) phi(d/a)`` with ``a = 0.46850/(Z_i^0.23 + Z_j^0.23)`` Angstrom.

    The stopping-range prior (Ziegler, Biersack, Littmark 1985): nothing to fit, for all elements.
    Exact up to ``inner``, then switched off with two continuous derivatives (LAMMPS adds a
    polynomial instead, which moves the energies below).  Below a hundredth of an Angstrom the
    energy stays at its value there.  Costs four exponentials a pair.

    Attributes:
        inner: where the switch begins, Angstrom.
        range: cut-off in Angstrom.
    """

    inner: float = 1.0
    range: float = 2.0

    @property
    def cutoff(self) -> float:
        """Range in Angstrom."""
        return self.range

    @property
    def pairwise(self) -> bool:
        """A sum over pairs."""
        return True

    def init(self, key: jax.Array, system: System) -> Params:
        """Nothing to learn."""
        del key, system
        return {}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Half of each pair to each atom, eV."""
        del params
        pairs = neighbors.pairs(system)
        distances = jnp.maximum(pairs.distances, 0.01)
        charge = system.species.astype(distances.dtype)
        root = charge**0.23
        x = distances * (root[:, None] + pairs.gather(root)) / 0.46850
        screen = sum(c * jnp.exp(-b * x) for c, b in zip(_STRENGTHS, _DECAYS, strict=True))
        energies = COULOMB * charge[:, None] * pairs.gather(charge) / distances * screen
        fade = switch(pairs.distances, self.inner, self.range) * pairs.mask
        return pairs.weight * jnp.sum(energies * fade, axis=1)
