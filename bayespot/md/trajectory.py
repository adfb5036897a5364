"""Frames of a simulation on disk: HDF5, or extxyz for each replica.

Blocks are kept whole beside the checkpoint while the simulation runs, and joined at its end: a
file that is being appended to does not survive a kill.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bayespot import files
from bayespot.errors import UserError
from bayespot.md.stability import REASONS
from bayespot.system import System


class Recorder:
    """Collects blocks of frames and writes them out."""

    def __init__(self, path: Path, checkpoint: Path | None) -> None:
        self.path = Path(path)
        if self.path.suffix not in ("", ".h5", ".hdf5"):
            raise UserError(
                f"{self.path} names no kind of trajectory",
                "Give a name ending in .h5, or a folder for extxyz files",
            )
        self._own = tempfile.TemporaryDirectory() if checkpoint is None else None
        self.folder = Path(self._own.name) if self._own else Path(str(checkpoint)) / "frames"
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, block: int, recorded: Any) -> None:
        """Positions and cells of a production block, (draw, replica, frame, ...)."""
        files.save_arrays(self._file(block), [np.moveaxis(x, 2, 0) for x in recorded[:2]], {})

    def _file(self, block: int) -> Path:
        return self.folder / f"frames_{block:05d}.npz"

    def finish(
        self, system: System, blocks: int, between: np.ndarray, reason: np.ndarray,
        lost: np.ndarray,
    ) -> None:  # fmt: skip
        """Join the blocks; nothing to do where an earlier call has done it.

        Args:
            system: species, masses and periodicity.
            blocks: how many there are.
            between: (draw, replica) fs between two frames.
            reason: (draw, replica) why a replica stopped, 0 where it did not.
            lost: (draw, replica) fs after which it had stopped, infinite where it did not.

        Raises:
            UserError: the simulation was finished before, and its trajectory is gone.
        """
        if not all(self._file(i).exists() for i in range(blocks)):
            if self.path.exists():
                return
            raise UserError(
                f"the simulation was finished before, and its trajectory {self.path} is gone",
                "Remove the checkpoint to simulate again",
            )
        parts = [files.load_arrays(self._file(i))[0] for i in range(blocks)]
        positions, cells = (np.concatenate([p[i] for p in parts]) for i in range(2))
        if self.path.suffix:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(
                self.path, lambda p: _hdf5(p, system, positions, cells, between, reason, lost)
            )
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            for draw, replica in np.ndindex(*between.shape):
                files.write_atomically(
                    self.path / f"draw{draw:03d}_replica{replica:03d}.extxyz",
                    lambda p, d=draw, r=replica: _extxyz(
                        p,
                        system,
                        positions[:, d, r],
                        cells[:, d, r],
                        float(between[d, r]),
                        int(reason[d, r]),
                        float(lost[d, r]),
                    ),
                )
        if self._own is not None:
            self._own.cleanup()
        else:
            shutil.rmtree(self.folder)


def _hdf5(
    path: Path,
    system: System,
    positions: np.ndarray,
    cells: np.ndarray,
    between: np.ndarray,
    reason: np.ndarray,
    lost: np.ndarray,
) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values, unit in (
            ("positions", positions, "Angstrom"),
            ("cell", cells, "Angstrom"),
            ("time_between_frames", between, "fs"),
            ("reason", reason, "0 is stable"),
            ("stopped_at", lost, "fs; frozen from there on"),
            ("numbers", np.asarray(system.species), "atomic numbers, 0 is padding"),
            ("pbc", np.asarray(system.pbc), ""),
        ):
            file.create_dataset(name, data=values).attrs["unit"] = unit


def _extxyz(
    path: Path,
    system: System,
    positions: np.ndarray,
    cells: np.ndarray,
    between: float,
    reason: int,
    lost: float,
) -> None:
    import ase.io
    from ase import Atoms

    exists = np.asarray(system.mask)
    numbers = np.asarray(system.species)[exists]
    frames = []
    for i, (x, cell) in enumerate(zip(positions, cells, strict=True)):
        box = cell if any(system.pbc) else None
        atoms = Atoms(numbers, x[exists], cell=box, pbc=system.pbc)
        time = float((i + 1) * between)
        atoms.info["time_fs"] = time
        atoms.info["state"] = REASONS[reason if time >= lost * (1 - 1e-6) else 0]
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")
