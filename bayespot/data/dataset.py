"""Labelled configurations as padded arrays with their neighbours, ready for mini-batches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase.neighborlist import neighbor_list
from jaxtyping import Array, Bool, Float

from bayespot.data.readers import Frame
from bayespot.errors import UserError
from bayespot.neighbors import SMALL, AllPairs, NeighborList, Neighbors
from bayespot.system import System


class Batch(NamedTuple):
    """What a likelihood sees: any of its arrays has a leading axis of frames.

    Attributes:
        system: padded to one number of atoms.
        neighbors: of every frame, built once because training never moves atoms.
        energy: (frames,) eV, the per-species shift removed.
        forces: (frames, atoms, 3) eV/Angstrom, zero on padding.
        stress: (frames, 3, 3) eV/Angstrom^3, tension positive, symmetric, zero where there is no
            label; None where no frame has one.
        has_stress: (frames,) which frames have; None with ``stress``.
    """

    system: System
    neighbors: Neighbors
    energy: Float[Array, " frames"]
    forces: Float[Array, "frames atoms 3"]
    stress: Float[Array, "frames 3 3"] | None = None
    has_stress: Bool[Array, " frames"] | None = None

    @property
    def stress_labels(self) -> tuple[jax.Array, jax.Array]:
        """``stress`` and ``has_stress`` of a batch that has them."""
        assert self.stress is not None
        assert self.has_stress is not None
        return self.stress, self.has_stress


class Shift(NamedTuple):
    """Energy of each element that training does not have to learn, eV."""

    elements: tuple[int, ...]
    energies: tuple[float, ...]

    def of(self, numbers: np.ndarray) -> float:
        """Total for one composition.

        Raises:
            UserError: for an element the shift was not fitted on.
        """
        table = dict(zip(self.elements, self.energies, strict=True))
        unknown = sorted({int(z) for z in numbers} - set(table))
        if unknown:
            raise UserError(
                f"there is no energy shift for the elements {unknown}", "Train on data with them"
            )
        return float(sum(table[int(z)] for z in numbers))


def fit_shift(frames: Sequence[Frame]) -> Shift:
    """Least squares of the energies on the numbers of atoms of each element.

    Where compositions do not tell elements apart (a single molecule) the solution of smallest
    norm is taken: it removes the mean energy all the same.
    """
    elements = tuple(int(z) for z in np.unique(np.concatenate([f.atoms.numbers for f in frames])))
    counts = np.array([[np.sum(f.atoms.numbers == z) for z in elements] for f in frames], float)
    energies = np.array([f.energy for f in frames])
    solution = np.linalg.lstsq(counts, energies, rcond=None)[0]
    return Shift(elements, tuple(float(x) for x in solution))


class Dataset(NamedTuple):
    """A split of the data.

    Attributes:
        batch: all its frames.
        frames: the same as read, with their provenance.
        shift: what was subtracted from the energies.
    """

    batch: Batch
    frames: tuple[Frame, ...]
    shift: Shift

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over species, positions, cells, periodicity and labels."""
        digest = hashlib.sha256()
        for frame in self.frames:
            for values in (
                frame.atoms.numbers.astype(np.int64),
                np.asarray(frame.atoms.positions, np.float64),
                np.asarray(frame.atoms.cell.array, np.float64),
                np.asarray(frame.atoms.pbc, bool),
                np.asarray(frame.energy, np.float64),
                np.asarray(frame.forces, np.float64),
            ):
                digest.update(np.ascontiguousarray(values).tobytes())
            if frame.stress is not None:
                digest.update(b"stress" + np.asarray(frame.stress, np.float64).tobytes())
        return digest.hexdigest()

    def statistics(self) -> dict[str, float | int | list[int]]:
        """Size, elements, and the spread of the labels in eV, eV/Angstrom and eV/Angstrom^3."""
        forces = np.concatenate([f.forces.ravel() for f in self.frames])
        known = [f.stress for f in self.frames if f.stress is not None]
        stress = {"frames_with_stress": len(known), "stress_rms": _rms(np.array(known))}
        return {
            "frames": len(self),
            "elements": list(self.shift.elements),
            "atoms_min": min(len(f.atoms) for f in self.frames),
            "atoms_max": max(len(f.atoms) for f in self.frames),
            "energy_std": float(np.std(np.asarray(self.batch.energy, float))),
            "forces_rms": _rms(forces),
            "forces_max": float(np.max(np.abs(forces))),
            **(stress if known else {}),
        }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def make_dataset(
    frames: Sequence[Frame], shift: Shift, cutoff: float, num_atoms: int | None = None
) -> Dataset:
    """Pad, shift and stack frames; molecules of different size share a batch.

    Args:
        frames: non-empty.
        shift: of the training split.
        cutoff: range of the potential, Angstrom.
        num_atoms: padded size; by default that of the largest frame.

    Raises:
        UserError: open and periodic frames in one split, or a stress without a volume.
    """
    size = num_atoms or max(len(f.atoms) for f in frames)
    systems = [System.from_ase(f.atoms, size) for f in frames]
    kinds = {s.pbc for s in systems}
    if len(kinds) > 1:
        odd = next(f for f, s in zip(frames, systems, strict=True) if s.pbc != systems[0].pbc)
        raise UserError(
            f"{odd.where} and {frames[0].where} differ in periodicity",
            "Train on frames with the same pbc, or put open ones into a large periodic cell",
        )
    neighbors = _lists(frames, systems, cutoff)
    forces = np.zeros((len(frames), size, 3))
    for i, frame in enumerate(frames):
        forces[i, : len(frame.atoms)] = frame.forces
    # subtract in float64: total energies have more digits than float32
    energy = np.array([f.energy - shift.of(f.atoms.numbers) for f in frames])
    batch = Batch(
        jax.tree.map(lambda *x: jnp.stack(x), *systems),
        neighbors,
        jnp.asarray(energy, float),
        jnp.asarray(forces, float),
        *_stresses(frames),
    )
    return Dataset(batch, tuple(frames), shift)


