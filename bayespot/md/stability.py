"""Stability criteria, checked inside the scan; a replica that fails one freezes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.neighbors import Neighbors
from bayespot.observables import RDF, Context
from bayespot.system import System

REASONS = (
    "stable",
    "a number is not finite",
    "a bond left its length",
    "two atoms came too close",
    "atoms fell together: no neighbour list could hold them",
    "it blew up: shorten the time step, or minimise the start first",
    "its radial distribution function left the reference",
    "the members of its committee disagreed",
)
"""Texts of the codes that ``check`` returns, and of what the engine adds."""

NOT_FINITE, COLLAPSED, BLOWN_UP, DRIFTED, UNCERTAIN = 1, 4, 5, 6, 7


@dataclasses.dataclass(frozen=True)
class Stability:
    """What a healthy configuration looks like (methods.md section 3, StABlE).

    Attributes:
        bonds: pairs of atom indices.
        lengths: their equilibrium lengths in Angstrom.
        max_bond_deviation: largest |d - d0| in Angstrom.
        min_distance: smallest distance of any two atoms that share no bond, Angstrom.
    """

    bonds: tuple[tuple[int, int], ...] = ()
    lengths: tuple[float, ...] = ()
    max_bond_deviation: float = 0.5
    min_distance: float = 0.0

    def check(self, system: System, momenta: jax.Array, neighbors: Neighbors) -> jax.Array:
        """Code of the first criterion that fails, 0 where none does."""
        finite = jnp.all(jnp.isfinite(system.positions)) & jnp.all(jnp.isfinite(momenta))
        code = jnp.where(finite, 0, NOT_FINITE)
        if self.bonds:
            i, j = np.asarray(self.bonds).T
            vectors = system.positions[i] - system.positions[j]
            if any(system.pbc):  # the bond is the nearest image's
                turns = jnp.round(vectors @ jnp.linalg.inv(system.cell))
                vectors -= jnp.where(jnp.asarray(system.pbc), turns, 0.0) @ system.cell
            length = jnp.linalg.norm(vectors, axis=-1)
            deviation = jnp.max(jnp.abs(length - jnp.asarray(self.lengths, length.dtype)))
            code = jnp.where((code == 0) & (deviation > self.max_bond_deviation), 2, code)
        if self.min_distance > 0:
            pairs = neighbors.pairs(system)
            distances = jnp.where(pairs.mask, pairs.distances, jnp.inf)
            if self.bonds:
                # the smallest over unbonded pairs: bonded atoms may be closer
                bonded = np.zeros((system.positions.shape[0],) * 2, bool)
                bonded[i, j] = bonded[j, i] = True
                near = pairs.gather(jnp.arange(len(bonded)))
                row = jnp.arange(len(bonded))[:, None]
                distances = jnp.where(jnp.asarray(bonded)[row, near], jnp.inf, distances)
            too_close = jnp.min(distances) < self.min_distance
            code = jnp.where((code == 0) & too_close, 3, code)
        return code


@dataclasses.dataclass(frozen=True, eq=False)
class RDFDeviation:
    """``integral |<g(r)> - g_ref(r)| dr`` over a window of time, and how large it may become
    (StABlE, Raja et al., appendix A.5; water: 3 Angstrom over 1 ps).

    The scan has no average over a time to look at: this criterion is read from averages over
    blocks, while trainers run or after a simulation.

    Attributes:
        observable: averaged by the simulation.
        reference: (bins,) g_ref.
        threshold: Angstrom.
        blocks: of the simulation in a window.
    """

    observable: RDF
    reference: np.ndarray
    threshold: float = 3.0
    blocks: int = 1

    def __post_init__(self) -> None:
        name, bins = self.observable.name, self.observable.bins
        reference = np.asarray(self.reference)
        if reference.shape != (bins,) or not np.isfinite(reference).all():
            raise UserError(
                f"the reference of {name} is not finite, or has shape {reference.shape} and not"
                f" {(bins,)}",
                "Give a number for each bin",
            )
        if not self.threshold > 0 or self.blocks < 1:
            raise UserError(
                f"{name} may deviate by {self.threshold} over {self.blocks} blocks",
                "Give a threshold above 0 and at least one block",
            )

    def errors(self, means: dict[str, dict[str, Any]]) -> np.ndarray:
        """(windows, ...) integrals in Angstrom; window w ends with block ``w + blocks - 1``.

        Args:
            means: ``Trajectories.means``: averages of each block on the first axis.
        """
        pairs = {key: np.asarray(x, float) for key, x in means[self.observable.name].items()}
        curves = self.observable.reduce(pairs, Context(0.0, 0))
        windows = range(len(curves) - self.blocks + 1)
        gaps = [curves[w : w + self.blocks].mean(axis=0) - self.reference for w in windows]
        width = self.observable.high / self.observable.bins
        found = [np.sum(np.abs(gap), axis=-1) * width for gap in gaps]
        return np.stack(found) if found else np.zeros((0, *curves.shape[1:-1]))

    def first_failure(self, means: dict[str, dict[str, Any]]) -> np.ndarray:
        """(draw, replica) block after which a window first deviates too much; -1 for never.

        It knows nothing of replicas that froze for another reason: ``reason`` does.
        """
        lost = ~(self.errors(means) <= self.threshold)  # NaN: more neighbours than lists could hold
        if not len(lost):
            return np.full(lost.shape[1:], -1)
        return np.where(lost.any(axis=0), lost.argmax(axis=0) + self.blocks - 1, -1)
