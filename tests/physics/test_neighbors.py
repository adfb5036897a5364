"""Neighbour lists against ASE on open and triclinic cells, smaller than the cut-off too."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from bayespot.neighbors import NeighborList, allocate
from bayespot.system import System

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")


def _random(seed, pbc, size):
    rng = np.random.default_rng(seed)
    cell = size * (np.eye(3) + 0.35 * rng.uniform(-1, 1, (3, 3)))
    positions = rng.uniform(-0.8, 1.9, (7, 3)) @ cell  # unwrapped on purpose
    return Atoms("Si7", positions, cell=cell, pbc=pbc)


def _sorted(vectors):
    return np.sort(np.linalg.norm(vectors, axis=-1))


@pytest.mark.parametrize("size", [2.5, 6.0])
@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 1, 1), (1, 0, 1), (0, 0, 1)])
@pytest.mark.parametrize("seed", range(1))
def test_list_against_ase(seed, pbc, size):
    atoms = _random(seed, pbc, size)
    cutoff = 3.7
    system = System.from_ase(atoms)
    made = allocate(system, cutoff, skin=0.0, kind="list")
    assert not made.overflow
    assert made.grid.images is not None  # few atoms: no bins
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


def _gas(seed, atoms, pbc=True, skewed=True):
    rng = np.random.default_rng(seed)
    cell = np.diag([22.0, 17.0, 30.0])
    if skewed:
        cell = cell @ (np.eye(3) + 0.25 * rng.uniform(-1, 1, (3, 3)))
    return Atoms(f"Ar{atoms}", rng.uniform(-0.5, 1.5, (atoms, 3)) @ cell, cell=cell, pbc=pbc)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("pbc", [(1, 1, 1), (0, 0, 0), (1, 0, 1)])
def test_grid_of_many_bins_against_ase(pbc, half):
    atoms = _gas(1, 900, pbc)
    system = System.from_ase(atoms, 910)
    made = allocate(system, 3.9, skin=0.0, kind="list", half=half)
    assert made.grid.bins > 30
    assert not made.overflow
    pairs = made.pairs(system)
    i, j, vectors = neighbor_list("ijD", atoms, 3.9)
    mask = np.asarray(pairs.mask)
    assert mask.sum() == len(i) // (2 if half else 1)
    ours = np.asarray(pairs.vectors)[mask]
    both = np.concatenate([ours, -ours]) if half else ours
    np.testing.assert_allclose(_sorted(both), _sorted(vectors), atol=1e-9)
    assert pairs.weight == (1.0 if half else 0.5)
    assert set(np.asarray(made.index)[mask]) <= set(j)


def test_half_lists_are_shared_out_evenly():
    system = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat((4, 4, 4)))
    full, half = (allocate(system, 8.0, 0.0, "list", 1.0, half=h) for h in (False, True))
    assert half.index.shape[1] < 0.65 * full.index.shape[1]  # no atom lists all of its own


def test_half_lists_give_the_same_energy_and_forces():
    from bayespot.potentials import LennardJones, energy_and_forces

    for atoms in (_gas(2, 200), _random(0, True, 4.0)):
        system = System.from_ase(atoms)
        potential = LennardJones(1.0, 0.1, 4.0)
        full, half = (
            energy_and_forces(potential, {}, system, allocate(system, 4.0, 0.3, "list", half=h))
            for h in (False, True)
        )
        np.testing.assert_allclose(full[0], half[0], rtol=1e-10)
        np.testing.assert_allclose(full[1], half[1], rtol=1e-8, atol=1e-10)


def test_lists_follow_a_strained_cell_until_it_matters():
    system = System.from_ase(_gas(3, 250))
    made = allocate(system, 4.0, skin=0.6, cell_margin=0.1)

    def strained(factor):
        return system.replace(positions=system.positions * factor, cell=system.cell * factor)

    for factor in (0.999, 0.95, 0.9, 1.05):
        now = strained(factor)
        # Frobenius norm of a homogeneous strain is sqrt(3) of it
        safe = (4.6 * (1 - np.sqrt(3) * abs(factor - 1)) - 4.0) > 0
        assert bool(made.needs_update(now, 0.0)) is (not safe)
        if not bool(made.needs_update(now, 0.0)):
            exact = len(neighbor_list("i", _with_cell(now), 4.0))
            pairs = made.pairs(now)
            assert (
                int(np.sum(np.asarray(pairs.mask) & (np.asarray(pairs.distances) < 4.0))) == exact
            )
    rebuilt = made.update(strained(0.95))
    assert not rebuilt.overflow
    exact = len(neighbor_list("i", _with_cell(strained(0.95)), 4.6))
    assert int(np.sum(np.asarray(rebuilt.index) < 250)) == exact
    # a cell that shrinks beyond its margin has bins too narrow to see all: said, not hidden
    assert made.update(strained(0.7)).overflow


def _with_cell(system):
    return Atoms(
        np.asarray(system.species), np.asarray(system.positions), cell=np.asarray(system.cell),
        pbc=True,
    )  # fmt: skip


def test_a_crowded_bin_is_flagged():
    system = System.from_ase(_gas(4, 300))
    made = allocate(system, 3.0, skin=0.0)
    assert made.grid.capacity < 300
    crowded = system.replace(positions=system.positions.at[:200].set(system.positions[0]))
    assert made.update(crowded).overflow
