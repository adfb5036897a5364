"""Neighbour lists against ASE on open and triclinic cells, smaller than the cut-off too."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from bayespot.neighbors import NeighborList, allocate
from bayespot.system import System

pytestmark = pytest.mark.usefixtures("x64")


def _random(seed, pbc, size):
    rng = np.random.default_rng(seed)
    cell = size * (np.eye(3) + 0.35 * rng.uniform(-1, 1, (3, 3)))
    positions = rng.uniform(-0.8, 1.9, (7, 3)) @ cell  # unwrapped on purpose
    return Atoms("Si7", positions, cell=cell, pbc=pbc)


def _sorted(vectors):
    return np.sort(np.linalg.norm(vectors, axis=-1))


@pytest.mark.parametrize("size", [2.5, 6.0])
@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 1, 1), (1, 0, 1), (0, 0, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_list_against_ase(seed, pbc, size):
    atoms = _random(seed, pbc, size)
    cutoff = 3.7
    system = System.from_ase(atoms)
    made = allocate(system, cutoff, skin=0.0, kind="list")
    assert not made.overflow
    pairs = made.pairs(system)
    i, vectors = neighbor_list("iD", atoms, cutoff)
    for atom in range(len(atoms)):
        ours = np.asarray(pairs.vectors[atom])[np.asarray(pairs.mask[atom])]
        assert len(ours) == np.sum(i == atom)
        np.testing.assert_allclose(_sorted(ours), _sorted(vectors[i == atom]), atol=1e-9)
        np.testing.assert_allclose(ours.sum(axis=0), vectors[i == atom].sum(axis=0), atol=1e-8)


def test_all_pairs_and_list_agree_for_open_systems():
    system = System.from_ase(_random(0, False, 3.0), 9)
    near = allocate(system, 100.0, kind="all").pairs(system)
    listed = allocate(system, 100.0, kind="list").pairs(system)
    np.testing.assert_allclose(
        np.sort(np.asarray(near.distances)[np.asarray(near.mask)]),
        np.sort(np.asarray(listed.distances)[np.asarray(listed.mask)]),
    )


def test_overflow_is_flagged_and_stays():
    far = np.arange(7)[:, None] * np.array([[4.0, 0.0, 0.0]])
    system = System.from_ase(Atoms("Si7", far, cell=[40.0] * 3, pbc=True))
    made = allocate(system, 3.0)
    assert isinstance(made, NeighborList)
    dense = system.replace(positions=system.positions * 0.01)
    grown = made.update(dense)
    assert grown.overflow
    assert grown.update(system).overflow
    assert not made.update(system).overflow


def test_update_is_asked_for_after_half_a_skin():
    system = System.from_ase(_random(2, True, 5.0))
    made = allocate(system, 3.0, skin=0.6)
    for distance, expected in ((0.29, False), (0.31, True)):
        moved = system.replace(positions=system.positions.at[3, 1].add(distance))
        assert bool(made.needs_update(moved)) is expected


def test_padding_has_no_neighbours():
    system = System.from_ase(_random(0, True, 5.0), 10)
    pairs = allocate(system, 4.0).pairs(system)
    assert not np.asarray(pairs.mask)[7:].any()
    assert np.asarray(pairs.mask)[:7].any()


def test_wrong_requests():
    system = System.from_ase(_random(0, True, 5.0))
    with pytest.raises(ValueError, match="images"):
        allocate(system, 3.0, kind="all")
    with pytest.raises(ValueError, match="kind"):
        allocate(system, 3.0, kind="cells")
    with pytest.raises(ValueError, match="pad"):
        System.from_ase(Atoms("H3", np.eye(3)), 2)
    with pytest.raises(ValueError, match="no length"):
        System.from_ase(Atoms("H", pbc=True))


def test_gather_matches_index():
    system = System.from_ase(_random(0, True, 5.0))
    made = allocate(system, 4.0)
    pairs = made.pairs(system)
    values = jnp.arange(7.0)
    gathered = np.asarray(pairs.gather(values))
    mask = np.asarray(pairs.mask)
    np.testing.assert_array_equal(gathered[mask], np.asarray(made.index)[mask])
    assert dataclasses.is_dataclass(made)
