"""Phonons: the dispersion of springs between neighbours, argon, and what is refused."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.errors import UserError
from bayespot.md.phonons import phonon_dos, phonons
from bayespot.potentials import LennardJones, Potential
from bayespot.system import System

pytest.importorskip("phonopy")


@dataclasses.dataclass(frozen=True)
class Nearest(Potential):
    """``k/2 (d - d0)^2`` between nearest neighbours, k learned."""

    length: float = 3.0

    @property
    def cutoff(self):
        return 1.2 * self.length

    @property
    def pairwise(self):
        return True

    def init(self, key, system):
        del key
        return {"k": jnp.ones((), system.positions.dtype)}

    def atomic_energies(self, params, system, neighbors):
        pairs = neighbors.pairs(system)
        near = pairs.mask & (pairs.distances < self.cutoff)
        energies = 0.5 * params["k"] * (pairs.distances - self.length) ** 2
        return pairs.weight * jnp.sum(jnp.where(near, energies, 0.0), axis=1)


EDGE = 3.0 * np.sqrt(2)
FCC = bulk("Al", "fcc", a=EDGE)
MASS = FCC.get_masses()[0] * 1.66053906660e-27


def _analytic(k, wave_vectors):
    """THz of ``m omega^2 u = sum k d (d u) (1 - cos q.r)`` over twelve neighbours; fractional q."""
    steps = np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])
    vectors = steps @ FCC.cell.array
    vectors = vectors[np.abs(np.linalg.norm(vectors, axis=1) - 3.0) < 1e-6]
    assert len(vectors) == 12
    along = vectors / 3.0
    q = wave_vectors @ np.linalg.inv(FCC.cell.array).T * 2 * np.pi
    weight = k * 1.602176634e-19 * 1e20 * (1 - np.cos(q @ vectors.T))
    dynamical = np.einsum("qd,di,dj->qij", weight, along, along) / MASS
    return np.sqrt(np.maximum(np.linalg.eigvalsh(dynamical), 0.0)) / (2 * np.pi) / 1e12


def _mesh(n):
    """Points of phonopy's mesh: about zero, in the middle of cells where n is even."""
    line = (np.arange(n) + (0.5 if n % 2 == 0 else 0.0)) / n
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)


def test_springs_between_neighbours_have_their_dispersion_and_density(compile_fast):
    system = System.from_ase(FCC)
    params = {"k": jnp.asarray([1.0, 2.5])}
    made = phonons(Nearest(), params, system, (3, 3, 3))
    rng = np.random.default_rng(0)
    q = np.concatenate([np.zeros((1, 3)), [[0.5, 0.5, 0.0]], rng.uniform(-1, 1, (8, 3))])
    for k, one in zip((1.0, 2.5), made, strict=True):
        found = one.run_qpoints(q).frequencies
        expected = _analytic(k, q)
        np.testing.assert_allclose(np.abs(found[0]), 0.0, atol=5e-3)  # sound
        np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-3)
        # along X: the longitudinal branch ends at sqrt(8 k/m)
        top = np.sqrt(8 * k * 1.602176634e1 / MASS) / (2 * np.pi) / 1e12
        assert found[1].max() == pytest.approx(top, rel=5e-4)
        assert found[1:].max() < top * 1.001
    assert np.max(np.abs(found[1:] / _analytic(2.6, q)[1:] - 1)) > 0.01  # control

    made = phonon_dos(Nearest(), params, system, (3, 3, 3), (12, 12, 12), points=301)
    width = made.frequencies[1] - made.frequencies[0]
    assert made.frequencies.shape == (301,)
    np.testing.assert_allclose(np.diff(made.frequencies), width, rtol=1e-6)
    np.testing.assert_allclose(made.dos.sum(axis=1) * width, 3.0, rtol=5e-3)
    for k, dos in zip((1.0, 2.5), made.dos, strict=True):
        samples = _analytic(k, _mesh(20))
        for power in (1, 2, 4):
            mean = np.sum(dos * made.frequencies**power) * width / 3
            assert mean == pytest.approx(np.mean(samples**power), rel=0.01)
        whole = np.cumsum(dos) * width
        at = np.array([0.3, 0.5, 0.7, 0.9]) * samples.max()
        counted = [3 * np.mean(samples < f) for f in at]
        np.testing.assert_allclose(np.interp(at, made.frequencies + width / 2, whole), counted,
                                   atol=0.05)  # fmt: skip
        below = np.mean(samples < 0.5 * samples.max())
        assert abs(below - np.mean(samples * 1.1 < 0.5 * samples.max())) > 0.02  # control


def test_argon_and_a_stronger_argon(compile_fast):
    """Solid argon reaches 2 THz (Fujii et al. 1974); four times the depth doubles frequencies.

    Float32, from atoms off their minimum: the relaxation finds it.
    """
    potential = LennardJones(3.405, 0.010323, 7.0, trainable=True)
    atoms = bulk("Ar", "fcc", a=5.26).repeat((2, 1, 1))
    atoms.positions += np.array([[0.0, 0, 0], [0.1, -0.05, 0.08]])
    system = System.from_ase(atoms, 3)  # padding has no phonons
    one = potential.init(jax.random.key(0), system)
    params = {
        "log_sigma": jnp.stack([one["log_sigma"]] * 2),
        "log_epsilon": one["log_epsilon"] + jnp.log(jnp.asarray([1.0, 4.0])),
    }
    made = phonon_dos(potential, params, system, (2, 3, 3), (5, 7, 7), force_tolerance=1e-5)
    width = made.frequencies[1] - made.frequencies[0]
    np.testing.assert_allclose(made.dos.sum(axis=1) * width, 6.0, rtol=0.02)
    tops = [made.frequencies[dos > 0.05].max() for dos in made.dos]
    assert 1.85 < tops[0] < 2.2
    assert tops[1] == pytest.approx(2 * tops[0], rel=0.03)
    assert made.dos[0][made.frequencies < -0.1].sum() == 0
    means = made.dos @ made.frequencies * width / 6
    assert means[1] == pytest.approx(2 * means[0], rel=0.01)


def test_what_has_no_phonons_is_refused(monkeypatch, compile_fast):
    system = System.from_ase(FCC)
    params = {"k": jnp.ones(1)}

    def refused(
        match, system=system, params=params, supercell=(2, 2, 2), mesh=(2, 2, 2), **settings
    ):
        with pytest.raises(UserError, match=match):
            phonon_dos(Nearest(), params, system, supercell, mesh, **settings)

    refused("supercell has 2 numbers", supercell=(2, 2))
    refused("mesh is 0", mesh=(2, 0, 2))
    refused("points is 1", points=1)
    refused("displacement is 0", displacement=0.0)
    gas = System.from_ase(Atoms("Ar2", [[0, 0, 0], [0, 0, 3.3]]))
    refused("the system is open", gas)
    refused("draw 1 has a force of nan", params={"k": jnp.asarray([1.0, jnp.nan])})
    monkeypatch.setitem(sys.modules, "phonopy", None)
    refused(r"needs? phonopy.*bayespot\[phonons\]")
