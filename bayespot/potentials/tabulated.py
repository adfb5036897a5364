"""Pair potential from a table of energies."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline as _Interpolant

from bayespot.errors import UserError
from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Params, Potential
from bayespot.potentials.curves import switch
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class Tabulated(Potential):
    """Cubic spline through ``energies`` at ``distances``, the same in every pair it acts on.

    Twice continuously differentiable: over the last ``fade`` a switch takes it to zero at the last
    distance; below the first it goes on as the parabola that joins it.  Costs one search in the
    table a pair.

    Attributes:
        distances: increasing, Angstrom; the last is the cut-off.
        energies: eV.
        fade: width of the switch, Angstrom.
        pair: atomic numbers of the two species it acts between; None for all.

    Raises:
        UserError: a table that is no table.
    """

    distances: tuple[float, ...] = ()
    energies: tuple[float, ...] = ()
    fade: float = 0.5
    pair: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        problem = _fault(self.distances, self.energies, self.fade)
        if problem:
            raise UserError(f"bad table of a pair potential: {problem[0]}", problem[1])

    @classmethod
    def from_file(
        cls, path: str | Path, fade: float = 0.5, pair: tuple[int, int] | None = None
    ) -> Tabulated:
        """From a text file with two columns, Angstrom and eV; ``#`` begins a comment.

        Raises:
            UserError: no such file, a line that is not two numbers, or a bad table.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"there is no table {path}", "Give the path of a text file")
        rows: list[tuple[float, ...]] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            try:
                rows.append(tuple(float(word) for word in words))
                if len(words) != 2:
                    raise ValueError
            except ValueError:
                raise UserError(
                    f'line {number} of {path} is "{line.strip()}"',
                    "Give two numbers: distance in Angstrom and energy in eV",
                ) from None
        distances = tuple(row[0] for row in rows)
        energies = tuple(row[1] for row in rows)
        problem = _fault(distances, energies, fade)
        if problem:
            raise UserError(f"bad table {path}: {problem[0]}", problem[1])
        return cls(distances, energies, fade, pair)

    @property
    def cutoff(self) -> float:
        """The last distance of the table, Angstrom."""
        return self.distances[-1]

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
        dtype = pairs.distances.dtype
        knots = np.asarray(self.distances)
        # row q: coefficients of t^(3-q) in every interval
        cubic = jnp.asarray(_Interpolant(knots, self.energies).c, dtype)
        interval = jnp.searchsorted(jnp.asarray(knots[1:-1], dtype), pairs.distances, side="right")
        t = jnp.minimum(pairs.distances, self.cutoff) - jnp.asarray(knots, dtype)[interval]
        a, b, c, d = (row[interval] for row in cubic)
        energies = d + t * (c + t * (b + jnp.where(t > 0, t, 0.0) * a))
        acts = pairs.mask
        if self.pair:
            here, there = system.species[:, None], pairs.gather(system.species)
            one, two = self.pair
            acts &= ((here == one) & (there == two)) | ((here == two) & (there == one))
        fade = switch(pairs.distances, self.cutoff - self.fade, self.cutoff)
        return pairs.weight * jnp.sum(jnp.where(acts, energies * fade, 0.0), axis=1)


def _fault(
    distances: tuple[float, ...], energies: tuple[float, ...], fade: float
) -> tuple[str, str] | None:
    """What is wrong and what to do, or None."""
    if len(distances) != len(energies):
        return (
            f"{len(distances)} distances but {len(energies)} energies",
            "Give one energy for each distance",
        )
    if len(distances) < 4:
        return f"{len(distances)} points", "Give four or more"
    bad = [
        n
        for n, row in enumerate(zip(distances, energies, strict=True), 1)
        if not np.all(np.isfinite(row))
    ]
    if bad:
        return f"point {bad[0]} is not finite", "Begin the table where the energy is finite"
    if distances[0] < 0:
        return f"the first distance is {distances[0]}", "Distances are in Angstrom from 0 on"
    falling = np.flatnonzero(np.diff(distances) <= 0)
    if len(falling):
        n = int(falling[0])
        return (
            f"distance {distances[n + 1]} (point {n + 2}) follows {distances[n]}",
            "Sort the points by distance, each once",
        )
    if not 0 < fade <= distances[-1] - distances[0]:
        return (
            f"fade {fade} over points from {distances[0]} to {distances[-1]}",
            "Give a fade above 0 and shorter than the table",
        )
    return None
