"""Frames of a coarser model: configurations and labels of atoms, mapped onto sites."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np

from bayespot import config as cfg
from bayespot.build.symbols import atomic_number
from bayespot.data import Frame, LinearMap
from bayespot.errors import UserError


def reference_frames(config: cfg.RelativeEntropyPart) -> list[list[Frame]]:
    """Mapped configurations of every state point; they carry no labels.

    Raises:
        UserError: a file that is not there or cannot be read, or atoms that do not fit the mapping.
    """
    paths = config.reference if isinstance(config.reference, tuple) else (config.reference,)
    return [_read(path, config.mapping) for path in paths]


def _read(path: Path, mapping: cfg.Mapping | None) -> list[Frame]:
    import ase.io

    if not path.is_file():
        raise UserError(f"there is no file {path}", "Check reference in [trainer]")
    try:
        images = ase.io.read(path, index=":")
    except Exception as error:  # ASE's readers raise what they like
        raise UserError(
            f"reference {path} cannot be read: {error}", "Give a file ASE reads"
        ) from error
    images = images if isinstance(images, list) else [images]
    made = []
    for number, atoms in enumerate(images):
        frame = Frame(atoms, 0.0, np.zeros((len(atoms), 3)), str(path), number)
        if len(atoms) != len(images[0]) or np.any(atoms.numbers != images[0].numbers):
            raise UserError(f"{frame.where} has other atoms than the first", "Give one system")
        if not np.isfinite(atoms.positions).all():
            raise UserError(f"{frame.where} has NaN or infinite positions", "Remove it")
        made.append(frame)
    if not made:
        raise UserError(f"{path} holds no frames", "Give at least one configuration")
    if mapping is None:
        return made
    # configurations alone: sites need no force map, and may have no atoms of their own
    return mapped(made, mapping, linear_map(mapping, made[0]), forces=False)


def mapped_splits(splits: dict[str, list[Frame]], mapping: cfg.Mapping) -> dict[str, list[Frame]]:
    """Labelled frames of atoms as those of sites, which have forces and nothing else.

    Raises:
        UserError: atoms that do not fit the mapping, or a mapping without forces.
    """
    train = splits["train"]
    made = linear_map(mapping, train[0])
    if mapping.forces == "least_noise":
        if made.forces is not None:
            raise UserError(
                f"{mapping.file} has a map of forces already",
                'Remove it, or forces = "least_noise" of mapping',
            )
        for frame in train:
            _check(frame, mapping, made)
        made = made.least_noise(_of_copies([f.forces for f in train], made))
    return {name: mapped(frames, mapping, made) for name, frames in splits.items()}


def _of_copies(vectors: list[np.ndarray], made: LinearMap) -> np.ndarray:
    """One molecule a frame: frames may hold different numbers."""
    return np.concatenate([v.reshape(-1, made.atoms, 3) for v in vectors])


def linear_map(mapping: cfg.Mapping, frame: Frame) -> LinearMap:
    """The map of one molecule of ``frame``.

    Raises:
        UserError: a file without matrices, or a map that is wrong.
    """
    each, rest = divmod(len(frame.atoms), mapping.molecules)
    if mapping.groups is None:
        return _from_file(mapping)
    last = max(max(group) for group in mapping.groups)
    if rest or last >= each or min(min(group) for group in mapping.groups) < 0:
        raise UserError(
            f"{frame.where} has {len(frame.atoms)} atoms, which are no {mapping.molecules}"
            f" molecules with atoms 0 to {last}",
            "Change groups or molecules of mapping in [trainer]",
        )
    masses = frame.atoms.get_masses()[:each] if mapping.centre == "mass" else None
    return LinearMap.from_groups(mapping.groups, each, masses, mapping.constraints)


def _from_file(mapping: cfg.Mapping) -> LinearMap:
    path = mapping.file
    assert path is not None
    fix = "Give an npz of positions (sites, atoms), and perhaps forces"
    if not path.is_file():
        raise UserError(f"there is no file {path}", "Check file of mapping in [trainer]")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], float) for name in file.files}
    except Exception as error:
        raise UserError(f"{path} is no npz of matrices ({error})", fix) from error
    if "positions" not in arrays or set(arrays) - {"positions", "forces"}:
        raise UserError(f"{path} holds {', '.join(arrays) or 'nothing'}", fix)
    made = LinearMap(arrays["positions"], arrays.get("forces"), mapping.constraints)
    if made.sites != len(mapping.elements):
        raise UserError(
            f"{path} has {made.sites} sites, and elements of mapping are {len(mapping.elements)}",
            "Name each site of one molecule",
        )
    return made


def _check(frame: Frame, mapping: cfg.Mapping, made: LinearMap) -> None:
    if len(frame.atoms) != made.atoms * mapping.molecules:
        raise UserError(
            f"{frame.where} has {len(frame.atoms)} atoms, which are no {mapping.molecules}"
            f" molecules of {made.atoms}",
            "Change mapping in [trainer], or remove the frame",
        )
    each = frame.atoms.numbers.reshape(mapping.molecules, -1)
    odd = np.any(each != each[0], axis=1)
    if odd.any():
        raise UserError(
            f"molecule {np.argmax(odd)} of {frame.where} has other atoms than the first",
            "Sort molecules alike, or map the whole system as one molecule",
        )


def mapped(
    frames: Sequence[Frame], mapping: cfg.Mapping, made: LinearMap, forces: bool = True
) -> list[Frame]:
    """Frames of sites: no energies and stresses, which belong to atoms.

    Args:
        frames: of atoms.
        mapping: how many molecules, and what sites are called.
        made: of one molecule.
        forces: whether to map them too.

    Raises:
        UserError: atoms that do not fit.
    """
    numbers = [atomic_number(s, "elements of mapping in [trainer]") for s in mapping.elements]
    for frame in frames:
        _check(frame, mapping, made)
        if np.any(frame.atoms.pbc != frames[0].atoms.pbc):
            raise UserError(
                f"{frame.where} and {frames[0].where} differ in periodicity", "Give one system"
            )
    positions = made.of_positions(
        np.stack([f.atoms.positions for f in frames]),
        np.stack([f.atoms.cell.complete().array for f in frames]),
        [bool(p) for p in frames[0].atoms.pbc],
    )
    vectors = np.zeros_like(positions)
    if forces:
        vectors = made.of_forces(np.stack([f.forces for f in frames]))
    found = []
    for frame, here, pull in zip(frames, positions, vectors, strict=True):
        atoms = frame.atoms
        sites = ase.Atoms(
            numbers * mapping.molecules,
            here,
            masses=np.tile(made.masses(atoms.get_masses()[: made.atoms]), mapping.molecules),
            cell=atoms.cell,
            pbc=atoms.pbc,
            info=atoms.info,
        )
        found.append(dataclasses.replace(frame, atoms=sites, energy=0.0, forces=pull, stress=None))
    return found
