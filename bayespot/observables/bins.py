"""Histograms: sharp, or of Gaussians through which one can differentiate."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

FAR = 5.0
"""Standard deviations beyond which a Gaussian is left out: less than 4e-6 of its peak."""


@dataclasses.dataclass(frozen=True)
class Bins:
    """Equal bins from ``low`` to ``high``.

    Smooth ones give each bin the share ``exp(-(x - x_b)^2/(2 w^2))/sqrt(2 pi)`` of a value x, with
    the bins' width w and centres x_b (DiffTRe, Supplementary Method 3, eq. 3); shares add up to 1.

    Attributes:
        low, high: range, in any unit.
        number: of bins.
        smooth: Gaussians in place of delta functions.
        periodic: ``high`` is the same place as ``low``.
    """

    low: float
    high: float
    number: int
    smooth: bool = False
    periodic: bool = False

    @property
    def width(self) -> float:
        """Of a bin."""
        return (self.high - self.low) / self.number

    @property
    def edges(self) -> np.ndarray:
        """(number + 1,)."""
        return np.linspace(self.low, self.high, self.number + 1)

    @property
    def centers(self) -> np.ndarray:
        """(number,)."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def reach(self) -> float:
        """How far beyond the range values still count."""
        return (FAR + 1) * self.width if self.smooth else 0.0

    def shares(self, values: jax.Array, spread: float = 1.0) -> tuple[jax.Array, jax.Array]:
        """Bins that each value adds to and how much, (..., near) each; no bin is ``number``.

        Args:
            values: any shape.
            spread: standard deviation of smooth bins, in widths.
        """
        near = math.ceil(FAR * spread) if self.smooth else 0
        place = (values - self.low) * (self.number / (self.high - self.low))
        if not self.periodic:
            # values out of reach stay so, and become small enough to be integers
            place = jnp.clip(place, -near - 1.0, self.number + near)
        middle = jnp.floor(jax.lax.stop_gradient(place)).astype(jnp.int32)
        index = middle[..., None] + jnp.arange(-near, near + 1)
        if self.smooth:
            away = (place[..., None] - index - 0.5) / spread
            share = jnp.exp(-(away**2) / 2) / (spread * math.sqrt(2 * math.pi))
        else:
            share = jnp.ones_like(place)[..., None]
        if self.periodic:
            return index % self.number, share
        return jnp.where((index >= 0) & (index < self.number), index, self.number), share

    def counts(
        self, values: jax.Array, weights: jax.Array | None = None, spread: float = 1.0
    ) -> jax.Array:
        """Histogram (number,) of the values, each counting for its weight."""
        index, share = self.shares(values, spread)
        if weights is not None:
            share = share * weights[..., None]
        empty = jnp.zeros(self.number, share.dtype)
        return empty.at[index.ravel()].add(share.ravel(), mode="drop")


def counts_in_plane(first: Bins, second: Bins, x: jax.Array, y: jax.Array) -> jax.Array:
    """Histogram (first.number, second.number) of the points (x, y)."""
    row, of_row = first.shares(x)
    column, of_column = second.shares(y)
    rows, columns = jnp.broadcast_arrays(row[..., :, None], column[..., None, :])
    share = of_row[..., :, None] * of_column[..., None, :]
    empty = jnp.zeros((first.number, second.number), share.dtype)
    return empty.at[rows.ravel(), columns.ravel()].add(share.ravel(), mode="drop")
