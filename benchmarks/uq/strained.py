"""Elastic constants that labelled frames of a diamond crystal stand for.

Energies, forces and stresses of strained cells and of cells at 300 K and above, so that what is
learned from the frames and what it is judged by come from one and the same calculation (Zuo et
al. 2020, J. Phys. Chem. A 124, 731, who made the frames of silicon and germanium).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayespot.data import Frame
from bayespot.observables.moduli import VOIGT
from bayespot.units import GPA

DEGREE = 5


class Reference(NamedTuple):
    """What a potential that is right would give.

    Attributes:
        near: lattice constant, Angstrom.
        load: mean normal stress at that lattice constant, GPa.
        values: (5,) as ``elastic.NAMES``.
        errors: (5,) standard errors.
    """

    near: float
    load: float
    values: np.ndarray
    errors: np.ndarray


def reference(frames: Sequence[Frame]) -> Reference:
    """From frames with ``config_type`` Elastic and AIMD-NVT, of 2 x 2 x 2 cubic cells.

    Constants are slopes of the second Piola-Kirchhoff stress with Lagrange's strain.  Atoms of the
    strained frames are where the strain alone brings them.  How far they would give way follows
    from the force on them and the force constant of the two sublattices (``optical``).
    """
    strained = [f for f in frames if f.atoms.info.get("config_type") == "Elastic"]
    rest = next(f for f in strained if f.atoms.info["description"] == "Ground state crystal")
    cell = rest.atoms.cell.array
    near, volume = float(cell[0, 0]) / 2, abs(np.linalg.det(cell))
    points: dict[int, list[np.ndarray]] = {k: [_point(rest, rest, k)] for k in range(6)}
    for frame in strained:
        if frame is rest:
            continue
        strain = _lagrange(frame, cell)[1]
        points[int(np.argmax(np.abs(strain)))].append(_point(frame, rest))
    slopes = {k: _slope(np.array(p)) for k, p in points.items()}
    c11 = [slopes[k][:, k] for k in range(3)]
    c12 = [slopes[k][:, j] for k in range(3) for j in range(3) if j != k]
    held = [slopes[k][:, k] for k in range(3, 6)]
    pull = [slopes[k][:, 6] for k in range(3, 6)]
    constant, error = optical([f for f in frames if f not in strained])
    (c11, e11), (c12, e12), (held, e44), (pull, _) = map(_mean, (c11, c12, held, pull))
    cells = len(rest.atoms) / 2
    gives = pull**2 / constant / (volume / cells) / GPA
    values = np.array([near, c11, c12, held - gives, held])
    errors = np.array([0.0, e11, e12, np.hypot(e44, gives * error / constant), e44])
    return Reference(near, float(np.mean(_stress(rest)[:3])), values, errors)


def optical(frames: Sequence[Frame]) -> tuple[float, float]:
    """Force constant of the two sublattices against each other, and its standard error.

    eV/Angstrom^2 for one pair of atoms; regression of forces on displacements at each temperature
    in a cubic cell, on a straight line to zero from the two lowest.
    """
    by_heat: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {}
    for frame in frames:
        heat = kelvin(frame)
        if heat is not None and frame.atoms.info.get("config_type") == "AIMD-NVT":
            made = _apart(frame)
            if made is not None:
                by_heat.setdefault(heat, []).append(made)
    found = []
    for heat in sorted(by_heat)[:2]:
        moved, pulled = (np.ravel([pair[i] for pair in by_heat[heat]]) for i in (0, 1))
        constant = -(moved @ pulled) / (moved @ moved)
        left = pulled + constant * moved
        found.append((heat, constant, np.sqrt(left @ left / (len(left) - 1) / (moved @ moved))))
    (t1, k1, e1), (t2, k2, e2) = found
    weight = t1 / (t2 - t1)
    return k1 + weight * (k1 - k2), float(np.hypot((1 + weight) * e1, weight * e2))


def kelvin(frame: Frame) -> float | None:
    """Temperature of the simulation that a frame is from, by its description."""
    told = re.search(r" at (\d+) K", str(frame.atoms.info.get("description", "")))
    return None if told is None else float(told[1])


def _apart(frame: Frame) -> tuple[np.ndarray, np.ndarray] | None:
    """How far one sublattice is from where the other expects it, and the force that it feels.

    (3,) Angstrom, (3,) eV/Angstrom; None where atoms have left their sites.
    """
    eighths = 8 * frame.atoms.get_scaled_positions()
    sites = eighths - np.angle(np.exp(2j * np.pi * eighths).mean(0)) / (2 * np.pi)
    number = np.round(sites)
    parity = (number - number[0]) % 2
    if (parity != parity[:, :1]).any() or parity[:, 0].mean() != 0.5:
        return None
    moved = (sites - number) @ frame.atoms.cell.array / 8
    other = parity[:, 0] == 1
    gap = moved[other].mean(0) - moved[~other].mean(0)
    return gap, (frame.forces[other].mean(0) - frame.forces[~other].mean(0)) / 2


def _lagrange(frame: Frame, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The deformation of ``cell``, and its strain (6,) in Voigt's notation."""
    deformation = np.linalg.solve(cell, frame.atoms.cell.array).T
    strain = (deformation.T @ deformation - np.eye(3)) / 2
    return deformation, np.array([strain[i, j] * (1 if i == j else 2) for i, j in VOIGT])


def _stress(frame: Frame) -> np.ndarray:
    """(6,) GPa."""
    assert frame.stress is not None
    return np.array([frame.stress[i, j] for i, j in VOIGT]) / GPA


def _point(frame: Frame, rest: Frame, mode: int | None = None) -> np.ndarray:
    """(8,) strain, six stresses, force of a sublattice along the axis that a shear leaves alone."""
    deformation, strain = _lagrange(frame, rest.atoms.cell.array)
    mode = int(np.argmax(np.abs(strain))) if mode is None else mode
    assert frame.stress is not None
    back = np.linalg.inv(deformation)
    second = np.linalg.det(deformation) * back @ frame.stress @ back.T / GPA
    sites = np.round(8 * rest.atoms.get_scaled_positions()).astype(int)
    other = (sites - sites[0])[:, 0] % 2 == 1
    axis = mode % 3
    pull = (frame.forces[other, axis].mean() - frame.forces[~other, axis].mean()) / 2
    return np.array([strain[mode], *(second[i, j] for i, j in VOIGT), pull])


def _slope(points: np.ndarray) -> np.ndarray:
    """(2, 7) slopes at zero strain: of the degree that is used, and of one with two more."""
    return np.array(
        [np.polyfit(points[:, 0], points[:, 1:], degree)[-2] for degree in (DEGREE, DEGREE + 2)]
    )


def _mean(slopes: Sequence[np.ndarray]) -> tuple[float, float]:
    """Mean over equivalent ones; how far the two degrees are apart."""
    low, high = np.mean(slopes, axis=0)
    return float(low), float(abs(high - low))
