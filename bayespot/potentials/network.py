"""What networks share: the elements they know, one cut-off, and parameters kept by dm-haiku."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayespot.neighbors import Neighbors, placeholder
from bayespot.potentials.base import Params, Potential
from bayespot.system import System
from bayespot.units import BOLTZMANN, KJ_PER_MOL

THERMAL = 16
"""Numbers in each of the two vectors that embed a temperature."""


@dataclasses.dataclass(frozen=True)
class Network(Potential):
    """What knows its elements and has one cut-off.

    Attributes:
        species: atomic numbers it can embed.
        range: cut-off of one block in Angstrom; information travels further with each block.
    """

    species: tuple[int, ...] = ()
    range: float = 5.0

    @property
    def cutoff(self) -> float:
        """Range of one block, Angstrom."""
        return self.range

    @property
    def elements(self) -> frozenset[int]:
        """The embedded elements."""
        return frozenset(self.species)

    def rows(self, system: System) -> Int[Array, " atoms"]:
        """Place of each atom's element in ``species``; padding has the first."""
        row = np.zeros(120, np.int32)
        row[list(self.species)] = np.arange(len(self.species))
        return jnp.asarray(row)[system.species]


@dataclasses.dataclass(frozen=True)
class HaikuNetwork(Network):
    """A network whose parameters haiku keeps; subclasses give ``_forward``."""

    @abc.abstractmethod
    def _forward(self, system: System, neighbors: Neighbors) -> Float[Array, " atoms"]:
        """Energy of each atom, eV."""

    def init(self, key: jax.Array, system: System) -> Params:
        """Random weights in the dtype of the positions: a dict of dicts of arrays."""
        return jax.jit(self._transformed().init)(key, system, placeholder(system))

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Read-out of every atom, eV."""
        return self._transformed().apply(params, system, neighbors)

    def _transformed(self) -> Any:
        import haiku as hk

        return hk.without_apply_rng(hk.transform(self._forward))


def embedding(
    rows: jax.Array, count: int, width: int, dtype: Any, init: Any = None
) -> Float[Array, "atoms width"]:
    """A learned vector for each element; ``hk.Embed`` would hold float32 in a float64 model.

    Args:
        rows: (atoms,) ``Network.rows``.
        count: number of elements.
        width: of the vectors.
        dtype: of the parameters.
        init: haiku initialiser; a truncated normal one unless given.
    """
    import haiku as hk

    with hk.experimental.name_scope("embed"):  # type: ignore[attr-defined]
        start = init or hk.initializers.TruncatedNormal()
        return hk.get_parameter("embeddings", (count, width), dtype, init=start)[rows]


def thermal(system: System, default: float, width: int = THERMAL) -> Float[Array, " twice_width"]:
    """A learned vector times ``k_B T``, and one divided by it: neither end of the scale is lost.

    ``k_B T`` is in kJ/mol, where it is of order one.  What these vectors say of temperatures that
    no frame had, nothing but their prior decides: members of an ensemble differ there.

    Args:
        system: its temperature is taken where it tells one.
        default: K, else.
        width: of each vector.
    """
    import haiku as hk

    dtype = system.positions.dtype
    kelvin = default if system.temperature is None else system.temperature
    kT = jnp.asarray(kelvin, dtype) * (BOLTZMANN / KJ_PER_MOL)
    with hk.experimental.name_scope("thermal"):  # type: ignore[attr-defined]
        init = hk.initializers.RandomUniform(-(3**0.5), 3**0.5)
        times, over = (
            hk.get_parameter(name, (width,), dtype, init=init) for name in ("times", "over")
        )
    return jnp.concatenate([times * kT, over / kT])
