"""Radial distribution function of periodic systems, images included."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.neighbors.grid import heights
from bayespot.observables.base import Context, Observable
from bayespot.observables.frame import Frame
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class RDF(Observable):
    """``g(r) = V/(N_a N_b V_shell) <pairs in the shell>``; 1 for an ideal gas.

    Every image within ``high`` counts, so that ``high`` may exceed half the cell.

    Attributes:
        high: largest distance, Angstrom.
        bins: number of bins from 0 to ``high``.
        pair: atomic numbers of the two species; None takes all atoms.
        images: how far to look along each lattice vector; see ``of``.
    """

    high: float = 6.0
    bins: int = 120
    pair: tuple[int, int] | None = None
    images: tuple[int, int, int] = (1, 1, 1)

    @classmethod
    def of(
        cls, name: str, system: System, high: float, bins: int, pair: tuple[int, int] | None = None
    ) -> RDF:
        """With images enough for ``system``, should it shrink by a tenth too.

        Raises:
            UserError: ``pair`` names an element that ``system`` lacks.
        """
        missing = sorted(set(pair or ()) - {int(z) for z in np.unique(np.asarray(system.species))})
        if missing:
            raise UserError(
                f"{name} is of element {missing[0]}, which the system does not hold",
                "Name elements that are simulated",
            )
        tall = np.asarray(heights(system.cell))
        # a difference of positions is wrapped first, to at most half a cell
        reach = [
            int(high / (0.9 * h) + 0.5) if p else 0 for h, p in zip(tall, system.pbc, strict=True)
        ]
        return cls(name, high, bins, pair, (reach[0], reach[1], reach[2]))

    @property
    def unit(self) -> str:
        """A number."""
        return ""

    @property
    def edges(self) -> np.ndarray:
        """(bins + 1,) Angstrom."""
        return np.linspace(0, self.high, self.bins + 1)

    @property
    def axis(self) -> np.ndarray:
        """Centres of the bins, Angstrom."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def axis_label(self) -> str:
        """Distance."""
        return "r / Å"

    @property
    def title(self) -> str:
        """For figures."""
        return "radial distribution function"

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Pairs in each bin times ``V/(N_a N_b)``: the volume changes from frame to frame."""
        system = frame.system
        dtype = system.positions.dtype
        first, second = self.pair or (None, None)
        a = system.mask if first is None else system.species == first
        b = system.mask if second is None else system.species == second
        inverse = jnp.linalg.inv(system.cell)
        near = system.positions[None] - system.positions[:, None]
        fractional = near @ inverse
        wrapped = fractional - jnp.where(jnp.asarray(system.pbc), jnp.round(fractional), 0.0)
        base = wrapped @ system.cell
        counts = jnp.zeros(self.bins, dtype)
        both = a[:, None] & b[None, :]
        itself = jnp.eye(len(base), dtype=bool)
        for shift in itertools.product(*(range(-n, n + 1) for n in self.images)):
            vectors = base + jnp.asarray(shift, dtype) @ system.cell
            distances = jnp.sqrt(jnp.sum(vectors**2, axis=-1))
            number = jnp.floor(distances * (self.bins / self.high)).astype(jnp.int32)
            counted = both & ~itself if shift == (0, 0, 0) else both
            number = jnp.where(counted, number, self.bins)
            counts = counts.at[number.ravel()].add(1.0, mode="drop")
        pairs = (jnp.sum(a) * jnp.sum(b)).astype(dtype)
        return {"pairs": counts * frame.volume / pairs}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Over the volume of each shell."""
        del context
        shells = 4 / 3 * np.pi * np.diff(self.edges**3)
        return mean["pairs"] / shells
