"""RDF, density, lattice constant and bulk modulus: counting by hand, ASE, exact laws."""

import itertools

import ase.units
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry.rdf import get_rdf

from bayespot.errors import UserError
from bayespot.observables import (
    RDF,
    BulkModulus,
    Context,
    Density,
    Frame,
    LatticeConstant,
    blocks_to_value,
)
from bayespot.system import System
from bayespot.units import BOLTZMANN, GPA

CONTEXT = Context(300.0, 8)
ZERO = jnp.asarray(0.0)


def _value(observable, frames, padding=0):
    """Average over frames as the engine does, then reduce."""
    made = [observable.snapshot(Frame(System.from_ase(a, len(a) + padding), ZERO)) for a in frames]
    blocks = {k: np.stack([np.asarray(m[k]) for m in made]) for k in made[0]}
    return blocks_to_value(observable, blocks, np.ones(len(frames)), CONTEXT)


def _binary(seed, atoms=5):
    """Silicon and germanium anywhere in a triclinic cell whose heights are below 3.5 Angstrom."""
    rng = np.random.default_rng(seed)
    cell = 3.4 * np.eye(3) + rng.uniform(-0.8, 0.8, (3, 3))
    made = Atoms([14] * (atoms - 2) + [32] * 2, cell=cell, pbc=True)
    made.set_scaled_positions(rng.uniform(size=(atoms, 3)))
    return made


def _by_hand(atoms, high, bins, pair=None, around=6):
    """Every image within ``around`` cells, one vector at a time."""
    first, second = pair or (None, None)
    of = [i for i, z in enumerate(atoms.numbers) if first in (None, z)]
    to = [j for j, z in enumerate(atoms.numbers) if second in (None, z)]
    distances = []
    for i, j in itertools.product(of, to):
        for n in itertools.product(range(-around, around + 1), repeat=3):
            if i != j or any(n):
                vector = atoms.positions[j] + n @ atoms.cell.array - atoms.positions[i]
                distances.append(np.linalg.norm(vector))
    counts, edges = np.histogram(distances, bins, (0, high))
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    return counts * atoms.get_volume() / (len(of) * len(to) * shells)


@pytest.mark.parametrize("pair", [None, (14, 14), (14, 32), (32, 14), (32, 32)])
def test_rdf_counts_every_image(x64, pair):
    high, bins = 7.0, 35
    for seed in range(2):
        atoms = _binary(seed)
        rdf = RDF.of("g", System.from_ase(atoms), high, bins, pair)
        assert max(rdf.images) >= 2
        expected = _by_hand(atoms, high, bins, pair)
        rng = np.random.default_rng(seed)
        atoms.positions += rng.integers(-3, 4, (5, 3)) @ atoms.cell.array  # not wrapped
        np.testing.assert_allclose(_value(rdf, [atoms], padding=2), expected, rtol=1e-12)
        fewer = RDF("g", high, bins, pair, (1, 1, 1))
        assert not np.allclose(_value(fewer, [atoms]), expected, rtol=0.01)


def test_rdf_has_images_for_a_cell_that_shrinks(x64):
    """Up to a tenth, as ``of`` says; at half the size pairs are missing."""
    atoms = _binary(3)
    rdf = RDF.of("g", System.from_ase(atoms), 6.0, 30)
    for scale, enough in ((0.91, True), (0.5, False)):
        smaller = atoms.copy()
        smaller.set_cell(scale * atoms.cell, scale_atoms=True)
        found, expected = _value(rdf, [smaller]), _by_hand(smaller, 6.0, 30, around=8)
        assert np.allclose(found, expected, rtol=1e-12) == enough


def test_rdf_looks_no_further_than_it_must():
    """Wrapped differences reach half a cell: where that is the range, no other image counts."""
    large = System.from_ase(bulk("Si", cubic=True).repeat(3))  # 16.29 Angstrom
    assert RDF.of("g", large, 7.0, 10).images == (0, 0, 0)
    assert RDF.of("g", large, 7.5, 10).images == (1, 1, 1)
    slab = large.replace(pbc=(True, True, False))
    assert RDF.of("g", slab, 7.5, 10).images == (1, 1, 0)


