"""Curves of a distance that several potentials share: a switch and cubic B-splines."""

import jax
import jax.numpy as jnp
import numpy as np


def switch(distances: jax.Array, inner: float, outer: float) -> jax.Array:
    """1 up to ``inner``, 0 from ``outer`` on, with two continuous derivatives everywhere."""
    x = jnp.clip((distances - inner) / (outer - inner), 0.0, 1.0)
    return 1 - x**3 * (10 - x * (15 - 6 * x))


def cubic_bsplines(
    distances: jax.Array, start: float, stop: float, intervals: int
) -> tuple[jax.Array, jax.Array]:
    """Uniform cubic B-splines over ``intervals`` equal intervals of [start, stop].

    Of the ``intervals + 3`` functions, four differ from zero at any distance.  Below ``start``
    each goes on as the parabola that joins it with two continuous derivatives; from ``stop`` on
    all keep their last value.

    Returns:
        The number of the first of the four, and their values on a new last axis.
    """
    x = (distances - start) * (intervals / (stop - start))
    first = jnp.clip(jnp.floor(x), 0, intervals - 1)
    t = jnp.minimum(x, intervals) - first
    square, cube = t**2, jnp.where(t > 0, t, 0.0) ** 3
    pieces = (
        1 - 3 * t + 3 * square - cube,
        4 - 6 * square + 3 * cube,
        1 + 3 * (t + square - cube),
        cube,
    )
    return first.astype(jnp.int32), jnp.stack(pieces, axis=-1) / 6


def species_rows(species: tuple[int, ...], numbers: jax.Array) -> jax.Array:
    """Place of each atomic number in ``species``; 0 for unknown ones and padding."""
    row = np.zeros(120, np.int32)
    row[list(species)] = np.arange(len(species))
    return jnp.asarray(row)[numbers]


def pair_rows(kinds: int) -> np.ndarray:
    """(kinds, kinds) number of each unordered pair of species, 0 to kinds (kinds + 1)/2 - 1."""
    i, j = np.triu_indices(kinds)
    rows = np.zeros((kinds, kinds), np.int32)
    rows[i, j] = rows[j, i] = np.arange(len(i))
    return rows
