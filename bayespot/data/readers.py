"""Frames with energies, forces and stresses from extxyz, npz and ASE databases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayespot.data.stress import find_stress
from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase


@dataclasses.dataclass(frozen=True)
class Keys:
    """Where labels are looked for, in this order.

    Stress and virial (``-stress * volume``) are optional: see ``find_stress``.
    """

    energy: tuple[str, ...] = ("REF_energy", "energy", "E")
    forces: tuple[str, ...] = ("REF_forces", "forces", "F")
    stress: tuple[str, ...] = ("REF_stress", "stress")
    virial: tuple[str, ...] = ("REF_virial", "REF_virials", "virial", "virials")


@dataclasses.dataclass(frozen=True)
class Frame:
    """One labelled configuration and where it came from.

    Attributes:
        atoms: structure, positions in Angstrom.
        energy: eV.
        forces: (atoms, 3) eV/Angstrom.
        file: path as given.
        number: position in the file, from 0.
        stress: (3, 3) eV/Angstrom^3, tension positive as in ASE; None where it is not known.
    """

    atoms: ase.Atoms
    energy: float
    forces: np.ndarray
    file: str
    number: int
    stress: np.ndarray | None = None

    @property
    def where(self) -> str:
        """For messages."""
        return f"frame {self.number} of {self.file}"


def read(path: str | Path, keys: Keys | None = None) -> list[Frame]:
    """All frames of a file.

    Args:
        path: ``.npz`` (MD17's R, z, E, F or positions, species, energy, forces, cell, stress or
            virial; eV and Angstrom), an ASE database (``.db``, ``.json``) or any format ASE
            reads, extxyz above all.
        keys: names of the labels.

    Raises:
        UserError: no such file, nothing in it, or a label that is missing.
    """
    path, keys = Path(path), keys or Keys()
    if not path.is_file():
        what = f"{path} is a directory" if path.is_dir() else f"there is no file {path}"
        raise UserError(what, "Check the path in [data]")
    frames = _read_npz(path, keys) if path.suffix == ".npz" else _read_ase(path, keys)
    if not frames:
        raise UserError(f"{path} holds no frames", "Give a file with at least one configuration")
    return frames


def _read_ase(path: Path, keys: Keys) -> list[Frame]:
    try:
        images = _images(path)
    except Exception as error:
        raise UserError(
            f"ASE cannot read {path} ({type(error).__name__}: {error})",
            "Give extxyz, npz or an ASE database",
        ) from error
    frames = []
    for number, atoms in enumerate(images):
        results = {} if atoms.calc is None else atoms.calc.results
        row = [atoms.info.get(name) for name in ("key_value_pairs", "data")]
        more = [results, *(part for part in row if isinstance(part, dict))]
        energy = _find(keys.energy, "energy", path, number, atoms.info, *more)
        forces = _find(keys.forces, "forces", path, number, atoms.arrays, *more)
        frames.append(_frame(atoms, energy, forces, path, number, keys, atoms.info, *more))
    return frames


def _images(path: Path) -> list[ase.Atoms]:
    import ase.db
    import ase.io
    from ase.io.formats import filetype

    if filetype(str(path)) in ("db", "json"):
        # ase.io.read would lose the keys and data of the rows
        rows = ase.db.connect(path, serial=True).select()
        return [row.toatoms(add_additional_information=True) for row in rows]
    images = ase.io.read(path, index=":")
    return images if isinstance(images, list) else [images]


def _find(names: Sequence[str], what: str, path: Path, number: int, *places: dict) -> object:
    for name in names:
        for place in places:
            if name in place:
                return place[name]
    found = sorted({str(k) for place in places for k in place} - {"numbers", "positions"})
    raise UserError(
        f"frame {number} of {path} has no {what}: looked for {', '.join(names)},"
        f" found {', '.join(found) or 'no labels'}",
        f'Name the key: set {what}_key in [data], for example {what}_key = "my_{what}"'
        if what in ("energy", "forces")
        else f"Add an array {names[0]}",
    )


def _frame(
    atoms: ase.Atoms,
    energy: object,
    forces: object,
    path: Path,
    number: int,
    keys: Keys,
    *places: dict,
) -> Frame:
    try:
        value = float(np.asarray(energy, float).reshape(()))
        vectors = np.asarray(forces, float)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"frame {number} of {path} has labels that are not numbers of the right shape",
            "Give one energy in eV and forces of shape (atoms, 3) in eV/Angstrom",
        ) from error
    if vectors.shape != (len(atoms), 3):
        raise UserError(
            f"frame {number} of {path} has forces of shape {vectors.shape} for {len(atoms)} atoms",
            f"Give an array of shape ({len(atoms)}, 3)",
        )
    if np.any(atoms.numbers <= 0):
        raise UserError(
            f"frame {number} of {path} has an atom X of no element",
            "Remove such dummy atoms: species 0 marks padding",
        )
    if len(atoms) == 0:
        raise UserError(f"frame {number} of {path} has no atoms", "Remove it")
    if np.any(atoms.pbc & ~np.any(atoms.cell.array, axis=1)):
        raise UserError(
            f"frame {number} of {path} is periodic along a vector of length zero",
            "Give its cell (Lattice in extxyz), or set pbc to F",
        )
    for name, values in (("energy", value), ("forces", vectors), ("positions", atoms.positions)):
        if not np.all(np.isfinite(values)):
            raise UserError(
                f"frame {number} of {path} has NaN or infinite {name}", "Remove or relabel it"
            )
    where = f"frame {number} of {path}"
    stress = find_stress(keys.stress, keys.virial, atoms, where, *places)
    return Frame(atoms, value, vectors, str(path), number, stress)


def _read_npz(path: Path, keys: Keys) -> list[Frame]:
    from ase import Atoms

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise UserError(
            f"NumPy cannot read {path} ({type(error).__name__}: {error})",
            "Give an npz of plain arrays, none of dtype object",
        ) from error

    def find(names: Sequence[str], what: str, dtype: type) -> np.ndarray:
        found = _find(names, what, path, 0, arrays)
        try:
            return np.asarray(found, dtype)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{path} has {what} values that are not numbers", "Give arrays of numbers"
            ) from error

    positions = find(("positions", "R"), "positions", float)
    species = find(("species", "z", "numbers"), "species", int)
    energies = find(keys.energy, "energy", float).reshape(-1)
    forces = find(keys.forces, "forces", float)
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise UserError(
            f"{path} has positions of shape {positions.shape}", "Give (frames, atoms, 3)"
        )
    count, size = positions.shape[:2]
    if species.shape not in ((size,), (count, size)):
        raise UserError(
            f"{path} has species of shape {species.shape} for {count} frames of {size} atoms",
            f"Give ({size},), or ({count}, {size}) with 0 for padding",
        )
    if forces.ndim == 0:
        raise UserError(f"{path} has forces of shape ()", f"Give {positions.shape}")
    if not len(energies) == len(forces) == count:
        raise UserError(
            f"{path} holds {count} positions, {len(energies)} energies and {len(forces)} forces",
            "Give arrays with the same number of frames",
        )
    cells = np.asarray(arrays.get("cell", np.zeros((3, 3))))
    if cells.shape not in ((3, 3), (count, 3, 3)):
        raise UserError(
            f"{path} has a cell of shape {cells.shape}", f"Give (3, 3) or ({count}, 3, 3)"
        )
    stresses = _optional(arrays, (*keys.stress, *keys.virial), count, path) if cells.any() else {}
    frames = []
    for i in range(count):
        numbers = species if species.ndim == 1 else species[i]
        real = numbers > 0
        cell = cells if cells.ndim == 2 else cells[i]
        if forces[i].shape != positions[i].shape:
            raise UserError(
                f"frame {i} of {path} has forces of shape {forces[i].shape}",
                f"Give {positions[i].shape}",
            )
        atoms = Atoms(numbers[real], positions[i][real], cell=cell, pbc=bool(np.any(cell)))
        places = {name: values[i] for name, values in stresses.items()}
        frames.append(_frame(atoms, energies[i], forces[i][real], path, i, keys, places))
    return frames


def _optional(
    arrays: dict[str, np.ndarray], names: Sequence[str], count: int, path: Path
) -> dict[str, np.ndarray]:
    """Those of the arrays that are there, one entry a frame."""
    found = {name: arrays[name] for name in names if name in arrays}
    for name, values in found.items():
        if values.ndim == 0 or len(values) != count:
            raise UserError(
                f"{path} holds {count} positions and {name} of shape {values.shape}",
                f"Give ({count}, 3, 3) or ({count}, 6)",
            )
    return found
