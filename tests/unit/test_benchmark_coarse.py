"""Parts of the coarse-grained benchmarks that their results rest on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayespot.neighbors import AllPairs
from bayespot.observables.geometry import torsions
from bayespot.potentials import energy_and_forces
from benchmarks.alanine import compare, molecule
from benchmarks.alanine.internal import InternalNetwork
from benchmarks.coarse_grained import water

pytestmark = pytest.mark.usefixtures("x64")
FLAT = np.ones((60, 60)) / 3600


def _frames(count, seed=0):
    generator = np.random.default_rng(seed)
    chain = np.cumsum(generator.normal(0, 1.0, (count, 10, 3)), axis=1)
    return chain - chain.mean(axis=1, keepdims=True)


def _network(frames):
    return InternalNetwork.of(frames, molecule.BONDS, molecule.DIHEDRALS, 8, 0.03)


def test_inputs_are_standardised_distances_and_dihedrals():
    frames = _frames(50)
    network = _network(frames)
    inputs = np.array([network.inputs(jnp.asarray(x)) for x in frames])
    far = inputs[:, : len(network.pairs)]
    assert len(network.pairs) == 45 - len(molecule.BONDS)
    np.testing.assert_allclose(far.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(far.std(axis=0), 1, atol=1e-9)
    angles = torsions(molecule.system(frames[0]), molecule.DIHEDRALS)
    cosines, sines = np.split(inputs[0, len(network.pairs) :], 2)
    np.testing.assert_allclose(cosines, np.cos(angles), atol=1e-5)
    np.testing.assert_allclose(sines, np.sin(angles), atol=1e-5)


def test_the_network_turns_with_the_molecule_and_tells_mirror_images_apart():
    frames = _frames(5)
    network, system = _network(frames), molecule.system(frames[0])
    params = network.init(jax.random.key(0), system)
    lists = AllPairs(jnp.asarray(False))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)

    def both(matrix):
        there = system.replace(positions=system.positions @ matrix + 2.0)
        energy, forces = energy_and_forces(network, params, there, lists)
        return float(energy), np.asarray(forces)

    energy, forces = both(np.eye(3))
    turned, turned_forces = both(turn)
    assert turned == pytest.approx(energy, abs=1e-12)
    np.testing.assert_allclose(turned_forces, forces @ turn, atol=1e-10)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-10)
    assert abs(both(-turn)[0] - energy) > 1e-4


def test_measures_of_densities():
    """Against values worked out by hand: half of the mass moved to a half that was empty."""
    known = np.zeros((60, 60))
    known[:30] = 1 / 1800
    found = compare.measures(FLAT, known)
    # p = 1/2 everywhere of q: JS = 1/2 [KL(p|m) + KL(q|m)], m = 3/4 q where q, 1/4 q elsewhere
    exact = 0.5 * (0.5 * np.log(2 / 3) + 0.5 * np.log(2.0) + np.log(4 / 3))
    assert found["divergence"] == pytest.approx(exact)
    assert found["free_energy"] == pytest.approx(0.0, abs=1e-9)  # only where the reference is
    density = 1 / (2 * np.pi) ** 2
    assert found["mse"] == pytest.approx(density**2)
    assert found["helix"] == pytest.approx(0.5 * 170 / 360, abs=0.01)
    same = compare.measures(known, known)
    assert same["mse"] == same["divergence"] == same["free_energy"] == 0


def test_errors_are_those_of_the_mean_over_groups():
    """Shares are linear in the densities, and their jackknife the textbook's standard error."""
    groups = FLAT * np.exp(np.random.default_rng(2).normal(0, 0.5, (8, 1, 60)))
    groups /= groups.sum(axis=(1, 2), keepdims=True)
    each = [compare.helix(g) for g in groups]
    found = compare.with_errors(groups, FLAT)
    assert found["helix"] == pytest.approx(np.mean(each))
    assert found["helix_error"] == pytest.approx(np.std(each, ddof=1) / np.sqrt(8))
    lost = np.concatenate([np.tile(FLAT, (3, 1, 1)), np.full((1, 60, 60), np.nan)])
    assert compare.with_errors(lost, FLAT)["mse"] == pytest.approx(0.0, abs=1e-12)


def test_a_small_box_has_the_density_of_the_large_one_and_no_beads_on_top_of_each_other():
    system = water.packed(64)
    volume = float(np.linalg.det(system.cell))
    assert 64 / volume == pytest.approx(901 / 27000)
    side = volume ** (1 / 3)

    def closest(positions):
        apart = positions[:, None] - positions
        apart -= side * np.round(apart / side)
        return np.linalg.norm(apart, axis=-1)[np.triu_indices(64, 1)].min()

    assert closest(np.asarray(system.positions)) > water.APART - 0.15
    assert closest(side * np.random.default_rng(0).random((64, 3))) < 2.0


@pytest.mark.skipif(not water.DATA.is_dir(), reason="no reference data beside the repository")
def test_curves_of_water_go_together():
    """No triangle where no pair is; the triplet function ends at what pairs make of it."""
    curves = water.tip4p2005()
    assert curves.tcf is not None
    pair = np.interp(curves.tcf[:, 0], curves.rdf[:, 0], curves.rdf[:, 1])
    assert curves.tcf[pair < 0.02, 1].max() < 0.01
    # Kirkwood's superposition, right at the end of the range
    np.testing.assert_allclose(curves.tcf[-5:, 1], pair[-5:] ** 3, rtol=0.12)
    for curve in (water.experiment().adf, curves.adf):
        assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(1.0)