def _stresses(frames: Sequence[Frame]) -> tuple[jax.Array | None, jax.Array | None]:
    """Labels and which are there; None where none is, so that programs know nothing of them."""
    has = np.array([f.stress is not None for f in frames])
    if not has.any():
        return None, None
    open_one = next((f for f in frames if f.stress is not None and not np.all(f.atoms.pbc)), None)
    if open_one is not None:
        raise UserError(
            f"{open_one.where} has a stress, and is not periodic in all directions",
            "Leave the stress out: an open system has no volume",
        )
    values = np.array([np.zeros((3, 3)) if f.stress is None else f.stress for f in frames])
    return jnp.asarray(values, float), jnp.asarray(has)


def _lists(frames: Sequence[Frame], systems: list[System], cutoff: float) -> Neighbors:
    """Neighbours of all frames in one batch, by ASE; nothing rebuilds these lists."""
    if not any(systems[0].pbc) and systems[0].positions.shape[0] <= SMALL:
        return AllPairs(jnp.zeros(len(frames), bool))
    found = [neighbor_list("ijS", frame.atoms, cutoff) for frame in frames]
    atoms = systems[0].positions.shape[0]
    counts = [np.bincount(i, minlength=atoms) for i, _, _ in found]
    slots = max(1, max(int(c.max()) for c in counts))
    index = np.full((len(frames), atoms, slots), atoms, np.int32)
    shift = np.zeros((len(frames), atoms, slots, 3))
    for n, ((i, j, s), count) in enumerate(zip(found, counts, strict=True)):
        # ASE sorts by the first atom
        slot = np.arange(len(i)) - np.repeat(np.cumsum(count) - count, count)
        index[n, i, slot], shift[n, i, slot] = j, s
    return NeighborList(
        index=jnp.asarray(index),
        shift=jnp.asarray(shift, float),
        reference=jnp.stack([s.positions for s in systems]),
        reference_cell=jnp.stack([s.cell for s in systems]),
        overflow=jnp.zeros(len(frames), bool),
        grid=None,
        cutoff=cutoff,
        skin=0.0,
    )
