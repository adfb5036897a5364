"""What no calculation is worth its time for: unphysical structures, and those we have already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import ase

CUTOFF = 6.0
"""Distances beyond it tell no structures apart, Angstrom."""


def closest(atoms: ase.Atoms) -> float:
    """Smallest distance of two atoms, as a share of the sum of their covalent radii."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    i, j, d = neighbor_list("ijd", atoms, 2 * float(covalent_radii[atoms.numbers].max()))
    radii = covalent_radii[atoms.numbers]
    return float(np.min(d / (radii[i] + radii[j]), initial=np.inf))


def fingerprint(atoms: ase.Atoms) -> dict[tuple[int, int], np.ndarray]:
    """Sorted distances below ``CUTOFF`` of each pair of elements: the same for rotated, translated,
    mirrored structures and permuted like atoms."""
    from ase.neighborlist import neighbor_list

    i, j, d = neighbor_list("ijd", atoms, CUTOFF)
    low, high = np.sort([atoms.numbers[i], atoms.numbers[j]], axis=0)
    return {
        (int(a), int(b)): np.sort(d[(low == a) & (high == b)])
        for a, b in np.unique(np.stack([low, high], axis=1), axis=0)
    }


def difference(
    one: dict[tuple[int, int], np.ndarray], other: dict[tuple[int, int], np.ndarray]
) -> float:
    """Root mean square difference of two fingerprints' distances, Angstrom.

    Distances that only one has, its partner having left the cut-off, count as at the cut-off.
    """
    total, count = 0.0, 0
    for pair in one.keys() | other.keys():
        a, b = one.get(pair, np.empty(0)), other.get(pair, np.empty(0))
        size = max(len(a), len(b))
        a, b = (np.pad(x, (0, size - len(x)), constant_values=CUTOFF) for x in (a, b))
        total, count = total + float(np.sum((a - b) ** 2)), count + size
    return float(np.sqrt(total / count)) if count else 0.0


class Fingerprints:
    """Those of many structures, to be compared at once.

    Attributes:
        scale: median difference of two structures of the same atoms, Angstrom.
    """

    def __init__(self, structures: list[ase.Atoms]) -> None:
        kinds = [_composition(atoms) for atoms in structures]
        self._kind = np.array([sorted(set(kinds)).index(kind) for kind in kinds], int)
        found = [fingerprint(atoms) for atoms in structures]
        pairs = sorted({pair for each in found for pair in each})
        size = {p: max(len(each.get(p, ())) for each in found) for p in pairs}
        self._rows = np.full((len(found), sum(size.values())), CUTOFF)
        self._count = np.zeros(len(found))
        for row, each in enumerate(found):
            start = 0
            for p in pairs:
                here = each.get(p, np.empty(0))
                self._rows[row, start : start + len(here)] = here
                start += size[p]
            self._count[row] = sum(map(len, each.values()))
        some = np.unique(np.linspace(0, len(found) - 1, min(50, len(found))).astype(int))
        apart = (
            np.concatenate([self.distances(int(i)) for i in some]) if len(found) else np.empty(0)
        )
        apart = apart[np.isfinite(apart) & (apart > 0)]
        self.scale = float(np.median(apart)) if len(apart) else 1.0

    def __len__(self) -> int:
        return len(self._rows)

    def distances(self, index: int) -> np.ndarray:
        """(structures,) difference of one to all; infinite to those of other atoms."""
        squares = np.sum((self._rows - self._rows[index]) ** 2, axis=1)
        # entries that neither has are equal: they count in neither sum
        count = np.maximum(np.maximum(self._count, self._count[index]), 1)
        return np.where(self._kind == self._kind[index], np.sqrt(squares / count), np.inf)


class Seen:
    """Structures there are already, by composition.

    Example:
        >>> from ase.build import molecule
        >>> seen = Seen([molecule("H2O")])
        >>> moved = molecule("H2O")
        >>> moved.rotate(50, "x")
        >>> round(seen.nearest(moved), 6)
        0.0
        >>> seen.nearest(molecule("CH4"))
        inf
    """

    def __init__(self, structures: list[ase.Atoms] | tuple[ase.Atoms, ...] = ()) -> None:
        self._known: dict[tuple[int, ...], list[dict[tuple[int, int], np.ndarray]]] = {}
        for atoms in structures:
            self.add(atoms)

    def add(self, atoms: ase.Atoms) -> None:
        """Know it from now on."""
        self._known.setdefault(_composition(atoms), []).append(fingerprint(atoms))

    def nearest(self, atoms: ase.Atoms) -> float:
        """``difference`` to the most similar one of the same atoms; infinite without one."""
        own = fingerprint(atoms)
        return min((difference(own, x) for x in self._known.get(_composition(atoms), ())),
                   default=np.inf)  # fmt: skip


def _composition(atoms: ase.Atoms) -> tuple[int, ...]:
    return tuple(sorted(int(z) for z in atoms.numbers))
