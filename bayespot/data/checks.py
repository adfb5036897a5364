"""What is refused at the door: unlikely units, frames shared by two splits, empty splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from bayespot.data.readers import Frame
from bayespot.errors import UserError

SCALE_FACTOR = 50.0
"""Labels whose scale differs by more than this factor between frames are taken for mixed units
(eV against kJ/mol is 96, eV/Angstrom against kJ/mol/nm 965, Hartree/Bohr against eV/A 51)."""

MOST_STRAIN = 50.0
"""Stress times volume in eV an atom that no matter shows (iron in the Earth's core: 16)."""


def check_units(frames: Sequence[Frame]) -> None:
    """Refuse distances, forces and stresses that no matter has in Angstrom and eV.

    Raises:
        UserError: naming the first frame that looks wrong, and the likely unit.
    """
    for frame in frames:
        if len(frame.atoms) > 1:
            distances = frame.atoms.get_all_distances(mic=any(frame.atoms.pbc))
            nearest = float(np.min(distances + np.eye(len(distances)) * 1e9))
            if nearest < 0.4:
                raise UserError(
                    f"{frame.where} has two atoms {nearest:.3f} Angstrom apart",
                    "Positions must be in Angstrom; if these are nm, multiply by 10",
                )
    scale = np.array([np.sqrt(np.mean(frame.forces**2)) for frame in frames])
    typical = float(np.median(scale))
    worst = int(np.argmax(scale))
    if typical > 50.0:
        raise UserError(
            f"forces in {frames[0].file} have a typical size of {typical:.0f} eV/Angstrom",
            "Forces must be in eV/Angstrom; kJ/mol/nm are 965 times as large, kcal/mol/A 23 times",
        )
    if typical > 0 and scale[worst] > SCALE_FACTOR * typical:
        raise UserError(
            f"{frames[worst].where} has forces {scale[worst] / typical:.0f} times the typical"
            f" {typical:.2g} eV/Angstrom",
            "Look for mixed units or a failed calculation, and convert or remove the frame",
        )
    _check_energies(frames)
    _check_stresses(frames)


def _check_energies(frames: Sequence[Frame]) -> None:
    """Energies of one composition must not lie in two groups far apart by a factor."""
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(frame.atoms.get_chemical_formula(), []).append(frame)
    for group in groups.values():
        energies = np.array([frame.energy for frame in group])
        middle = float(np.median(energies))
        if abs(middle) < 1.0 * len(group[0].atoms):
            continue  # already shifted, no totals: the ratio says nothing
        ratio = np.abs(energies / middle)
        for frame, r in zip(group, ratio, strict=True):
            if r > 10 or r < 0.1:
                raise UserError(
                    f"{frame.where} has an energy {r:.3g} times that of other frames of the same"
                    " composition",
                    "Look for mixed units (1 Hartree = 27.2114 eV) and convert to eV",
                )


def _check_stresses(frames: Sequence[Frame]) -> None:
    """Stresses near zero are common, so that no typical size tells; energies of strain do."""
    for frame in frames:
        if frame.stress is None:
            continue
        size = float(np.max(np.abs(frame.stress)))
        per_atom = size * abs(float(np.linalg.det(frame.atoms.cell.array))) / len(frame.atoms)
        if per_atom > MOST_STRAIN:
            raise UserError(
                f"{frame.where} has a stress of {size:.3g} eV/Angstrom^3, which times its volume"
                f" is {per_atom:.3g} eV an atom",
                "Stresses must be in eV/Angstrom^3; GPa are 160 times as large, kbar 1602 times,"
                " and virials (in eV) have keys of their own",
            )


def check_splits(splits: dict[str, Sequence[Frame]]) -> None:
    """Refuse empty splits and frames that stand in two of them.

    Raises:
        UserError: naming the splits and the frames.
    """
    seen: dict[bytes, tuple[str, Frame]] = {}
    for name, frames in splits.items():
        if not frames:
            raise UserError(
                f"the {name} split is empty", f"Give it frames: set {name} or its size in [data]"
            )
        for frame in frames:
            mark = _mark(frame)
            other, twin = seen.setdefault(mark, (name, frame))
            if other != name:
                raise UserError(
                    f"{frame.where} ({name}) is the same configuration as {twin.where} ({other})",
                    "Remove it from one split: errors on data seen in training mean nothing",
                )


def _mark(frame: Frame) -> bytes:
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(frame.atoms.numbers, np.int64).tobytes())
    # + 0.0 makes -0.0 and 0.0 the same bytes
    digest.update((np.round(frame.atoms.positions, 5) + 0.0).tobytes())
    digest.update((np.round(frame.atoms.cell.array, 5) + 0.0).tobytes())
    return digest.digest()