def test_rdf_is_that_of_ase():
    """In a cell of more than twice the range, all that ASE can do."""
    frames = [bulk("Si", cubic=True).repeat((3, 3, 4)) for _ in range(3)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.2, seed=seed)
        atoms.set_cell(atoms.cell * (1 + 0.05 * seed), scale_atoms=True)
        atoms.numbers[::3] = 32
    system = System.from_ase(frames[0])
    found = _value(RDF.of("g", system, 6.0, 40), frames)
    expected = np.mean([get_rdf(a, 6.0, 40)[0] for a in frames], axis=0)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=0.02)
    assert expected.max() > 1.5
    # the whole is the sum of its parts, c_a c_b g_ab
    share = {z: np.mean(frames[0].numbers == z) for z in (14, 32)}
    parts = sum(
        share[a] * share[b] * _value(RDF.of("g", system, 6.0, 40, (a, b)), frames)
        for a, b in itertools.product(share, share)
    )
    np.testing.assert_allclose(parts, found, rtol=1e-4, atol=1e-5)


def test_rdf_averages_over_cells_of_different_size(x64):
    """Each frame counts with its own volume; control: with the mean volume it is another curve."""
    frames = [_binary(4), _binary(4)]
    frames[1].set_cell(1.2 * frames[1].cell, scale_atoms=True)
    rdf = RDF.of("g", System.from_ase(frames[0]), 6.0, 12)
    each = np.array([_by_hand(a, 6.0, 12) for a in frames])
    np.testing.assert_allclose(_value(rdf, frames), each.mean(axis=0), rtol=1e-12)
    volumes = np.array([a.get_volume() for a in frames])
    pooled = np.mean(each / volumes[:, None], axis=0) * volumes.mean()
    assert not np.allclose(pooled, each.mean(axis=0), rtol=0.03)


def test_rdf_of_an_ideal_gas_is_one():
    """Random points in a cell smaller than the range: 1 - 1/N, and each point's own images."""
    rng = np.random.default_rng(5)
    atoms, samples, high, bins = 6, 4000, 6.0, 12
    cell = jnp.asarray(_binary(0).cell.array, jnp.float32)
    places = jnp.asarray(rng.uniform(size=(samples, atoms, 3)), jnp.float32) @ cell
    system = System.from_ase(Atoms(f"Ar{atoms}", cell=np.asarray(cell), pbc=True))
    rdf = RDF.of("g", system, high, bins)
    look = jax.vmap(lambda x: rdf.snapshot(Frame(system.replace(positions=x), ZERO))["pairs"])
    each = rdf.reduce({"pairs": np.asarray(jax.jit(look)(places), float)}, CONTEXT)
    mean, error = each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(samples)
    itself = _by_hand(Atoms("Ar", cell=np.asarray(cell), pbc=True), high, bins) / atoms
    expected = 1 - 1 / atoms + itself
    # closer in, the law of the error is no longer normal
    assert np.all(np.abs(mean - expected)[1:] < 4.5 * error[1:])
    assert error[1:].max() < 0.03
    outer = 4 / 3 * np.pi * np.diff(rdf.edges**3)[6:]
    assert np.sum(mean[6:] * outer) / outer.sum() == pytest.approx(1.0, abs=0.06)
    # control: pairs of different points alone are a sixth too few
    assert np.all(np.abs(mean - itself - 1)[4:] > 4.5 * error[4:])


@pytest.mark.parametrize("cubic", [True, False])
def test_rdf_of_diamond_has_its_shells(cubic):
    """Neighbours by integration, in cells of 8 and of 2 atoms."""
    edge = 5.431
    atoms = bulk("Si", "diamond", edge, cubic=cubic)
    rdf = RDF.of("g", System.from_ase(atoms), 6.0, 300)
    g = _value(rdf, [atoms])
    shells = 4 / 3 * np.pi * np.diff(rdf.edges**3)
    neighbors = np.cumsum(g * shells) * 8 / edge**3
    radii = edge * np.sqrt(np.array([3, 8, 11, 16, 19])) / 4
    within = np.cumsum([0, 4, 12, 12, 6, 12])
    for radius, low, high in zip(radii, within[:-1], within[1:], strict=True):
        peak = np.flatnonzero((np.abs(rdf.axis - radius) < 0.1) & (g > 0))
        assert len(peak) == 1
        assert abs(rdf.axis[peak[0]] - radius) <= 0.01 + 1e-6
        before, after = neighbors[[peak[0] - 1, peak[0]]]
        assert (before, after) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    assert np.count_nonzero(g) == 5
    alone = _value(RDF("g", 6.0, 300, images=(0, 0, 0)), [atoms])
    assert np.sum(alone * shells) * 8 / edge**3 < 40  # without images some are missing


def test_rdf_of_an_absent_element_is_refused():
    with pytest.raises(UserError, match="element 32, which the system does not hold"):
        RDF.of("g", System.from_ase(bulk("Si"), 4), 5.0, 10, (14, 32))


