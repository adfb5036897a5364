"""The ultra-fast potential against plain loops, and its exact fit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from jax.flatten_util import ravel_pytree
from scipy.interpolate import BSpline

from bayespot.neighbors import allocate
from bayespot.potentials import StillingerWeber, UltraFast, energy_and_forces
from bayespot.potentials.ultra_fast import _layout
from bayespot.system import System
from tests.physics.helpers import ethanol, silicon

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")


def test_triplets_against_loops():
    """Every triplet by scipy's B-splines, coefficients from the layout."""
    potential = UltraFast((1, 6, 8), 0.8, 2.0, 3.0, 4, 4)
    atoms = ethanol()
    system = System.from_ase(atoms)
    params = potential.init(jax.random.key(0), system)
    params["pair"] = jnp.zeros_like(params["pair"])
    layout, count = _layout(potential)
    assert params["triplet"].shape == (count,)
    table = np.append(params["triplet"], 0.0)[layout]

    def basis(d, stop, intervals):
        width = (stop - 0.8) / intervals
        knots = 0.8 + width * np.arange(-3, intervals + 4)
        return BSpline.design_matrix([d], knots, 3).toarray()[0]

    expected = 0.0
    row = {1: 0, 6: 1, 8: 2}
    distances = atoms.get_all_distances()
    assert distances[distances > 0].min() > 0.8
    for i in range(len(atoms)):
        near = [j for j in range(len(atoms)) if j != i and distances[i, j] < 3.0]
        for j, k in itertools.combinations(near, 2):
            kinds = tuple(row[atoms.numbers[x]] for x in (i, j, k))
            sides = (
                basis(distances[i, j], 3.0, 4),
                basis(distances[i, k], 3.0, 4),
                basis(distances[j, k], 6.0, layout.shape[-1] - 3),
            )
            expected += np.einsum("abc,a,b,c->", table[kinds], *sides)
    found = potential.energy(params, system, allocate(system, potential.cutoff))
    assert abs(expected) > 0.05
    assert float(found) == pytest.approx(expected, rel=1e-11)


def test_no_triangle_is_without_its_functions():
    """Dropped functions vanish on all triangles: none with a parameter of its own is missed."""
    potential = UltraFast((14,), 1.5, 4.0, 4.0, 4, 4)
    layout, count = _layout(potential)
    assert count < 0.8 * layout.size / 2
    width = 2.5 / 4

    def values(d, intervals):
        # parabolas below the first knot, as the potential has them
        knots = 1.5 + width * np.arange(-3, intervals + 4)
        inside = max(d, 1.5)
        step = d - inside
        full = [
            BSpline.basis_element(knots[n : n + 5], extrapolate=False) for n in range(intervals + 3)
        ]
        v = lambda b, n: np.nan_to_num(b.derivative(n)(inside) if n else b(inside))  # noqa: E731
        return np.array([v(b, 0) + step * v(b, 1) + step**2 / 2 * v(b, 2) for b in full])

    rng = np.random.default_rng(0)
    sides = layout.shape[-1] - 3
    dropped = layout[0, 0, 0] == count
    dropped[4:] = dropped[:, 4:] = False  # those that do not vanish at the cut-off
    assert dropped.any()
    for _ in range(200):
        legs = rng.uniform(0, 4.0, 2)
        third = rng.uniform(abs(legs[0] - legs[1]), legs.sum())
        product = np.einsum(
            "a,b,c->abc", values(legs[0], 4), values(legs[1], 4), values(third, sides)
        )
        assert np.abs(product[dropped]).max() < 1e-12


def test_energy_and_forces_are_design_times_parameters():
    potential = UltraFast((14,), 1.8, 4.0, 3.0, 5, 3)
    system = System.from_ase(silicon())
    neighbors = allocate(system, potential.cutoff)
    params = potential.init(jax.random.key(1), system)
    vector = ravel_pytree(params)[0]
    energy, forces = energy_and_forces(potential, params, system, neighbors)
    design = potential.design(system, neighbors)
    assert design.shape == vector.shape == (potential.num_parameters(system),)
    assert float(design @ vector) == pytest.approx(float(energy), rel=1e-11)
    found = potential.force_design(system, neighbors) @ vector
    np.testing.assert_allclose(found, forces, atol=1e-10)


@pytest.mark.slow
def test_least_squares_recovers_stillinger_weber():
    """Energies and forces of warm silicon, and of frames left out."""
    truth = StillingerWeber()
    ideal = System.from_ase(bulk("Si", cubic=True))
    rng = np.random.default_rng(0)
    moves = 0.06 * rng.normal(size=(48, 8, 3))
    neighbors = allocate(ideal, truth.cutoff, skin=1.2)

    def at(move):
        return ideal.replace(positions=ideal.positions + move)

    @jax.jit
    @jax.vmap
    def labels(move):
        return energy_and_forces(truth, {}, at(move), neighbors)

    energies, forces = labels(moves)
    model = UltraFast((14,), 2.0, truth.range, truth.range, 8, 3)

    @jax.jit
    def rows(move):
        system = at(move)
        by_force = model.force_design(system, neighbors)
        return model.design(system, neighbors), by_force.reshape(24, -1)

    made = [rows(move) for move in moves]
    of_energy, of_force = (np.stack([m[n] for m in made]) for n in (0, 1))

    def errors(columns):
        """Relative of the forces and eV per atom, of frames left out."""
        x = np.concatenate([of_energy[:40], *of_force[:40]])[:, columns]
        y = np.concatenate([energies[:40], forces[:40].ravel()])
        # the mean of the Gaussian posterior under a wide prior
        vector = np.linalg.solve(x.T @ x + 1e-5 * np.eye(x.shape[1]), x.T @ y)
        missed = of_force[40:][..., columns] @ vector - np.asarray(forces[40:]).reshape(8, 24)
        energy_missed = of_energy[40:][:, columns] @ vector - np.asarray(energies[40:])
        size = np.sqrt(np.mean(np.square(forces[40:])))
        return np.sqrt(np.mean(missed**2)) / size, np.sqrt(np.mean(energy_missed**2)) / 8

    of_forces, of_energies = errors(slice(None))
    assert of_forces < 0.015
    assert of_energies < 3e-4
    # control: pairs alone cannot hold the tetrahedra
    assert errors(slice(8))[0] > 10 * of_forces


def test_coefficients_are_symmetric_in_equal_neighbours():
    potential = UltraFast((1, 8), 0.8, 3.0, 3.0, 4, 3)
    layout, _ = _layout(potential)
    np.testing.assert_array_equal(layout, layout.transpose(0, 2, 1, 4, 3, 5))
    water = Atoms("OH2", [[0, 0, 0], [1, 0, 0], [0, 1.3, 0]])
    other = Atoms("HOH", [[0, 0, 0], [1, 0, 0], [0, 1.3, 0]])
    params = potential.init(jax.random.key(0), System.from_ase(water))
    params["pair"] = jnp.zeros_like(params["pair"])
    found = []
    for atoms in (water, water[[0, 2, 1]], other):
        system = System.from_ase(atoms)
        found.append(float(potential.energy(params, system, allocate(system, 3.0))))
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    assert found[0] != pytest.approx(found[2], rel=1e-3)
