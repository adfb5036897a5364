"""Labels by any ASE calculator, one file each: what was calculated once is never lost."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayespot import files
from bayespot.data import Frame

if TYPE_CHECKING:
    import ase
    from ase.calculators.calculator import Calculator


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What came of a batch.

    Attributes:
        frames: with labels, in the order given.
        index: (frames,) place of each in the batch.
        failed: place in the batch -> why there is no label.
    """

    frames: list[Frame]
    index: list[int]
    failed: dict[int, str]


def label(
    structures: Sequence[ase.Atoms],
    make: Callable[[], Calculator],
    folder: Path | None = None,
    *,
    source: str = "labelled here",
    most_force: float = np.inf,
    callback: Callable[[int, str | None], None] | None = None,
) -> Labelled:
    """Energy, forces and, of periodic frames, the stress where the calculator knows it.

    A calculation that fails is noted and skipped, and not tried again in the same folder: it fails
    the same way.  Each structure has a calculator of its own, so that a label depends on nothing
    that was calculated before (self-consistent fields start from the last one otherwise).

    Args:
        structures: without labels.
        make: gives a new calculator.
        folder: of a file for each label, read where it is there; None keeps none.
        source: what frames say about where they are from.
        most_force: largest force on an atom that is believed, eV/Angstrom.
        callback: called after each with its place and why it failed, if it did.
    """
    frames, index, failed = [], [], {}
    for place, atoms in enumerate(structures):
        path = None if folder is None else folder / f"{place:04d}.json"
        if path is not None and path.is_file():
            made = json.loads(path.read_text(encoding="utf-8"))
        else:
            made = _calculate(atoms, make, most_force)
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_json(path, made)
        if "failed" in made:
            failed[place] = made["failed"]
        else:
            stress = made.get("stress")
            frames.append(
                Frame(
                    atoms, made["energy"], np.asarray(made["forces"]), source, place,
                    None if stress is None else np.asarray(stress),
                )
            )  # fmt: skip
            index.append(place)
        if callback is not None:
            callback(place, failed.get(place))
    return Labelled(frames, index, failed)


def _calculate(
    atoms: ase.Atoms, make: Callable[[], Calculator], most_force: float
) -> dict[str, Any]:
    atoms = atoms.copy()
    try:
        atoms.calc = make()
        energy = float(atoms.get_potential_energy())
        forces = np.asarray(atoms.get_forces(), float)
    except Exception as error:  # calculators raise what they like
        told = (str(error).strip().splitlines() or [""])[0]
        return {"failed": f"{type(error).__name__}: {told}".rstrip(": ")}
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        return {"failed": "a label is not finite"}
    largest = float(np.linalg.norm(forces, axis=1).max())
    if largest > most_force:
        return {"failed": f"a force of {largest:.3g} eV/Angstrom"}
    made: dict[str, Any] = {"energy": energy, "forces": forces.tolist()}
    stress = _stress(atoms)
    return made if stress is None else {**made, "stress": stress.tolist()}


def _stress(atoms: ase.Atoms) -> np.ndarray | None:
    """(3, 3) eV/Angstrom^3, or None where the calculator has none."""
    if not all(atoms.pbc):
        return None
    try:
        stress = np.asarray(atoms.get_stress(voigt=False), float)
    except Exception:  # many calculators know no stress, and say so in many ways
        return None
    return stress if np.isfinite(stress).all() else None
