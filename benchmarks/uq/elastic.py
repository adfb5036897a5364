"""Lattice and elastic constants of a diamond crystal, for every draw of a potential's parameters.

Second derivatives of the energy at rest, which is what ``observables.Stiffness`` tends to when it
gets cold: atoms that may give way take ``U_Ex U_xx^-1 U_xE`` off Born's term.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk

from bayespot.neighbors import Lists, allocate
from bayespot.observables import Frame, moduli
from bayespot.observables.pressure import strain_tensor
from bayespot.potentials import Potential, stress
from bayespot.system import System
from bayespot.uncertainty import estimate
from bayespot.units import GPA
from benchmarks.uq.counting import LEVELS, Interval

NAMES = ("a", "C11", "C12", "C44", "C44, atoms held")
UNITS = ("Å", "GPa", "GPa", "GPa", "GPa")
REACH, POINTS = 0.06, 49


class Crystal(NamedTuple):
    """Of every draw, at the lattice constant where its stress is the one asked for.

    Attributes:
        values: (draws, 5) in the order of ``NAMES``; not a number where the lattice has no such
            constant within 6 % of the one given, or where its atoms are at no minimum.
        lost: how many draws have no lattice constant, or no minimum.
        soft: how many of the others are unstable under strain (Born's conditions).
    """

    values: np.ndarray
    lost: int
    soft: int


def crystal(potential: Potential, params: Any, element: str, near: float, load: float) -> Crystal:
    """Constants of all draws.

    Args:
        potential: shared by them.
        params: pytree with a leading draw axis.
        element: its symbol.
        near: Angstrom, where to look for the lattice constant.
        load: GPa, the mean normal stress to be under, tension positive.
    """
    start = System.from_ase(bulk(element, "diamond", a=near, cubic=True))
    small = _stretched(start, 1 - REACH)
    lists = allocate(small, potential.cutoff, 0.0, "list")  # holds for all that are larger
    params = jax.tree.map(jnp.asarray, params)
    scale = _scales(potential, params, start, lists, load)
    found = np.isfinite(scale)
    curvature = _curvatures(
        potential, params, start, lists, jnp.asarray(np.where(found, scale, 1.0), float)
    )
    volume = (near * scale) ** 3
    values = np.full((len(scale), len(NAMES)), np.nan)
    soft = 0
    for draw in np.flatnonzero(found):
        made = _constants(np.asarray(curvature[draw], float), volume[draw])
        if made is None:
            continue
        values[draw] = near * scale[draw], *made
        soft += _soft(*made[:3])
    return Crystal(values, int(np.isnan(values[:, 0]).sum()), soft)


def judged(values: np.ndarray, truth: np.ndarray, errors: np.ndarray, factor: float) -> list[dict]:
    """Intervals of each constant, and whether they hold what the labels say.

    Args:
        values: (draws, 5), as ``crystal`` gives them.
        truth, errors: (5,), as ``strained.reference`` gives them.
        factor: of the intervals' widths, from a recalibration.

    Returns:
        For each constant and each of "plain" and "recalibrated" the half-widths of intervals, and
        1 or 0 for whether they hold the truth; where draws have no value there is no interval, and
        it holds nothing.
    """
    rows = []
    for k, name in enumerate(NAMES):
        row: dict[str, Any] = {"name": name, "unit": UNITS[k], "dft": truth[k], "error": errors[k]}
        known = np.isfinite(values[:, k])
        if not known.all():
            nothing = {**dict.fromkeys(map(str, LEVELS), 0.0), "half68": None, "half95": None}
            rows.append({**row, "mean": None, "plain": nothing, "recalibrated": nothing})
            continue
        mine = Interval.of(estimate(values[:, k], np.zeros(len(values))))
        row["mean"] = float(mine.mean)
        for variant, by in (("plain", 1.0), ("recalibrated", factor)):
            found = mine.judged(np.asarray(truth[k]), np.asarray(errors[k]), by)
            assert found is not None  # curves alone have bins without signal
            row[variant] = {str(level): found[str(level)] for level in LEVELS} | {
                f"half{level}": float(mine.reach(level) * mine.total(0.0, by)) for level in LEVELS
            }
        rows.append(row)
    return rows


def _soft(c11: float, c12: float, c44: float) -> bool:
    """Whether Born's conditions for a cubic crystal fail."""
    return not min(c44, c11 - c12, c11 + 2 * c12) > 0


def _constants(curvature: np.ndarray, volume: float) -> tuple[float, ...] | None:
    """C11, C12, C44, and C44 with atoms held, GPa; None where atoms are at no minimum."""
    curvature = (curvature + curvature.T) / 2
    born, across, atoms = curvature[:6, :6], curvature[:6, 6:], curvature[6:, 6:]
    if not np.isfinite(curvature).all() or np.linalg.eigvalsh(atoms)[0] <= 0:
        return None
    gives = across @ np.linalg.solve(atoms, across.T)
    unit = volume * GPA
    held, relaxed = (moduli.cubic_constants(x / unit) for x in (born, born - gives))
    return (*map(float, relaxed), float(held[2]))


def _stretched(system: System, scale: Any) -> System:
    return system.replace(positions=system.positions * scale, cell=system.cell * scale)


def _scales(
    potential: Potential, params: Any, start: System, lists: Lists, load: float
) -> np.ndarray:
    """(draws,) where the tension rises through ``load``, nearest to 1; not a number: nowhere."""
    draws = len(jax.tree.leaves(params)[0])
    low, high = np.full(draws, 1 - REACH), np.full(draws, 1 + REACH)
    lost = np.zeros(draws, bool)
    for _ in range(3):  # to a millionth
        scales = np.linspace(low, high, POINTS, axis=1)
        made = _tensions(potential, params, start, lists, jnp.asarray(scales, float))
        above = np.asarray(made, float) >= load
        rising = ~above[:, :-1] & above[:, 1:]
        lost |= ~rising.any(1)
        gap = np.where(rising, np.abs(scales[:, :-1] - 1), np.inf)
        first, every = np.argmin(gap, axis=1), np.arange(draws)
        low, high = scales[every, first], scales[every, first + 1]
    return np.where(lost, np.nan, (low + high) / 2)


@functools.partial(jax.jit, static_argnums=0)
def _tensions(
    potential: Potential, params: Any, start: System, lists: Lists, scales: jax.Array
) -> jax.Array:
    """(draws, scales) GPa, mean normal stress."""

    def draw(p: Any, scales: jax.Array) -> jax.Array:
        def one(scale: jax.Array) -> jax.Array:
            return jnp.trace(stress(potential, p, _stretched(start, scale), lists)) / 3 / GPA

        return jax.lax.map(one, scales)

    return jax.vmap(draw)(params, scales)


@functools.partial(jax.jit, static_argnums=0)
def _curvatures(
    potential: Potential, params: Any, start: System, lists: Lists, scales: jax.Array
) -> jax.Array:
    """(draws, 27, 27)."""

    def draw(p: Any, scale: jax.Array) -> jax.Array:
        return _curvature(potential, p, _stretched(start, scale), lists)

    return jax.vmap(draw)(params, scales)


def _curvature(potential: Potential, params: Any, system: System, lists: Lists) -> jax.Array:
    """Second derivatives in Lagrange's strain (6) and positions of all atoms but one (21), eV."""
    atoms = system.positions.shape[0] - 1

    def energy(place: jax.Array) -> jax.Array:
        strain = strain_tensor(place[:6])
        moved = system.positions.at[1:].add(place[6:].reshape(atoms, 3))
        here = system.replace(positions=moved)
        frame = Frame(here, jnp.zeros(()), None, lists, potential, params)
        # F = sqrt(1 + 2 E), to the order that two derivatives see
        square = jnp.matmul(strain, strain, precision="highest")
        return frame.strained_energy(strain - square / 2)

    return jax.hessian(energy)(jnp.zeros(6 + 3 * atoms, system.positions.dtype))