def test_density_is_mass_over_mean_volume():
    frames = [_binary(6), _binary(6)]
    frames[1].set_cell(1.3 * frames[1].cell, scale_atoms=True)
    grams = frames[0].get_masses().sum() * ase.units._amu * 1e3
    cubic_cm = 1e-24 * np.array([a.get_volume() for a in frames])
    found = _value(Density("rho"), frames, padding=3)  # padding has masses, and must not count
    assert found == pytest.approx(grams / cubic_cm.mean(), rel=2e-6)
    assert found != pytest.approx((grams / cubic_cm).mean(), rel=0.01)
    left_handed = frames[0].copy()
    left_handed.set_cell(left_handed.cell[[1, 0, 2]])
    assert _value(Density("rho"), [left_handed]) == pytest.approx(grams / cubic_cm[0], rel=2e-6)


def test_lattice_constant_of_strained_crystals():
    edges = np.array([5.2, 5.431, 5.9])
    frames = [bulk("Si", "diamond", a, cubic=True).repeat((2, 1, 3)) for a in edges]
    one = [_value(LatticeConstant("a", 6), [atoms]) for atoms in frames]
    np.testing.assert_allclose(one, edges, rtol=1e-6)
    # of a primitive cell, a quarter of the conventional one
    primitive = bulk("Si", "diamond", 5.431).repeat(2)
    assert _value(LatticeConstant("a", 2), [primitive]) == pytest.approx(5.431, rel=1e-6)
    # over frames: from the mean volume
    found = _value(LatticeConstant("a", 6), frames)
    assert found == pytest.approx(np.mean(edges**3) ** (1 / 3), rel=1e-6)
    assert found != pytest.approx(edges.mean(), rel=1e-3)
    assert _value(LatticeConstant("a", 3), frames) != pytest.approx(found, rel=0.1)


def _modulus(volumes, scale, temperature=300.0):
    """Of volumes (..., samples): snapshots of cubic cells, averaged in float32 as by the engine."""
    crystal = System.from_ase(bulk("Si", cubic=True))
    observable = BulkModulus("k", scale)

    def look(volume):
        cell = jnp.cbrt(volume) * jnp.eye(3, dtype=volume.dtype)
        return observable.snapshot(Frame(crystal.replace(cell=cell), ZERO))

    values = jnp.asarray(volumes, jnp.float32)
    made = jax.jit(jax.vmap(look))(values.ravel())
    means = {k: np.asarray(v.reshape(values.shape).mean(axis=-1), float) for k, v in made.items()}
    return observable.reduce(means, Context(temperature, 8))


def test_bulk_modulus_of_volumes_with_a_known_variance():
    """``Var(V) = kT V/K`` of a Gaussian law, in GPa."""
    rng = np.random.default_rng(7)
    K, volume, temperature, samples = 98.0, 1281.0, 450.0, 20_000
    # 1 GPa is 1 J/cm^3 a thousandfold: in SI, not by the constants of the package
    variance = 1.380649e-23 * temperature * volume * 1e-30 / (K * 1e9) * 1e60
    volumes = rng.normal(volume, np.sqrt(variance), samples)
    found = _modulus(volumes, 1300.0, temperature)
    error = K * np.sqrt(2 / samples)
    assert abs(found - K) < 4 * error
    assert abs(found * 1.1 - K) > 4 * error  # control: a tenth more of it is seen
    plain = BOLTZMANN * temperature * volumes.mean() / volumes.var() / GPA
    assert found == pytest.approx(plain, rel=1e-3)
    assert found != pytest.approx(_modulus(volumes, 1300.0, 300.0), rel=0.1)


def test_bulk_modulus_of_a_large_cell_keeps_its_digits():
    """A million Angstrom^3 in float32; control: without ``scale`` the variance is lost."""
    rng = np.random.default_rng(8)
    volume = 1e6
    volumes = rng.normal(volume, np.sqrt(BOLTZMANN * 300 * volume / (100 * GPA)), 2000)
    plain = BOLTZMANN * 300 * volumes.mean() / volumes.var() / GPA
    assert _modulus(volumes, 1.001e6) == pytest.approx(plain, rel=0.01)
    assert _modulus(volumes, 0.0) != pytest.approx(plain, rel=0.1)


def test_bulk_modulus_of_few_volumes_is_too_high():
    """By ``n/(n - 3)`` for n independent Gaussian volumes, as documented; it fades with n."""
    rng = np.random.default_rng(9)
    K, volume = 100.0, 1000.0
    spread = np.sqrt(BOLTZMANN * 300 * volume / (K * GPA))
    for samples in (12, 60):
        made = _modulus(rng.normal(volume, spread, (8000, samples)), volume)
        error = made.std(ddof=1) / np.sqrt(len(made))
        assert abs(made.mean() - K * samples / (samples - 3)) < 4 * error
        assert made.mean() - K > 4 * error
