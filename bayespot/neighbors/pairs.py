"""What a potential sees of its neighbours, and the simplest way to have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bayespot.system import System


class Pairs(NamedTuple):
    """Neighbours of every atom in ``slots`` slots.

    Attributes:
        vectors: (atoms, slots, 3) from the atom to the neighbour, Angstrom.
        distances: (atoms, slots); 0 with zero derivative where two atoms coincide.
        mask: (atoms, slots) True for pairs that exist.
        gather: (atoms, ...) -> (atoms, slots, ...), a property of the atoms seen by neighbours;
            broadcastable to that shape where all atoms are neighbours.
        weight: what each listed pair counts for in a sum over pairs: 1/2 where every pair is
            listed from both ends, 1 in a half list.
    """

    vectors: Float[Array, "atoms slots 3"]
    distances: Float[Array, "atoms slots"]
    mask: Bool[Array, "atoms slots"]
    gather: Callable[[jax.Array], jax.Array]
    weight: float = 0.5


def safe_norm(vectors: jax.Array) -> jax.Array:
    """Euclidean norm over the last axis with derivative 0, not NaN, at the origin."""
    squared = jnp.sum(vectors**2, axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


@dataclasses.dataclass(frozen=True)
class GivenPairs:
    """Pairs handed over as they are: to differentiate with respect to their vectors."""

    given: Pairs

    def pairs(self, system: System) -> Pairs:
        """What was given."""
        del system
        return self.given


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AllPairs:
    """Every pair of an open system; nothing to rebuild, nothing to gather."""

    overflow: Bool[Array, "*batch"]

    def pairs(self, system: System) -> Pairs:
        """The view for ``system``."""
        vectors = system.positions[None, :, :] - system.positions[:, None, :]
        mask = system.mask[None, :] & system.mask[:, None] & ~jnp.eye(len(vectors), dtype=bool)
        vectors = jnp.where(mask[..., None], vectors, 1.0)
        return Pairs(vectors, safe_norm(vectors), mask, lambda x: x[None])

    def needs_update(self, system: System, strain_to_come: float | None = None) -> jax.Array:
        """Never."""
        del system, strain_to_come
        return jnp.asarray(False)

    def update(self, system: System) -> AllPairs:
        """Itself."""
        del system
        return self
