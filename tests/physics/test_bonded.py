"""Angles, dihedrals and listed pairs against ASE's geometry, and where they do not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.neighbors import allocate
from bayespot.potentials import HarmonicAngles, ListedPairs, ProperDihedrals, energy_and_forces
from bayespot.system import System
from bayespot.units import BOLTZMANN
from tests.physics.helpers import ANGLES, DIHEDRALS, ethanol

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")


def run(potential, atoms):
    system = System.from_ase(atoms)
    return energy_and_forces(potential, {}, system, allocate(system, 1.0))


def test_angles_against_ase():
    atoms = ethanol()
    expected = sum(
        0.5 * k * (np.radians(atoms.get_angle(*a)) - size) ** 2
        for a, size, k in zip(ANGLES.angles, ANGLES.sizes, ANGLES.stiffness, strict=True)
    )
    assert float(run(ANGLES, atoms)[0]) == pytest.approx(expected, rel=1e-10)


def test_angles_from_fluctuations():
    """The width of a sampled angle gives back its stiffness."""
    k, temperature = 4.0, 300.0
    rng = np.random.default_rng(0)
    theta = 1.9 + np.sqrt(BOLTZMANN * temperature / k) * rng.normal(size=20_000)
    frames = np.zeros((len(theta), 3, 3))
    frames[:, 0, 0] = 1.1
    frames[:, 2, 0], frames[:, 2, 1] = 1.3 * np.cos(theta), 1.3 * np.sin(theta)
    found = HarmonicAngles.from_fluctuations(((0, 1, 2),), frames, temperature)
    assert found.sizes[0] == pytest.approx(1.9, abs=0.003)
    assert found.stiffness[0] == pytest.approx(k, rel=0.04)
    half = HarmonicAngles.from_fluctuations(((0, 1, 2),), frames, temperature / 2)
    assert half.stiffness[0] == pytest.approx(found.stiffness[0] / 2, rel=1e-12)


@pytest.mark.parametrize("end", [[-1.0, 0, 0], [1.0, 0, 0], [-1.0, 1e-9, 0], [0.0, 0, 0]])
def test_straight_angles_are_finite(end):
    atoms = Atoms("CCC", [[1, 0, 0], [0, 0, 0], end])
    value, forces = run(HarmonicAngles(((0, 1, 2),), (2.0,), (3.0,)), atoms)
    assert np.isfinite(value)
    assert np.abs(forces).max() < 10
    if end[0] < 0:
        assert float(value) == pytest.approx(1.5 * (np.pi - 2.0) ** 2, rel=1e-6)


def test_dihedrals_against_ase():
    atoms = ethanol()
    expected = sum(
        k * (1 + np.cos(n * np.radians(atoms.get_dihedral(*chain)) - phase))
        for chain, n, phase, k in zip(
            DIHEDRALS.dihedrals,
            DIHEDRALS.multiplicity,
            DIHEDRALS.phase,
            DIHEDRALS.stiffness,
            strict=True,
        )
    )
    assert float(run(DIHEDRALS, atoms)[0]) == pytest.approx(expected, rel=1e-10)


def test_sign_and_zero_of_a_dihedral():
    """IUPAC: 0 eclipsed, positive when the far bond is turned clockwise seen along the middle."""
    one = ProperDihedrals(((0, 1, 2, 3),), (1,), (0.5,), (1.0,))
    for phi in (0.0, 0.5, -0.5, 2.0, np.pi):
        # looking along +z from the near end, clockwise is from x towards y
        end = [np.cos(phi), np.sin(phi), 1.5]
        atoms = Atoms("C4", [[1, 0, 0], [0, 0, 0], [0, 0, 1.5], end])
        assert float(run(one, atoms)[0]) == pytest.approx(1 + np.cos(phi - 0.5), rel=1e-12)


@pytest.mark.parametrize("third", [[0, 0, 3.0], [1e-9, 0, 3.0], [0, 0, 0.7], [0, 0, 1.5]])
def test_dihedral_on_a_line_is_finite(third):
    atoms = Atoms("C4", [[1, 0, 0], [0, 0, 0], [0, 0, 1.5], third])
    one = ProperDihedrals(((0, 1, 2, 3),), (3,), (0.5,), (1.0,))
    value, forces = run(one, atoms)
    assert 0 <= float(value) <= 2
    np.testing.assert_array_equal(forces, 0.0)


@pytest.mark.parametrize("repulsion", [True, False])
def test_listed_pairs_against_numpy(repulsion):
    atoms = ethanol()
    pairs, sigma, epsilon = ((2, 5), (3, 7)), (1.9, 2.5), (0.1, 0.03)
    expected = 0.0
    for (i, j), s, e in zip(pairs, sigma, epsilon, strict=True):
        x = (s / atoms.get_distance(i, j)) ** 6
        expected += e * x**2 if repulsion else 4 * e * (x**2 - x)
    made = ListedPairs(pairs, sigma, epsilon, repulsion)
    assert float(run(made, atoms)[0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("potential", [HarmonicAngles(), ProperDihedrals(), ListedPairs()])
def test_no_terms_are_no_energy(potential):
    assert float(run(potential, ethanol())[0]) == 0.0


def test_bonded_terms_in_batches():
    system = System.from_ase(ethanol())
    shifts = jnp.asarray(0.02 * np.random.default_rng(0).normal(size=(3, 9, 3)))
    neighbors = allocate(system, 1.0)

    def energy(move):
        moved = system.replace(positions=system.positions + move)
        return (ANGLES + DIHEDRALS).energy([{}, {}], moved, neighbors)

    batch = jax.vmap(energy)(shifts)
    np.testing.assert_allclose(batch, [energy(s) for s in shifts], rtol=1e-12)
