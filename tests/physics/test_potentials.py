"""Symmetries, derivatives and limits that every potential must have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from bayespot.neighbors import allocate
from bayespot.potentials import LennardJones, energy_and_forces, stress
from bayespot.potentials.base import energy_forces_virial
from bayespot.potentials.basis import bessel, polynomial_envelope
from bayespot.system import System
from bayespot.units import BOLTZMANN, MASS
from tests.physics.helpers import (
    POTENTIALS,
    RANGED,
    SCHNET,
    energy,
    energy_forces,
    ethanol,
    params_of,
    silicon,
)

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
EACH = pytest.mark.parametrize("name", POTENTIALS)
RANGED_ONES = pytest.mark.parametrize("name", RANGED)
FIXED = (
    "lennard_jones", "repulsion", "zbl", "tabulated", "bonds", "angles", "dihedrals", "listed_pairs"
)  # fmt: skip
"""Those without parameters."""
GIVEN = ("lj_trainable", "lj_mixed", "stillinger_weber", "scaled")
"""Those whose parameters start from given values."""


def _setup(name, atoms=None):
    atoms = atoms or ethanol()
    potential = POTENTIALS[name]
    return potential, params_of(potential, System.from_ase(atoms)), atoms


@pytest.mark.parametrize("name", [name for name in POTENTIALS if name not in FIXED])
def test_parameters_of_several_chains_in_one_program(name):
    """Sampling starts from ``jax.jit(jax.vmap(init))``: nothing may depend on concrete arrays."""
    potential = POTENTIALS[name]
    system = System.from_ase(silicon() if name in RANGED else ethanol())
    keys = jax.random.split(jax.random.key(5), 2)
    made = jax.jit(jax.vmap(potential.init, (0, None)))(keys, system)
    leaves = jax.tree.leaves(made)
    assert leaves
    alone = jax.tree.leaves(jax.eval_shape(potential.init, keys[0], system))
    assert [x.shape[1:] for x in leaves] == [x.shape for x in alone]
    assert all(np.all(np.isfinite(x)) for x in leaves)
    if name not in GIVEN:
        assert any(np.any(x[0] != x[1]) for x in leaves)


@EACH
def test_energy_ignores_translation_and_rotation(name):
    potential, params, atoms = _setup(name)
    before = energy(potential, params, atoms)
    moved = atoms.copy()
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    moved.positions = moved.positions @ turn.T + [5.0, -3.0, 40.0]
    assert float(energy(potential, params, moved)) == pytest.approx(float(before), rel=1e-10)
    bent = atoms.copy()
    bent.positions[3] += 0.3
    assert float(energy(potential, params, bent)) != pytest.approx(float(before), rel=1e-4)


@RANGED_ONES
def test_energy_ignores_the_order_of_atoms(name):
    potential, params, atoms = _setup(name)
    shuffled = atoms[np.random.default_rng(0).permutation(len(atoms))]
    before = energy(potential, params, atoms)
    assert float(energy(potential, params, shuffled)) == pytest.approx(float(before), rel=1e-10)


@EACH
def test_forces_are_minus_the_gradient_and_sum_to_zero(name):
    potential, params, atoms = _setup(name)
    forces = np.asarray(energy_forces(potential, params, atoms)[1])
    assert np.abs(forces).max() > 1e-3
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-10)
    torque = np.cross(atoms.positions, forces).sum(axis=0)
    np.testing.assert_allclose(torque, 0, atol=1e-9)
    h = 1e-5
    for atom, axis in ((0, 0), (3, 1), (8, 2)):
        values = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * h
            values.append(float(energy(potential, params, moved)))
        numeric = -(values[0] - values[1]) / (2 * h)
        assert forces[atom, axis] == pytest.approx(numeric, rel=1e-5, abs=1e-7)


@EACH
def test_padding_changes_nothing(name):
    potential, params, atoms = _setup(name)
    value, forces = energy_forces(potential, params, atoms, 14)
    assert float(value) == pytest.approx(float(energy(potential, params, atoms)), rel=1e-10)
    assert np.all(np.asarray(forces)[len(atoms) :] == 0)


@RANGED_ONES
def test_smooth_at_the_cutoff(name):
    """Energy, force and curvature of a dimer vanish continuously."""
    potential, params, _ = _setup(name)
    free = 0.0
    pair = Atoms("CO", [[0, 0, 0], [potential.cutoff + 0.5, 0, 0]])
    free = float(energy(potential, params, pair))

    def u(d):
        system = System.from_ase(pair)
        moved = system.replace(positions=system.positions.at[1, 0].set(d))
        return potential.energy(params, moved, allocate(system, potential.cutoff)) - free

    @jax.jit
    def derivatives(fraction):
        """Of orders 0 to 2."""
        slope = jax.grad(u)
        d = fraction * potential.cutoff
        return u(d), slope(d), jax.grad(slope)(d)

    value, slope, curvature = derivatives(1 - 1e-4 / potential.cutoff)
    assert abs(value) < 1e-8
    assert abs(slope) < 1e-5
    assert abs(curvature) < 0.05 * max(1e-3, abs(float(derivatives(0.75)[2])))
    assert abs(derivatives(0.6)[0]) > 1e-6


@EACH
def test_coinciding_atoms_stay_finite(name):
    potential, params, atoms = _setup(name)
    atoms.positions[4] = atoms.positions[0]
    value, forces = energy_forces(potential, params, atoms)
    assert np.isfinite(value)
    assert np.all(np.isfinite(forces))
    system = System.from_ase(atoms)
    neighbors = allocate(system, potential.cutoff)

    @jax.jit
    @jax.grad
    def slope(p):
        return jnp.sum(energy_and_forces(potential, p, system, neighbors)[1] ** 2)

    gradient = slope(params)  # what force matching differentiates
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))


@RANGED_ONES
def test_stress_is_the_strain_derivative(name):
    atoms = silicon()
    potential, params, _ = _setup(name, atoms)
    system = System.from_ase(atoms)
    neighbors = allocate(system, potential.cutoff)
    found = np.asarray(jax.jit(stress, static_argnums=0)(potential, params, system, neighbors))
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    h = 1e-5
    for i, j in ((0, 0), (1, 2)):
        values = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            bent = atoms.copy()
            bent.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            values.append(float(energy(potential, params, bent)))
        numeric = (values[0] - values[1]) / (2 * h) / atoms.get_volume()
        assert found[i, j] == pytest.approx(numeric, rel=1e-4, abs=1e-9)


@RANGED_ONES
def test_energy_is_extensive(name):
    atoms = silicon()
    potential, params, _ = _setup(name, atoms)
    double = atoms.repeat((2, 1, 1))
    one, two = (float(energy(potential, params, a)) for a in (atoms, double))
    assert two == pytest.approx(2 * one, rel=1e-9)


@EACH
def test_energy_is_conserved(name):
    """Velocity Verlet at constant energy: the error falls with the square of the time step."""
    potential, params, atoms = _setup(name)
    system = System.from_ase(atoms)
    neighbors = allocate(system, potential.cutoff, skin=2.0)
    mass = MASS * np.asarray(system.masses)[:, None]
    rng = np.random.default_rng(3)
    start = rng.normal(size=(len(atoms), 3)) * np.sqrt(mass * BOLTZMANN * 300.0)

    @jax.jit
    def error(dt, steps):
        def at(x):
            return energy_and_forces(potential, params, system.replace(positions=x), neighbors)

        def step(_, carry):
            x, p, f, worst = carry
            p = p + 0.5 * dt * f
            x = x + dt * p / mass
            u, f = at(x)
            p = p + 0.5 * dt * f
            gap = jnp.abs(u + jnp.sum(p**2 / (2 * mass)) - before)
            return x, p, f, jnp.maximum(worst, gap)

        u, f = at(system.positions)
        before = u + jnp.sum(start**2 / (2 * mass))
        carry = (system.positions, jnp.asarray(start), f, jnp.zeros(()))
        return jax.lax.fori_loop(0, steps, step, carry)[-1]

    coarse, fine = error(0.4, 50), error(0.2, 100)
    assert coarse < 0.02
    assert 3.0 < coarse / fine < 5.5


def test_lennard_jones_against_ase():
    from ase.calculators.lj import LennardJones as Reference

    atoms = ethanol()
    atoms.positions *= 3.0
    atoms.calc = Reference(sigma=3.0, epsilon=0.02, rc=200.0)
    ours = LennardJones(3.0, 0.02, 200.0)
    system = System.from_ase(atoms)
    value, forces = energy_and_forces(ours, {}, system, allocate(system, 200.0))
    # ASE shifts by the value at its cut-off, which is nothing at 200 Angstrom
    assert float(value) == pytest.approx(atoms.get_potential_energy(), rel=1e-6)
    np.testing.assert_allclose(forces, atoms.get_forces(), rtol=1e-6, atol=1e-10)


def test_bessel_functions_are_finite_with_derivatives_at_zero():
    for d in (0.0, 1e-12, 1e-3):
        f = lambda x: bessel(x, 5.0, 6)  # noqa: E731
        x = jnp.asarray(d)
        for derivative in (f, jax.jacfwd(f), jax.jacfwd(jax.jacfwd(f))):
            assert np.all(np.isfinite(derivative(x)))
    n = np.arange(1, 7)
    np.testing.assert_allclose(bessel(jnp.asarray(0.0), 5.0, 6), np.sqrt(0.4) * n * np.pi / 5)
    d = 1.7
    expected = np.sqrt(2 / 5) * np.sin(n * np.pi * d / 5) / d
    np.testing.assert_allclose(bessel(jnp.asarray(d), 5.0, 6), expected, rtol=1e-12)


def test_envelope_has_two_continuous_derivatives():
    f = lambda x: polynomial_envelope(x, 2.0)  # noqa: E731
    at = jnp.asarray(2.0 - 1e-7)
    assert f(jnp.asarray(0.0)) == 1.0
    for derivative in (f, jax.grad(f), jax.grad(jax.grad(f))):
        assert abs(derivative(at)) < 1e-4
    assert f(jnp.asarray(5.0)) == 0.0


def test_sums_are_flat_and_add_up():
    total = POTENTIALS["sum"]
    assert len(total.terms) == 3
    assert total.cutoff == SCHNET.cutoff
    assert total.elements == SCHNET.elements
    params = params_of(total, System.from_ase(ethanol()))
    parts = [energy(t, p, ethanol()) for t, p in zip(total.terms, params, strict=True)]
    assert float(energy(total, params, ethanol())) == pytest.approx(float(sum(parts)), rel=1e-10)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", [n for n, p in POTENTIALS.items() if p.pairwise])
def test_pairwise_forces_need_no_scatter(name, half):
    """The short way gives what differentiating with respect to positions and cell gives."""
    atoms = silicon()
    potential, params, _ = _setup(name, atoms)
    system = System.from_ase(atoms, 10)
    neighbors = allocate(system, potential.cutoff, 0.3, "list", half=half)
    value, forces, virial = energy_forces_virial(potential, params, system, neighbors)

    def energy(positions, cell):
        at = system.replace(positions=positions, cell=cell)
        return potential.energy(params, at, neighbors)

    by_position, by_cell = jax.grad(energy, (0, 1))(system.positions, system.cell)
    np.testing.assert_allclose(forces, -by_position, rtol=1e-8, atol=1e-10)
    trace = jnp.sum(by_position * system.positions) + jnp.sum(by_cell * system.cell)
    assert float(virial) == pytest.approx(float(trace), rel=1e-8)
    assert float(value) == pytest.approx(float(energy(system.positions, system.cell)), rel=1e-12)
