"""Pair potentials as splines on one fine grid: MD of any of them is one program, a cheap one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.neighbors import AllPairs
from bayespot.potentials import CubicSpline, Potential
from bayespot.potentials.curves import cubic_bsplines
from bayespot.potentials.spline import expand
from bayespot.system import System


def design(spline: CubicSpline, distances: np.ndarray) -> np.ndarray:
    """(points, basis): energies of a pair at those distances are ``design @ coefficients``."""
    first, values = cubic_bsplines(
        jnp.asarray(distances, float), spline.start, spline.range, spline.basis + 1
    )
    every = np.zeros((len(distances), spline.basis + 4))
    rows = np.arange(len(distances))
    for k in range(4):
        every[rows, np.asarray(first) + k] += np.asarray(values[..., k], float)
    return every @ np.asarray(expand(jnp.eye(spline.basis)), float).T


def knots(spline: CubicSpline) -> np.ndarray:
    """(basis + 1,) all but the last, which is the cut-off."""
    return np.linspace(spline.start, spline.range, spline.basis + 2)[:-1]


def through(spline: CubicSpline, energies: np.ndarray) -> np.ndarray:
    """(..., basis) coefficients of the spline through (..., basis + 1) energies at its knots.

    Exact for curves that are straight up to the first knot, as splines of coarser, nested knots.
    """
    inverse = np.linalg.pinv(design(spline, knots(spline)))
    return np.asarray(energies, float) @ inverse.T


def pair_curve(potential: Potential, element: int, distances: np.ndarray) -> Callable[[Any], Any]:
    """``params -> (draws, points)`` energies of two atoms, compiled once."""
    zero = np.zeros(len(distances))
    positions = np.stack(
        [np.stack([zero, zero, zero], -1), np.stack([distances, zero, zero], -1)], axis=1
    )
    system = System(
        jnp.asarray(positions, float), jnp.full((len(distances), 2), element),
        jnp.ones((len(distances), 2)), jnp.broadcast_to(100 * jnp.eye(3), (len(distances), 3, 3)),
    )  # fmt: skip
    everyone = AllPairs(jnp.zeros((), bool))

    @jax.jit
    def curve(params: Any) -> jax.Array:
        def draw(p: Any) -> jax.Array:
            return jax.vmap(lambda one: potential.energy(p, one, everyone))(system)

        return jax.vmap(draw)(params)

    return curve
