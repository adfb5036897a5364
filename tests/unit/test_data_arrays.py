import dataclasses

import ase
import jax
import numpy as np
import pytest

from bayespot.data import Shift, fit_shift, make_dataset
from bayespot.errors import UserError
from bayespot.neighbors import AllPairs, NeighborList
from bayespot.topology import find_bonds
from tests.unit.frames import WATER, frame, replaced

# energy shift


def test_shift_recovers_atomic_energies():
    atomic = {1: -13.6, 6: -1030.0, 8: -2040.0}
    frames = []
    for i, symbols in enumerate(["H2", "CH4", "H2O", "CO2", "C2H6O", "O2"]):
        numbers = ase.Atoms(symbols).numbers
        frames.append(frame(symbols, i, energy=sum(atomic[int(z)] for z in numbers)))
    shift = fit_shift(frames)
    assert shift.elements == (1, 6, 8)
    assert shift.energies == pytest.approx(tuple(atomic.values()), rel=1e-9)
    data = make_dataset(frames, shift, 5.0)
    np.testing.assert_allclose(data.batch.energy, 0, atol=1e-6)


def test_shift_of_one_composition_removes_the_mean():
    energies = -4200.0 + np.random.default_rng(0).normal(0, 0.3, 8)
    frames = [frame(number=i, energy=float(e)) for i, e in enumerate(energies)]
    data = make_dataset(frames, fit_shift(frames), 5.0)
    # to the digits of the labels, not to those of float32 at -4200 eV
    np.testing.assert_allclose(data.batch.energy, energies - energies.mean(), atol=1e-6)
    assert data.statistics()["energy_std"] == pytest.approx(energies.std(), rel=1e-5)


def test_shift_of_an_unknown_element():
    shift = Shift((1, 8), (-1.0, -2.0))
    assert shift.of(np.array([8, 1, 1])) == -4.0
    with pytest.raises(UserError, match=r"elements \[6\]"):
        shift.of(np.array([6, 1]))


# padded arrays


def test_molecules_of_different_size_share_a_batch():
    frames = [frame("OH2", 0), frame("C2H6O", 1), frame("H2", 2)]
    data = make_dataset(frames, fit_shift(frames), 5.0)
    batch = data.batch
    assert len(data) == 3
    assert batch.forces.shape == batch.system.positions.shape == (3, 9, 3)
    assert isinstance(batch.neighbors, AllPairs)
    for i, f in enumerate(frames):
        size = len(f.atoms)
        np.testing.assert_allclose(batch.forces[i, :size], f.forces, rtol=1e-6)
        np.testing.assert_array_equal(batch.system.species[i, :size], f.atoms.numbers)
        for values in (batch.forces, batch.system.positions, batch.system.species):
            assert not np.any(values[i, size:])
        one = jax.tree.map(lambda x, i=i: x[i], batch.system)
        mask = np.asarray(AllPairs(batch.neighbors.overflow[i]).pairs(one).mask)
        assert mask[:size, :size].sum() == size * (size - 1)
        assert not mask[size:].any()
        assert not mask[:, size:].any()
    assert data.statistics()["atoms_min"] == 2
    assert data.statistics()["atoms_max"] == 9


def test_padding_to_a_given_size():
    frames = [frame()]
    assert make_dataset(frames, fit_shift(frames), 5.0, num_atoms=7).batch.forces.shape == (1, 7, 3)


def test_periodic_frames_get_lists():
    positions = [[0.2, 2.0, 2.0], [3.8, 2.0, 2.0], [2.0, 2.0, 2.0]]
    box = {"cell": np.eye(3) * 4.0, "pbc": True}
    frames = [
        frame("H3", 0, positions=positions, **box),
        frame("H2", 1, positions=positions[:2], **box),
    ]
    batch = make_dataset(frames, fit_shift(frames), 1.0).batch
    lists = batch.neighbors
    assert isinstance(lists, NeighborList)
    assert lists.index.shape[:2] == (2, 3)
    assert not np.any(lists.overflow)
    assert batch.system.pbc == (True, True, True)
    for i in range(2):
        # atoms 0 and 1 see each other through the wall; all other slots hold the mark 3
        found = [sorted(set(row.tolist()) - {3}) for row in np.asarray(lists.index[i])]
        assert found == [[1], [0], []]
        slot = int(np.argmax(np.asarray(lists.index[i, 0]) == 1))
        np.testing.assert_array_equal(lists.shift[i, 0, slot], [-1, 0, 0])


def test_lists_of_different_length_are_filled_up():
    loose = [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]]
    box = {"cell": np.eye(3) * 12.0, "pbc": True}
    flat = {"cell": np.diag([12.0, 12.0, 1.9]), "pbc": True}  # sees more images
    frames = [
        frame("H3", 0, positions=loose, **flat),
        frame(
            "H8", 1, positions=[[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], **box
        ),
    ]
    lists = make_dataset(frames, fit_shift(frames), 2.0).batch.neighbors
    counts = np.sum(np.asarray(lists.index) < 8, axis=-1)
    np.testing.assert_array_equal(counts, [[2, 2, 2] + [0] * 5, [7] * 8])


def test_mixed_periodicity_is_refused():
    box = {"cell": np.eye(3) * 9.0, "pbc": True}
    frames = [frame(number=0), frame(number=1), frame(number=2, **box)]
    with pytest.raises(UserError, match=r"frame 2 of made.extxyz and frame 0 .* periodicity.*pbc"):
        make_dataset(frames, fit_shift(frames), 5.0)


def test_fingerprint_sees_every_change():
    base = [frame(number=i, cell=np.eye(3) * 20) for i in range(2)]
    shift = fit_shift(base)

    def mark(frames):
        return make_dataset(frames, shift, 5.0).fingerprint

    def moved(**changes):
        atoms = base[1].atoms.copy()
        for name, value in changes.items():
            setattr(atoms, name, value)
        return replaced(base, 1, atoms=atoms)

    other = base[1].forces.copy()
    other[2, 0] += 1e-9
    changed = {
        "energy": replaced(base, 1, energy=base[1].energy + 1e-9),
        "forces": replaced(base, 1, forces=other),
        "positions": moved(positions=base[1].atoms.positions + 1e-9),
        "species": moved(numbers=[8, 1, 8]),
        "cell": moved(cell=np.eye(3) * 21),
        "periodicity": [dataclasses.replace(f, atoms=f.atoms.copy()) for f in base],
        "order": base[::-1],
        "frames": base[:1],
    }
    for f in changed["periodicity"]:
        f.atoms.pbc = True
    same = [dataclasses.replace(f, file="elsewhere.extxyz") for f in base]
    assert mark(same) == mark(base)
    marks = {name: mark(frames) for name, frames in changed.items()}
    assert len({mark(base), *marks.values()}) == len(changed) + 1


# topology


def test_bonds_of_water():
    assert find_bonds(ase.Atoms("OH2", WATER)) == ((0, 1), (0, 2))


@pytest.mark.parametrize(("stretch", "bonded"), [(1.14, True), (1.16, False)])
def test_bonds_reach_a_multiple_of_the_covalent_radii(stretch, bonded):
    atoms = ase.Atoms("CH", [[0, 0, 0], [(0.76 + 0.31) * stretch, 0, 0]])
    assert find_bonds(atoms) == (((0, 1),) if bonded else ())
