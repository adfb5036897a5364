"""Bonds of a molecule from its geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import ase

Bonds = tuple[tuple[int, int], ...]


def find_bonds(atoms: ase.Atoms, factor: float = 1.15) -> Bonds:
    """Pairs closer than ``factor`` times the sum of covalent radii (ASE's natural cut-offs)."""
    from ase.neighborlist import build_neighbor_list, natural_cutoffs

    neighbors = build_neighbor_list(
        atoms,
        natural_cutoffs(atoms, mult=factor),  # type: ignore[arg-type]
        skin=0.0,
        self_interaction=False,
    )
    matrix = neighbors.get_connectivity_matrix(sparse=False)
    i, j = np.nonzero(np.triu(matrix + matrix.T, 1))
    return tuple((int(a), int(b)) for a, b in zip(i, j, strict=True))
