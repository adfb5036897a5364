"""MACE: the body order of its blocks, its products, symmetries, batches of draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bayespot.neighbors import allocate
from bayespot.potentials import MACE, energy_and_forces
from bayespot.potentials.mace import _monomials, symmetric_products
from bayespot.system import System
from tests.physics.helpers import ethanol, params_of

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
MODEL = MACE((1, 6, 8), 4.0, features=4, basis=3, hidden=8)
_energy = jax.jit(MODEL.energy)


@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_a_block_sees_correlation_plus_one_atoms(correlation):
    """Terms of the many-body expansion: alternating sums of the energies of all sub-clusters."""
    model = MACE((1, 6, 8), 6.0, features=4, basis=4, hidden=8, correlation=correlation)
    size = correlation + 2
    system = System.from_ase(ethanol()[:size])
    neighbors = allocate(system, 6.0)
    params = params_of(model, system)
    # the second block's read-out is a network of everything: leave the first block alone
    params["block1_energy"]["w"] = 0 * params["block1_energy"]["w"]
    subsets = np.array(list(itertools.product((0, 1), repeat=size)))

    def of(present):
        return model.energy(
            params, system.replace(species=jnp.where(present, system.species, 0)), neighbors
        )

    energies = np.asarray(jax.jit(jax.vmap(of))(jnp.asarray(subsets, bool)))

    def term(atoms):
        inside = subsets[:, atoms:].sum(axis=1) == 0
        signs = (-1.0) ** (atoms - subsets.sum(axis=1))
        return abs(float((signs * energies)[inside].sum()))

    assert term(correlation + 2) < 1e-12
    assert term(correlation + 1) > 1e-7


def test_products_are_invariants_and_vectors():
    import e3nn_jax as e3nn

    rng = np.random.default_rng(0)
    weights, points = rng.normal(size=7), rng.normal(size=(7, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix() @ np.diag([1.0, 1.0, -1.0])

    def density(x):
        harmonics = e3nn.spherical_harmonics("0e + 1o + 2e", jnp.asarray(x), False).array
        return jnp.asarray(weights) @ harmonics

    before, after = density(points), density(points @ turn.T)
    for l, paths in ((0, [1, 3, 5]), (1, [1, 2, 5])):
        tables = symmetric_products(3, l)
        assert [t.shape[1] for t in tables] == paths
        for order, table in enumerate(tables, 1):
            flat = np.linalg.matrix_rank(table.reshape(len(table), -1))
            assert flat == table.shape[1] * (2 * l + 1)  # no path twice
            one, two = (
                np.einsum("a,apm->pm", _monomials(a, order), table) for a in (before, after)
            )
            np.testing.assert_allclose(two, one @ turn.T if l else one, atol=1e-10)


def test_forces_turn_and_mirror_with_the_molecule():
    atoms = ethanol()
    system = System.from_ase(atoms)
    params = params_of(MODEL, system)
    neighbors = allocate(system, 4.0)
    compute = jax.jit(
        lambda x: energy_and_forces(MODEL, params, system.replace(positions=x), neighbors)
    )
    value, forces = map(np.asarray, compute(system.positions))
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    for matrix in (turn, turn @ np.diag([1.0, -1.0, 1.0])):
        value_moved, forces_moved = compute(system.positions @ matrix.T)
        assert float(value_moved) == pytest.approx(float(value), rel=1e-12)
        np.testing.assert_allclose(forces_moved, forces @ matrix.T, atol=1e-11)
    assert np.abs(forces).max() > 1e-2


@pytest.mark.slow
def test_draws_map_and_a_step_downhill_lowers_the_loss():
    system = System.from_ase(ethanol())
    neighbors = allocate(system, 4.0)
    target = np.random.default_rng(0).normal(size=(9, 3))

    def loss(p):
        return jnp.mean((energy_and_forces(MODEL, p, system, neighbors)[1] - target) ** 2)

    both = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    keys = jax.random.split(jax.random.key(0), 2)
    draws = jax.tree.map(lambda *x: jnp.stack(x), *[MODEL.init(key, system) for key in keys])
    before, gradient = both(draws)
    alone = jax.jit(loss)(jax.tree.map(lambda x: x[1], draws))
    assert float(alone) == pytest.approx(float(before[1]), rel=1e-10)
    after, uphill = (
        both(jax.tree.map(lambda x, g: x - rate * g, draws, gradient))[0]  # noqa: B023
        for rate in (1e-3, -1e-3)
    )
    assert np.all(after < before)
    assert np.all(uphill > before)


def test_float32_stays_float32():
    with jax.enable_x64(False):
        system = System.from_ase(ethanol())
        params = MODEL.init(jax.random.key(0), system)
        assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
        value = _energy(params, system, allocate(system, 4.0))
        assert value.dtype == np.float32
    system = System.from_ase(ethanol())
    params = jax.tree.map(lambda x: jnp.asarray(x, float), params)
    exact = _energy(params, system, allocate(system, 4.0))
    assert exact.dtype == np.float64
    assert float(value) == pytest.approx(float(exact), rel=1e-4)
