"""Linear maps from atoms onto the sites of a coarser model, of positions and of forces.

    R_I = sum_i c_Ii r_i,    F_I = sum_i d_Ii f_i

Forces so mapped average, over all atoms that give the same sites, to the mean force
``-dA/dR_I`` (for maps of constant coefficients without further terms) if

    sum_i d_Ii c_Ji = 1 where J is I, and 0 elsewhere,

and if each site weighs atoms alike whose distance is constrained (Noid et al. 2008, J. Chem. Phys.
128, 244114, whose maps are those of least extent; Ciccotti, Kapral & Vanden-Eijnden 2005,
ChemPhysChem 6, 1809; Kraemer et al. 2023, J. Phys. Chem. Lett. 14, 3970).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bayespot.errors import UserError

Pairs = tuple[tuple[int, int], ...]
TOLERANCE = 1e-5
"""Of sums of coefficients, which files may hold in float32."""


@dataclasses.dataclass(frozen=True, eq=False)
class LinearMap:
    """The sites of one molecule; systems may hold any number of its copies, one after the other.

    Attributes:
        positions: (sites, atoms) c, each row with the sum 1.
        forces: (sites, atoms) d; None for ``basic_forces``.
        constraints: pairs of atoms whose distance the finer model holds constant.
    """

    positions: np.ndarray
    forces: np.ndarray | None = None
    constraints: Pairs = ()

    def __post_init__(self) -> None:
        c = _matrix(self.positions, "positions")
        object.__setattr__(self, "positions", c)
        sums = c.sum(axis=1)
        if not np.allclose(sums, 1, rtol=0, atol=TOLERANCE):
            site = int(np.argmax(np.abs(sums - 1)))
            raise UserError(
                f"the weights of site {site} have the sum {sums[site]:g}, and it would move by that"
                " much with its atoms",
                "Give rows of positions whose sum is 1",
            )
        if np.linalg.matrix_rank(c) < len(c):
            raise UserError(
                f"{len(c)} sites are not independent of each other",
                "Leave out sites that others determine",
            )
        pairs = np.asarray(self.constraints, int).reshape(-1, 2)
        if pairs.size and (pairs.min() < 0 or pairs.max() >= c.shape[1]):
            raise UserError(
                f"a constraint is not between two of {c.shape[1]} atoms",
                "Give pairs of indices within one molecule, from 0",
            )
        if self.forces is None:
            return
        d = _matrix(self.forces, "forces")
        object.__setattr__(self, "forces", d)
        if d.shape != c.shape:
            raise UserError(
                f"the map of forces has shape {d.shape}, that of positions {c.shape}",
                "Give one coefficient for each site and atom",
            )
        self._check_forces(d)

    def _check_forces(self, d: np.ndarray) -> None:
        wrong = d @ self.positions.T - np.eye(self.sites)
        if np.abs(wrong).max() > TOLERANCE:
            i, j = np.unravel_index(np.argmax(np.abs(wrong)), wrong.shape)
            raise UserError(
                f"mapped forces are not the sites' mean forces: sum_k d_{i},k c_{j},k is"
                f" {wrong[i, j] + (i == j):g} and should be {int(i == j)} (Noid et al. 2008)",
                "Give forces that fit the positions, or leave them out",
            )
        for a, b in self.constraints:
            apart = np.abs(d[:, a] - d[:, b])
            if apart.max() > TOLERANCE:
                raise UserError(
                    f"site {int(np.argmax(apart))} weighs the forces on atoms {a} and {b}"
                    " differently, whose distance is constrained",
                    "Weigh them alike: forces of constraints then cancel",
                )

    @classmethod
    def from_groups(
        cls,
        groups: Sequence[Sequence[int]],
        atoms: int,
        masses: np.ndarray | None = None,
        constraints: Pairs = (),
    ) -> LinearMap:
        """Sites at the centres of ``groups`` of atoms; groups of one are chosen atoms.

        Args:
            groups: the atoms of each site; sites may share atoms.
            atoms: of the molecule.
            masses: (atoms,) for centres of mass; None for centres of geometry.
            constraints: as in the class.

        Raises:
            UserError: an empty group, or atoms that the molecule lacks.
        """
        weights = np.ones(atoms) if masses is None else np.asarray(masses, float)
        matrix = np.zeros((len(groups), atoms))
        for site, group in enumerate(groups):
            index = np.asarray(group, int)
            if not index.size or len(set(index.tolist())) < index.size:
                raise UserError(f"site {site} is no group of different atoms", "List its atoms")
            if index.min() < 0 or index.max() >= atoms:
                raise UserError(
                    f"site {site} holds atoms {index.min()} to {index.max()}, and a molecule has"
                    f" {atoms}",
                    f"Give indices from 0 to {atoms - 1}",
                )
            matrix[site, index] = weights[index] / weights[index].sum()
        return cls(matrix, constraints=constraints)

    @property
    def sites(self) -> int:
        """Of one molecule."""
        return len(self.positions)

    @property
    def atoms(self) -> int:
        """Of one molecule."""
        return self.positions.shape[1]

    @property
    def basic_forces(self) -> np.ndarray:
        """(sites, atoms): each site takes equally much of the atoms that are its own alone.

        With constraints, of bodies of constrained atoms.  For centres of disjoint groups that is
        the sum of all their forces.

        Raises:
            UserError: a site without atoms of its own.
        """
        bodies = self._bodies()
        # (site, body) any part in it; the body must be no part of another site
        part = (np.abs(self.positions) > 0).astype(int) @ bodies > 0
        own = part & (part.sum(axis=0) == 1)
        share = np.where(own, self.positions @ bodies, 0.0).sum(axis=1)
        if np.any(np.abs(share) < TOLERANCE):
            raise UserError(
                f"site {int(np.argmin(np.abs(share)))} has no atoms of its own to take forces from",
                "Give a map of forces, or ask for that of least noise",
            )
        return own / share[:, None] @ bodies.T

    def least_noise(self, forces: np.ndarray, ridge: float = 0.0) -> LinearMap:
        """The map whose forces fluctuate least, of all that average to the mean force.

        It minimises ``<|F_I|^2>`` under the conditions above (Kraemer et al. 2023): the mean force
        is the same, so what is less is noise.

        Args:
            forces: (frames, copies * atoms, 3) eV/Angstrom, to take the average over.
            ridge: of ``<f^2> |d_I|^2`` that is minimised too, against chance in few frames.

        Raises:
            UserError: forces that do not fit, or constraints that tie two sites together.
        """
        each = self._copied(forces, "forces").reshape(-1, self.atoms, 3)
        square = np.einsum("nix,njx->ij", each, each) / len(each)
        square += ridge * np.trace(square) / self.atoms * np.eye(self.atoms)
        bodies = self._bodies()
        inner, outer = bodies.T @ square @ bodies, self.positions @ bodies
        scale = np.trace(inner) / len(inner) or 1.0
        zero = np.zeros((self.sites, self.sites))
        whole = np.block([[inner / scale, outer.T], [outer, zero]])
        right = np.concatenate([np.zeros((len(inner), self.sites)), np.eye(self.sites)])
        # of the smallest where forces leave a choice: those of a free molecule have no sum
        found = np.linalg.lstsq(whole, right, rcond=None)[0][: len(inner)].T
        if not np.allclose(found @ outer.T, np.eye(self.sites), atol=TOLERANCE):
            raise UserError(
                "constraints tie sites together: no forces on their atoms are the mean force",
                "Choose sites that constrained atoms do not share",
            )
        return dataclasses.replace(self, forces=found @ bodies.T)

    def of_forces(self, forces: np.ndarray) -> np.ndarray:
        """(frames, copies * sites, 3) of (frames, copies * atoms, 3), eV/Angstrom."""
        d = self.basic_forces if self.forces is None else self.forces
        return _sites(d, self._copied(forces, "forces"))

    def of_positions(
        self,
        positions: np.ndarray,
        cells: np.ndarray | None = None,
        pbc: Sequence[bool] = (False, False, False),
    ) -> np.ndarray:
        """(frames, copies * sites, 3) Angstrom.

        In periodic cells molecules are made whole first, along the tree of shortest distances
        between the atoms of the first in the first frame: its edges must stay shorter than half
        the cell, molecules need not.

        Args:
            positions: (frames, copies * atoms, 3) Angstrom, wrapped or not.
            cells: (frames, 3, 3) Angstrom.
            pbc: which vectors repeat.

        Raises:
            UserError: another number of atoms than of whole copies.
        """
        each = self._copied(positions, "positions")
        if not any(pbc) or cells is None:
            return _sites(self.positions, each)
        used = np.flatnonzero(np.any(self.positions != 0, axis=0))
        parents, paths = _tree(each[0, 0, used], cells[0], pbc)
        steps = each[:, :, used[1:]] - each[:, :, used[parents]]
        for frame, cell in zip(steps, cells, strict=True):
            frame[:] = _nearest(frame.reshape(-1, 3), cell, pbc)[0].reshape(frame.shape)
        whole = each[:, :, used[:1]] + np.einsum("ae,fcex->fcax", paths, steps)
        return _sites(self.positions[:, used], whole)

    def masses(self, masses: np.ndarray) -> np.ndarray:
        """(sites,) from (atoms,): ``1/M_I = sum_i c_Ii^2/m_i``, which momenta agree with."""
        return 1 / np.sum(self.positions**2 / np.asarray(masses, float), axis=1)

    def _bodies(self) -> np.ndarray:
        """(atoms, bodies) 1 where an atom is of a body that constraints tie together."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        i, j = np.asarray(self.constraints, int).reshape(-1, 2).T
        graph = coo_array((np.ones(len(i)), (i, j)), (self.atoms, self.atoms))
        count, label = connected_components(graph, directed=False)
        return np.eye(count)[label]

    def _copied(self, vectors: np.ndarray, what: str) -> np.ndarray:
        """(frames, copies, atoms, 3)."""
        vectors = np.asarray(vectors, float)
        if vectors.ndim != 3 or vectors.shape[1] % self.atoms or not vectors.shape[1]:
            raise UserError(
                f"{what} of shape {vectors.shape} are not those of molecules of {self.atoms} atoms",
                f"Give (frames, copies * {self.atoms}, 3)",
            )
        return vectors.reshape(len(vectors), -1, self.atoms, 3)


