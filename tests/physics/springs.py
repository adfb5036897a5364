"""A crystal of tensor springs: quadratic in positions and cell, so that its averages are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.potentials import Potential
from bayespot.system import System
from bayespot.units import BOLTZMANN


@dataclasses.dataclass(frozen=True, eq=False)
class Springs(Potential):
    """``sum_b (v_b - w_b) K_b (v_b - w_b)/2`` with ``v_b`` from atom ``i`` to an image of ``j``.

    Attributes:
        ends: (bonds, 2) atoms.
        shift: (bonds, 3) whole cells to the image.
        stiffness: (bonds, 3, 3) eV/Angstrom^2.
        natural: (bonds, 3) w, Angstrom.
    """

    ends: np.ndarray
    shift: np.ndarray
    stiffness: np.ndarray
    natural: np.ndarray

    @property
    def cutoff(self):
        return 0.0

    def init(self, key, system):
        del key, system
        return {}

    def atomic_energies(self, params, system, neighbors):
        del params, neighbors
        i, j = self.ends.T
        at = system.positions
        v = at[j] - at[i] + self.shift.astype(at.dtype) @ system.cell
        v = v - self.natural.astype(at.dtype)
        energies = jnp.einsum("bi,bij,bj->b", v, self.stiffness.astype(at.dtype), v) / 2
        return jnp.zeros(len(at), at.dtype).at[i].add(energies)

    def _residuals(self, atoms, cell):
        """``U = |A x + b|^2/2`` of all coordinates x."""
        root = np.linalg.cholesky(self.stiffness).transpose(0, 2, 1)
        bonds = np.arange(len(self.ends))
        incidence = np.zeros((len(bonds), atoms))
        np.add.at(incidence, (bonds, self.ends[:, 1]), 1.0)
        np.add.at(incidence, (bonds, self.ends[:, 0]), -1.0)
        matrix = np.einsum("ba,bij->biaj", incidence, root).reshape(3 * len(bonds), 3 * atoms)
        rest = np.einsum("bij,bj->bi", root, self.shift @ cell - self.natural)
        return matrix, rest.ravel()

    def relaxed(self, atoms, cell):
        """Least energy at a cell, and positions of it; in numpy alone."""
        matrix, rest = self._residuals(atoms, cell)
        x = np.linalg.lstsq(matrix, -rest, rcond=None)[0]
        return np.sum((matrix @ x + rest) ** 2) / 2, x.reshape(atoms, 3)

    def thermal(self, system, temperature, samples, rng):
        """(samples, atoms, 3) from the canonical law, the centre at rest; float64."""
        atoms, cell = len(system.positions), np.asarray(system.cell, float)
        matrix, _ = self._residuals(atoms, cell)
        values, vectors = np.linalg.eigh(matrix.T @ matrix)
        assert np.all(values[:3] < 1e-9)  # the three translations
        assert values[3] > 1e-6
        spread = np.sqrt(BOLTZMANN * temperature / values[3:])
        moved = (rng.normal(size=(samples, len(spread))) * spread) @ vectors[:, 3:].T
        return self.relaxed(atoms, cell)[1] + moved.reshape(samples, atoms, 3)


def spring_crystal(seed=0, atoms=6, per_atom=4, stretch=0.2):
    """Random springs in a triclinic cell, under stress, and the system at its minimum."""
    rng = np.random.default_rng(seed)
    cell = 5.0 * np.eye(3) + rng.uniform(-0.8, 0.8, (3, 3))
    places = rng.uniform(size=(atoms, 3)) @ cell
    i = np.repeat(np.arange(atoms), per_atom)
    j = np.where(np.arange(len(i)) % per_atom == 0, (i + 1) % atoms, rng.integers(0, atoms, len(i)))
    shift = rng.integers(-1, 2, (len(i), 3)).astype(float)
    roots = rng.normal(size=(len(i), 3, 3))
    stiffness = np.einsum("bij,bkj->bik", roots, roots) / 3 + 0.3 * np.eye(3)
    natural = (places[j] - places[i] + shift @ cell) * (1 - stretch * rng.uniform(size=(len(i), 1)))
    springs = Springs(np.stack([i, j], axis=1), shift, stiffness, natural)
    system = System(
        jnp.asarray(springs.relaxed(atoms, cell)[1], float),
        jnp.full(atoms, 14, jnp.int32),
        jnp.full(atoms, 28.0),
        jnp.asarray(cell, float),
        (True, True, True),
    )
    return springs, jax.tree.map(jnp.asarray, system)
