"""Model deviations as DeePMD-kit's ``dp model-devi`` defines and writes them, for DP-GEN.

Zhang et al., Phys. Rev. Materials 3, 023804 (2019); Zeng et al., J. Chem. Phys. 159, 054801 (2023).
Theirs are population standard deviations (ddof=0), unlike ours elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import ase

    from bayespot.calibration import Predicted

COLUMNS = (
    "max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f", "devi_e",
)  # fmt: skip


def model_deviation(frames: Sequence[ase.Atoms], predicted: Predicted) -> np.ndarray:
    """(frames, 7) in the order of ``COLUMNS``.

    Of forces: ``sqrt(<|F_i - <F_i>|^2>)`` of each atom, its largest, smallest and mean over atoms,
    eV/Angstrom.  Of the virial per atom: the standard deviation of each of its nine components,
    the largest, the smallest and their root mean square, eV.  Of the energy per atom: its standard
    deviation, eV.

    The virial is ``-V stress`` in periodic systems and ``sum_i r_i F_i`` in open ones, NaN in
    those that are periodic in some directions only.

    Args:
        frames: structures, in the order of ``predicted``.
        predicted: of two members or more.
    """
    rows = []
    for place, atoms in enumerate(frames):
        size = len(atoms)
        forces = np.asarray(predicted.forces[place], float)
        of_atoms = np.sqrt(np.sum(np.var(forces, axis=0), axis=-1))
        virial = np.std(_virials(atoms, predicted, place, forces) / size, axis=0)
        energy = np.std(np.asarray(predicted.energy[:, place], float) / size)
        rows.append(
            (
                virial.max(), virial.min(), np.sqrt(np.mean(virial**2)),
                of_atoms.max(), of_atoms.min(), of_atoms.mean(), energy,
            )
        )  # fmt: skip
    return np.array(rows, float).reshape(-1, len(COLUMNS))


def _virials(atoms: ase.Atoms, predicted: Predicted, place: int, forces: np.ndarray) -> np.ndarray:
    """(K, 3, 3) eV."""
    if not atoms.pbc.any():
        return np.einsum("ia,kib->kab", atoms.positions, forces)
    if predicted.stress is None:
        return np.full((len(forces), 3, 3), np.nan)
    return -atoms.get_volume() * np.asarray(predicted.stress[:, place], float)


def write_model_devi(
    path: Path, frames: Sequence[ase.Atoms], predicted: Predicted, *, every: int = 1
) -> np.ndarray:
    """Write ``model_devi.out`` in the layout of DeePMD-kit 2 and 3; what ``model_deviation`` gives.

    Args:
        path: is overwritten.
        frames: structures.
        predicted: of two members or more.
        every: steps between frames, for the first column.
    """
    made = model_deviation(frames, predicted)
    head = f"{predicted.name}\n{'step':>10}" + "".join(f"{name:>19}" for name in COLUMNS)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(
        path,
        np.column_stack([np.arange(len(made)) * every, made]),
        fmt=["%12d"] + ["%19.6e"] * len(COLUMNS),
        delimiter="",
        header=head,
    )
    return made
