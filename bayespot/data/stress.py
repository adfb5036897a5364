"""Stress labels as files and calculators hold them: whole tensors, Voigt's six, or virials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase

RELATIVE_ASYMMETRY, ASYMMETRY = 1e-3, 1e-5
"""Of the largest component, and in eV/Angstrom^3: what may stand between two halves of a tensor."""


def find_stress(
    stress: Sequence[str], virial: Sequence[str], atoms: ase.Atoms, where: str, *places: dict
) -> np.ndarray | None:
    """The stress of one frame, (3, 3) eV/Angstrom^3, tension positive; None without a label.

    Frames that are open in some direction have none, whatever their file says: stress needs a
    volume.  Keys that begin with ``REF_`` go first.

    Args:
        stress: keys of stresses, eV/Angstrom^3 in ASE's sign.
        virial: keys of virials, ``-stress * volume`` in eV.
        atoms: the structure.
        where: the frame, for messages.
        places: where keys are looked for, in this order.

    Raises:
        UserError: not numbers, a wrong shape, NaN, an asymmetric tensor, or a cell without volume.
    """
    if not np.all(atoms.pbc):
        return None
    named = [(name, False) for name in stress] + [(name, True) for name in virial]
    for name, times_volume in sorted(named, key=lambda each: not each[0].startswith("REF_")):
        for place in places:
            if place.get(name) is not None:
                made = _tensor(place[name], name, where)
                return _symmetric(
                    -made / _volume(atoms, where) if times_volume else made, name, where
                )
    return None


def _tensor(value: Any, name: str, where: str) -> np.ndarray:
    try:
        values = np.asarray(value, float)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where} has a {name} that is not made of numbers", "Give (3, 3) or six numbers"
        ) from error
    if values.shape == (6,):
        xx, yy, zz, yz, xz, xy = values
        values = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    elif values.shape == (9,):  # what extxyz makes of a tensor whose name it does not know
        values = values.reshape(3, 3)
    if values.shape != (3, 3):
        raise UserError(
            f"{where} has a {name} of shape {values.shape}",
            "Give (3, 3), or xx, yy, zz, yz, xz, xy",
        )
    if not np.all(np.isfinite(values)):
        raise UserError(
            f"{where} has NaN or infinite {name}", "Relabel the frame, or leave its label out"
        )
    return values


def _volume(atoms: ase.Atoms, where: str) -> float:
    lengths = np.linalg.norm(atoms.cell.array, axis=1)
    volume = abs(float(np.linalg.det(atoms.cell.array)))
    if not volume > 1e-6 * float(np.prod(lengths)):
        raise UserError(
            f"{where} has a virial and a cell without volume", "Give three independent vectors"
        )
    return volume


def _symmetric(values: np.ndarray, name: str, where: str) -> np.ndarray:
    gap = float(np.max(np.abs(values - values.T)))
    if gap > RELATIVE_ASYMMETRY * float(np.max(np.abs(values))) + ASYMMETRY:
        raise UserError(
            f"{where} has a {name} that is not symmetric (by {gap:.3g} eV/Angstrom^3)",
            "Give the symmetric stress; nine numbers must be a whole tensor, row by row",
        )
    return (values + values.T) / 2
