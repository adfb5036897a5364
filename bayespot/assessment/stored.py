"""Ensembles that someone has stored: arrays in npz, or beside the structures in extxyz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayespot.assessment.sources import Report, Source
from bayespot.calibration import Predicted
from bayespot.data import Frame
from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase

SAME = 1e-3
"""Angstrom: atoms closer than this in all coordinates are those of the same frame."""

ENSEMBLES = ("energy_ensemble", "forces_ensemble")
KNOWN = (*ENSEMBLES, "stress_ensemble", "energy_noise", "forces_noise", "stress_noise")


def from_npz(path: Path, data: Path) -> Source:
    """Arrays in the order of a file of frames.

    The file holds ``energy_ensemble`` (K, F) eV, ``forces_ensemble`` (K, total atoms, 3)
    eV/Angstrom, and if known ``stress_ensemble`` (K, F, 3, 3) eV/Angstrom^3 and ``energy_noise``,
    ``forces_noise``, ``stress_noise``: learned standard deviations, a number or one a member.

    Raises:
        UserError: arrays that are missing or do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:
        raise UserError(
            f"NumPy cannot read {path} ({type(error).__name__}: {error})", "Give an npz of numbers"
        ) from error
    missing = [name for name in ENSEMBLES if name not in arrays]
    if missing:
        raise UserError(
            f"{path} has no {missing[0]}, only {', '.join(arrays) or 'nothing'}",
            "Give energy_ensemble (K, F) and forces_ensemble (K, total atoms, 3)",
        )
    odd = [name for name in KNOWN if name in arrays and arrays[name].dtype.kind not in "fiu"]
    if odd:
        raise UserError(
            f"{path} has a {odd[0]} of type {arrays[odd[0]].dtype}", "Give real numbers"
        )
    energy, forces = (np.asarray(arrays[name], float) for name in ENSEMBLES)
    stress = np.asarray(arrays["stress_ensemble"], float) if "stress_ensemble" in arrays else None
    if energy.ndim != 2 or forces.ndim != 3 or forces.shape[::2] != (len(energy), 3):
        raise UserError(
            f"{path} has energy_ensemble {energy.shape} and forces_ensemble {forces.shape}",
            "Give (K, F) and (K, total atoms, 3), atoms of all frames one after the other",
        )
    if stress is not None and stress.shape != (*energy.shape, 3, 3):
        raise UserError(
            f"{path} has a stress_ensemble of shape {stress.shape}", "Give (K, F, 3, 3)"
        )
    noise = {
        name: np.asarray(arrays[f"{name}_noise"], float) ** 2
        for name in ("energy", "forces", "stress")
        if f"{name}_noise" in arrays
    }
    for name, variance in noise.items():
        right = variance.shape in ((), (1,), (len(energy),))
        if not right or not np.isfinite(variance).all():
            raise UserError(
                f"{path} has a {name}_noise of shape {variance.shape} for {len(energy)} members"
                if not right
                else f"{path} has a NaN or infinite {name}_noise",
                "Give one standard deviation, or one of each member",
            )
    sizes = _sizes(data, path, energy.shape[1], forces.shape[1])
    ends = np.cumsum(sizes)

    def predict(frames: Sequence[Frame], want_stress: bool, report: Report) -> Predicted:
        for frame in frames:
            if Path(frame.file) != data:
                raise UserError(
                    f"{path} follows the order of {data} and knows nothing of {frame.where}",
                    "Store ensembles in extxyz beside their structures, or use --fraction",
                )
        order = [frame.number for frame in frames]
        report(len(frames), len(frames))
        return Predicted(
            energy[:, order],
            [forces[:, ends[i] - sizes[i] : ends[i]] for i in order],
            stress[:, order] if want_stress and stress is not None else None,
            noise,
            path.stem,
        )

    return Source(path.stem, predict)


def _sizes(data: Path, path: Path, frames: int, atoms: int) -> np.ndarray:
    """Atoms of each test frame, if there are as many as the arrays have."""
    from bayespot.data import read

    sizes = np.array([len(frame.atoms) for frame in read(data)])
    if (len(sizes), int(sizes.sum())) != (frames, atoms):
        raise UserError(
            f"{path} holds {frames} frames of {atoms} atoms in all, and {data} {len(sizes)} of"
            f" {int(sizes.sum())}",
            "Give the ensemble of the same frames in the same order",
        )
    return sizes


