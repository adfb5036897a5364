"""Shift and scale by species, and Lennard-Jones by species."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.neighbors import allocate
from bayespot.potentials import LennardJones, PairMLP, Scaled
from bayespot.system import System
from tests.physics.helpers import SCHNET, energy, ethanol, silicon

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")


def test_energies_by_species():
    system = System.from_ase(ethanol(), 12)
    neighbors = allocate(system, SCHNET.cutoff)
    made = Scaled(SCHNET, (8, 6, 1), (2.0, 0.5, 1.0), (-3.0, 1.0, 0.25))
    params = made.init(jax.random.key(0), system)
    assert set(params) == {"potential"}
    inner = np.asarray(SCHNET.atomic_energies(params["potential"], system, neighbors))
    scale, shift = {8: 2.0, 6: 0.5, 1: 1.0}, {8: -3.0, 6: 1.0, 1: 0.25}
    expected = sum(scale[z] * inner[i] + shift[z] for i, z in enumerate(ethanol().numbers))
    assert float(made.energy(params, system, neighbors)) == pytest.approx(expected, rel=1e-12)
    assert made.elements == {1, 6, 8}


def test_trainable_starts_the_same_and_has_its_derivatives():
    atoms = ethanol()
    system = System.from_ase(atoms)
    fixed = Scaled(SCHNET, (8, 6, 1), (2.0, 0.5, 1.0), (-3.0, 1.0, 0.25))
    learned = Scaled(SCHNET, (8, 6, 1), (2.0, 0.5, 1.0), (-3.0, 1.0, 0.25), trainable=True)
    params = learned.init(jax.random.key(0), system)
    same = energy(fixed, {"potential": params["potential"]}, atoms)
    assert float(energy(learned, params, atoms)) == pytest.approx(float(same), rel=1e-12)
    slope = jax.grad(lambda p: energy(learned, p, atoms))(params)
    np.testing.assert_allclose(slope["shift"], [1, 2, 6], rtol=1e-12)  # atoms of each species
    assert float(energy(learned, {**params, "shift": params["shift"] + 1}, atoms)) == pytest.approx(
        float(same) + 9, rel=1e-12
    )


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one scale and one shift"):
        Scaled(SCHNET, (1, 6), (1.0,), (0.0, 0.0))
    with pytest.raises(ValueError, match="one sigma and one epsilon"):
        LennardJones((1.0, 2.0), 0.1, 4.0, species=(1, 6))


def test_lorentz_berthelot():
    """Each pair of a mixture is the one-species potential of its mean parameters."""
    sigma, epsilon = {6: 1.7, 8: 1.5}, {6: 0.05, 8: 0.02}
    for trainable in (False, True):
        mixed = LennardJones((1.7, 1.5), (0.05, 0.02), 4.0, trainable=trainable, species=(6, 8))
        for a, b in ((6, 6), (6, 8), (8, 6), (8, 8)):
            atoms = Atoms([a, b], [[0, 0, 0], [1.9, 0, 0]])
            plain = LennardJones(
                (sigma[a] + sigma[b]) / 2, np.sqrt(epsilon[a] * epsilon[b]).item(), 4.0
            )
            params = mixed.init(jax.random.key(0), System.from_ase(atoms))
            expected = float(energy(plain, {}, atoms))
            assert float(energy(mixed, params, atoms)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "potential", [LennardJones(1.5, 0.1, 4.0), PairMLP(range=4.0, hidden=(8,))]
)
def test_pair_potentials_take_half_lists(potential):
    system = System.from_ase(silicon())
    params = potential.init(jax.random.key(0), system)
    values = [
        float(potential.energy(params, system, allocate(system, 4.0, half=half)))
        for half in (False, True)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-11)
    assert jnp.isfinite(values[0])
