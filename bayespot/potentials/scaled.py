"""A potential with a scale and a shift of the energy for each species."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.potentials.curves import species_rows
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class Scaled(Potential):
    """``E_i -> scale[z_i] E_i + shift[z_i]`` around any potential.

    Shifts of hundreds of eV cost float32 its digits; leave such offsets to the data set.  Scales
    that differ between species need full neighbour lists: a half list gives a pair to one atom.

    Attributes:
        potential: what is scaled.
        species: atomic numbers, in the order of the next two.
        scale: factor of each species.
        shift: eV of each species.
        trainable: learn the scales and shifts, beside the parameters of ``potential``.
    """

    potential: Potential
    species: tuple[int, ...] = ()
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()
    trainable: bool = False

    def __post_init__(self) -> None:
        if not len(self.species) == len(self.scale) == len(self.shift):
            raise ValueError("Scaled needs one scale and one shift for each of its species")

    @property
    def cutoff(self) -> float:
        """That of the potential."""
        return self.potential.cutoff

    @property
    def elements(self) -> frozenset[int]:
        """Those that have a scale and that the potential knows."""
        known = self.potential.elements
        mine = frozenset(self.species)
        return mine if known is None else mine & known

    def init(self, key: jax.Array, system: System) -> Params:
        """The potential's parameters under ``potential``; scales and shifts as given."""
        params = {"potential": self.potential.init(key, system)}
        if self.trainable:
            dtype = system.positions.dtype
            params["scale"] = jnp.asarray(self.scale, dtype)
            params["shift"] = jnp.asarray(self.shift, dtype)
        return params

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Scaled and shifted energy of each atom, eV."""
        energies = self.potential.atomic_energies(params["potential"], system, neighbors)
        source = params if self.trainable else {"scale": self.scale, "shift": self.shift}
        scale, shift = (jnp.asarray(source[k], energies.dtype) for k in ("scale", "shift"))
        row = species_rows(self.species, system.species)
        return scale[row] * energies + shift[row]
