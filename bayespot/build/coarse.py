"""Reference configurations of relative entropy, and the sites they are mapped onto."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np

from bayespot import config as cfg
from bayespot.build.symbols import atomic_number
from bayespot.data import Frame
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
        where = f"frame {number} of {path}"
        if len(atoms) != len(images[0]) or np.any(atoms.numbers != images[0].numbers):
            raise UserError(f"{where} has other atoms than the first", "Give one system")
        if not np.isfinite(atoms.positions).all():
            raise UserError(f"{where} has NaN or infinite positions", "Remove it")
        sites = atoms if mapping is None else _mapped(atoms, mapping, where)
        made.append(Frame(sites, 0.0, np.zeros((len(sites), 3)), str(path), number))
    if not made:
        raise UserError(f"{path} holds no frames", "Give at least one configuration")
    return made


def _mapped(atoms: ase.Atoms, mapping: cfg.Mapping, where: str) -> ase.Atoms:
    """Centres of mass of the groups of every molecule, whole across periodic faces."""
    each, rest = divmod(len(atoms), mapping.molecules)
    last = max(max(group) for group in mapping.groups)
    if rest or last >= each or min(min(group) for group in mapping.groups) < 0:
        raise UserError(
            f"{where} has {len(atoms)} atoms, which are no {mapping.molecules} molecules with"
            f" atoms 0 to {last}",
            "Change groups or molecules of mapping in [trainer]",
        )
    masses = atoms.get_masses()
    positions, weights = [], []
    for first in range(0, len(atoms), each):
        for group in mapping.groups:
            index = first + np.asarray(group)
            mass = masses[index]
            # relative to one of its atoms: a group may lie across a face
            arms = atoms.get_distances(index[0], index, mic=True, vector=True)
            positions.append(atoms.positions[index[0]] + mass @ arms / mass.sum())
            weights.append(mass.sum())
    numbers = [atomic_number(s, "elements of mapping in [trainer]") for s in mapping.elements]
    return ase.Atoms(
        numbers * mapping.molecules, positions, masses=weights, cell=atoms.cell, pbc=atoms.pbc
    )