def _matrix(values: np.ndarray, what: str) -> np.ndarray:
    made = np.asarray(values, float)
    if made.ndim != 2 or not made.size or not np.isfinite(made).all():
        raise UserError(
            f"the map of {what} has shape {made.shape}, or numbers that are not finite",
            "Give a matrix (sites, atoms)",
        )
    return made


def _sites(matrix: np.ndarray, each: np.ndarray) -> np.ndarray:
    made = np.einsum("sa,fcax->fcsx", matrix, each)
    return made.reshape(len(made), -1, 3)


def _nearest(
    gaps: np.ndarray, cell: np.ndarray, pbc: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Images of vectors (n, 3) nearest to the origin, and how far they are."""
    from ase.geometry import find_mic

    return find_mic(gaps, cell, pbc)  # type: ignore[arg-type]


def _tree(
    positions: np.ndarray, cell: np.ndarray, pbc: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Of atoms (atoms, 3): parent of each but the first, and (atoms, atoms - 1) which steps from
    parent to child lead from the first to it."""
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    size = len(positions)
    paths = np.zeros((size, size - 1))
    if size == 1:
        return np.zeros(0, int), paths
    gaps = (positions[:, None] - positions).reshape(-1, 3)
    far = _nearest(gaps, cell, pbc)[1].reshape(size, size)
    graph = minimum_spanning_tree(np.triu(far + 1e-9, 1))  # zero would be no edge
    order, parents = breadth_first_order(graph, 0, directed=False)
    for child in order[1:]:
        paths[child] = paths[parents[child]]
        paths[child, child - 1] = 1.0
    return parents[1:], paths
