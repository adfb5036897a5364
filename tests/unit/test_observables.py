"""Snapshots and reductions against direct computation and ASE."""

import jax.numpy as jnp
import numpy as np
import pytest

from bayespot.observables import (
    Context,
    DihedralDistribution,
    DistanceDistribution,
    Frame,
    HeatCapacity,
    MeanEnergy,
    blocks_to_value,
)
from bayespot.system import System
from tests.physics.helpers import ethanol

CONTEXT = Context(300.0, 9, energy_shift=-310.0)


def _value(observable, frames, energies):
    """Average over frames as the engine does, then reduce."""
    snapshots = [
        observable.snapshot(Frame(System.from_ase(a, 11), jnp.asarray(e)))
        for a, e in zip(frames, energies, strict=True)
    ]
    cells = {k: np.stack([np.asarray(s[k]) for s in snapshots]) for k in snapshots[0]}
    return blocks_to_value(observable, cells, np.ones(len(frames)), CONTEXT)


FRAMES = [ethanol(seed, 0.15) for seed in range(12)]
ENERGIES = np.random.default_rng(0).normal(0.1, 0.05, 12)


def test_distance_distribution_is_a_density_over_all_pairs():
    o = DistanceDistribution("h", 0.0, 10.0, 50)
    distances = np.concatenate([a.get_all_distances()[np.triu_indices(9, 1)] for a in FRAMES])
    expected = np.histogram(distances, np.linspace(0, 10, 51), density=True)[0]
    found = _value(o, FRAMES, ENERGIES)
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert found.sum() * 0.2 == pytest.approx(1.0, rel=1e-6)
    cut = DistanceDistribution("h", 0.0, 2.0, 10)  # pairs outside stay in the normalisation
    np.testing.assert_allclose(_value(cut, FRAMES, ENERGIES), found[:10], rtol=1e-5)


def test_dihedral_has_the_sign_and_zero_of_ase():
    o = DihedralDistribution("d", (0, 1, 2, 3), 36)
    for degrees in (-170.0, -65.0, 5.0, 58.0, 179.0):
        atoms = FRAMES[0].copy()
        atoms.set_dihedral(0, 1, 2, 3, degrees % 360)
        found = _value(o, [atoms], [0.0])
        assert found.sum() * 10 == pytest.approx(1.0, rel=1e-6)
        # ASE's angle and IUPAC's agree
        assert abs(o.axis[np.argmax(found)] - degrees) <= 5.0


def test_energy_and_heat_capacity():
    assert _value(MeanEnergy("u"), FRAMES, ENERGIES) == pytest.approx(ENERGIES.mean() - 310, 1e-6)
    kT = 8.617333e-5 * 300
    expected = ENERGIES.var() / kT**2 + 13.5
    assert _value(HeatCapacity("c"), FRAMES, ENERGIES) == pytest.approx(expected, rel=1e-3)


def test_heat_capacity_of_large_energies_needs_a_reference():
    """Float32 squares of 3200 eV hold no variance of kT^2; about a reference they do."""
    kT = 8.617333e-5 * 300
    energies = (-3200 + kT * np.random.default_rng(1).normal(0.0, 4.0, 400)).astype(np.float32)
    exact = energies.astype(float).var() / kT**2 + 13.5
    frames = [FRAMES[0]] * 400
    about = HeatCapacity("c", reference=-3199.5)
    assert _value(about, frames, energies) == pytest.approx(exact, rel=1e-3)
    assert abs(_value(HeatCapacity("c"), frames, energies) - exact) > exact