def from_frames(path: Path) -> Source:
    """Frames that carry ``energy_ensemble`` (K numbers) and ``forces_ensemble`` (atoms, 3 K).

    The columns of forces are x, y, z of the first member, then of the second.  ``stress_ensemble``
    (9 K numbers, a tensor a member) may be there.  Frames are found by their structures, so that
    their order plays no part.

    Raises:
        UserError: a file that cannot be read, or frames without ensembles.
    """
    import ase.io

    try:
        images = ase.io.read(path, index=":")
    except Exception as error:
        raise UserError(
            f"ASE cannot read {path} ({type(error).__name__}: {error})", "Give extxyz or npz"
        ) from error
    images = images if isinstance(images, list) else [images]
    for number, atoms in enumerate(images):
        if ENSEMBLES[0] not in atoms.info or ENSEMBLES[1] not in atoms.arrays:
            raise UserError(
                f"frame {number} of {path} lacks energy_ensemble or forces_ensemble",
                "Write energy_ensemble (K numbers) into info, forces_ensemble (atoms, 3 K) into"
                " arrays",
            )
        values = (atoms.info[ENSEMBLES[0]], atoms.arrays[ENSEMBLES[1]])
        if any(np.asarray(x).dtype.kind not in "fiu" for x in values):
            raise UserError(
                f"frame {number} of {path} has an ensemble that is not made of numbers",
                "Write numbers with blanks between",
            )
    alike = _by_composition(images)

    def predict(frames: Sequence[Frame], stress: bool, report: Report) -> Predicted:
        found = [images[_find(alike, frame, path)] for frame in frames]
        energies = [np.asarray(a.info[ENSEMBLES[0]], float).reshape(-1) for a in found]
        members = len(energies[0])
        odd = next((f for f, e in zip(frames, energies, strict=True) if len(e) != members), None)
        if odd is not None:
            raise UserError(f"{path} has another number of members for {odd.where}", "Give one K")
        forces = [_members(a.arrays[ENSEMBLES[1]], members, len(a), path) for a in found]
        report(len(frames), len(frames))
        has = stress and any("stress_ensemble" in a.info for a in found)
        return Predicted(
            np.stack(energies, axis=1),
            forces,
            np.stack([_stresses(a, members, path) for a in found], axis=1) if has else None,
            {},
            path.stem,
        )

    return Source(path.stem, predict)


def _by_composition(images: Sequence[ase.Atoms]) -> dict[bytes, tuple[list[int], np.ndarray, int]]:
    """Atomic numbers -> places of the frames that have them, their coordinates (flat), and the
    coordinate that differs most between them."""
    found: dict[bytes, list[int]] = {}
    for number, atoms in enumerate(images):
        found.setdefault(atoms.numbers.tobytes(), []).append(number)
    made = {}
    for numbers, places in found.items():
        positions = np.stack([images[i].positions.ravel() for i in places])
        made[numbers] = (places, positions, int(np.argmax(np.ptp(positions, axis=0))))
    return made


def _find(
    alike: Mapping[bytes, tuple[list[int], np.ndarray, int]], frame: Frame, path: Path
) -> int:
    """Place of the frame among those of its composition."""
    key = frame.atoms.numbers.tobytes()
    if key in alike:
        places, positions, one = alike[key]
        wanted = frame.atoms.positions.ravel()
        # one coordinate tells nearly all frames apart: thousands are found in no time
        for i in np.flatnonzero(np.abs(positions[:, one] - wanted[one]) < SAME):
            if np.max(np.abs(positions[i] - wanted)) < SAME:
                return places[i]
    raise UserError(
        f"{path} has no ensemble for {frame.where}", "Give one that holds all frames of the data"
    )


def _members(values: np.ndarray, members: int, atoms: int, path: Path) -> np.ndarray:
    """(K, atoms, 3) of (atoms, 3 K)."""
    values = np.asarray(values, float)
    if values.shape != (atoms, 3 * members):
        raise UserError(
            f"{path} has a forces_ensemble of shape {values.shape} for {members} energies",
            f"Give ({atoms}, {3 * members})",
        )
    return np.moveaxis(values.reshape(atoms, members, 3), 1, 0)


def _stresses(atoms: ase.Atoms, members: int, path: Path) -> np.ndarray:
    if "stress_ensemble" not in atoms.info:
        return np.full((members, 3, 3), np.nan)
    values = np.asarray(atoms.info["stress_ensemble"], float)
    if values.size != 9 * members:
        raise UserError(
            f"{path} has a stress_ensemble of {values.size} numbers for {members} members",
            f"Give {9 * members}",
        )
    return values.reshape(members, 3, 3)
