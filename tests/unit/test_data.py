import dataclasses

import ase
import ase.db
import ase.io
import jax
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot import build
from bayespot.config import Data
from bayespot.data import (
    Frame,
    Keys,
    Shift,
    check_splits,
    check_units,
    fit_shift,
    make_dataset,
    read,
)
from bayespot.errors import UserError
from bayespot.neighbors import AllPairs, NeighborList
from bayespot.topology import find_bonds

WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


def water(seed=0, **changes):
    positions = WATER + np.random.default_rng(seed).normal(0, 0.02, (3, 3))
    return ase.Atoms("OH2", positions, **changes)


def label(seed):
    forces = np.random.default_rng(100 + seed).normal(0, 1, (3, 3))
    return -14.0 - 0.01 * seed, forces - forces.mean(0)


def labelled(seed, energy_key="energy", forces_key="forces", **changes):
    atoms, (energy, forces) = water(seed, **changes), label(seed)
    if energy_key == "energy":
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    else:
        atoms.info[energy_key] = energy
        atoms.arrays[forces_key] = forces
    return atoms


def frame(symbols="OH2", number=0, energy=None, positions=None, **changes):
    atoms = ase.Atoms(symbols, **changes)
    scatter = np.random.default_rng(number).normal(0, 0.02, (len(atoms), 3))
    line = np.arange(len(atoms))[:, None] * [1.1, 0.2, 0.0]
    atoms.positions = line + scatter if positions is None else positions
    forces = np.random.default_rng(50 + number).normal(0, 1, (len(atoms), 3))
    value = -4.0 * len(atoms) - 0.01 * number if energy is None else energy
    return Frame(atoms, value, forces, "made.extxyz", number)


def check_labels(frames, count):
    assert [f.number for f in frames] == list(range(count))
    for seed, f in enumerate(frames):
        energy, forces = label(seed)
        assert f.energy == pytest.approx(energy, abs=1e-7)
        np.testing.assert_allclose(f.forces, forces, atol=1e-7)
        np.testing.assert_allclose(f.atoms.positions, water(seed).positions, atol=1e-7)
        assert f.atoms.get_chemical_symbols() == ["O", "H", "H"]


def refused(path, *texts, keys=None):
    with pytest.raises(UserError) as caught:
        read(path, keys)
    for text in (str(path), *texts):
        assert text in str(caught.value)
    assert caught.value.fix
    return str(caught.value)


def npz(folder, name="set.npz", count=2, **changes):
    arrays = {
        "R": np.array([water(i).positions for i in range(count)]),
        "z": np.array([8, 1, 1]),
        "E": np.array([[label(i)[0]] for i in range(count)]),
        "F": np.array([label(i)[1] for i in range(count)]),
    }
    arrays.update(changes)
    np.savez(folder / name, **{k: v for k, v in arrays.items() if v is not None})
    return folder / name


# reading


@pytest.mark.parametrize("name", ["set.extxyz", "set.xyz", "set.db", "set.json", "set.traj"])
def test_formats_with_the_labels_of_a_calculator(tmp_path, name):
    ase.io.write(tmp_path / name, [labelled(i) for i in range(3)])
    frames = read(tmp_path / name)
    check_labels(frames, 3)
    assert frames[2].where == f"frame 2 of {tmp_path / name}"


def test_reference_keys(tmp_path):
    path = tmp_path / "set.extxyz"
    ase.io.write(path, [labelled(i, "REF_energy", "REF_forces") for i in range(2)])
    check_labels(read(path), 2)


def test_reference_keys_win_over_the_calculator(tmp_path):
    atoms = labelled(0, "REF_energy", "REF_forces")
    atoms.calc = SinglePointCalculator(atoms, energy=99.0, forces=np.full((3, 3), 99.0))
    ase.io.write(tmp_path / "set.extxyz", atoms)
    assert "energy=99" in (tmp_path / "set.extxyz").read_text()
    check_labels(read(tmp_path / "set.extxyz"), 1)


def test_custom_keys_in_extxyz(tmp_path):
    path = tmp_path / "set.extxyz"
    ase.io.write(path, [labelled(i, "dft_e", "dft_f") for i in range(2)])
    check_labels(read(path, Keys(("dft_e",), ("dft_f",))), 2)
    refused(path, "frame 0", "looked for REF_energy, energy, E", "found dft_e", "energy_key")


def test_config_keys_reach_the_reader(tmp_path):
    for name, seeds in (("train", range(5)), ("test", range(5, 7))):
        ase.io.write(tmp_path / f"{name}.extxyz", [labelled(i, "dft_e", "dft_f") for i in seeds])
    paths = {name: tmp_path / f"{name}.extxyz" for name in ("train", "test")}
    splits = build.read_splits(Data(**paths, energy_key="dft_e", forces_key="dft_f"), 0)
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 4,
        "validation": 1,
        "test": 2,
    }
    with pytest.raises(UserError, match="has no forces"):
        build.read_splits(Data(**paths, energy_key="dft_e"), 0)


def test_custom_keys_of_a_database_row(tmp_path):
    path = tmp_path / "set.db"
    with ase.db.connect(path) as rows:
        for i in range(2):
            energy, forces = label(i)
            rows.write(water(i), dft_e=energy, data={"dft_f": forces})
    check_labels(read(path, Keys(("dft_e",), ("dft_f",))), 2)


def test_an_info_entry_called_data_is_no_label(tmp_path):
    atoms = labelled(0)
    atoms.info["data"] = 7
    ase.io.write(tmp_path / "set.extxyz", atoms)
    check_labels(read(tmp_path / "set.extxyz"), 1)


def test_npz_with_md17_keys(tmp_path):
    frames = read(npz(tmp_path, count=3))
    check_labels(frames, 3)
    assert not any(frames[0].atoms.pbc)


def test_npz_with_long_names_and_a_cell(tmp_path):
    arrays = np.load(npz(tmp_path))
    path = tmp_path / "long.npz"
    np.savez(
        path,
        positions=arrays["R"],
        species=arrays["z"],
        energy=arrays["E"][:, 0],
        forces=arrays["F"],
        cell=np.eye(3) * 8,
    )
    frames = read(path)
    check_labels(frames, 2)
    assert all(frames[1].atoms.pbc)
    assert frames[1].atoms.cell.lengths() == pytest.approx([8, 8, 8])


def test_npz_with_padded_species(tmp_path):
    forces = np.array([label(i)[1] for i in range(2)])
    forces[1, 2] = np.nan  # what stands on padding does not count
    frames = read(npz(tmp_path, z=np.array([[8, 1, 1], [8, 1, 0]]), F=forces))
    assert [f.atoms.get_chemical_formula() for f in frames] == ["H2O", "HO"]
    assert [f.forces.shape for f in frames] == [(3, 3), (2, 3)]
    np.testing.assert_array_equal(frames[1].forces, forces[1, :2])


# refusals of the reader


@pytest.mark.parametrize("name", ["set.extxyz", "set.npz", "set.db"])
def test_missing_file(tmp_path, name):
    refused(tmp_path / name, "there is no file", "Check the path in [data]")


@pytest.mark.parametrize("name", ["set.extxyz", "set.npz", "set.db"])
@pytest.mark.parametrize("content", [b"", b"no atoms\nin here\n"], ids=["empty", "junk"])
def test_empty_and_unreadable_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "cannot read", "Give ")
    assert (tmp_path / name).read_bytes() == content


def test_no_frames(tmp_path):
    nothing = np.zeros((0, 3, 3))
    refused(npz(tmp_path, R=nothing, E=np.zeros(0), F=nothing), "holds no frames", "at least one")


def test_label_missing_in_one_frame(tmp_path):
    path = tmp_path / "set.extxyz"
    ase.io.write(path, [labelled(0), water(1)])
    refused(path, "frame 1 of", "has no energy", "energy_key")
    atoms = water(1)
    atoms.calc = SinglePointCalculator(atoms, energy=-14.0)
    ase.io.write(path, [labelled(0), atoms])
    refused(path, "frame 1 of", "has no forces", "forces_key")


def test_array_missing_in_npz(tmp_path):
    refused(npz(tmp_path, F=None), "has no forces", "forces_key")
    text = refused(npz(tmp_path, z=None), "has no species", "found E, F, R", "Add an array species")
    assert "species_key" not in text


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_labels_that_are_not_finite(tmp_path, bad):
    path = tmp_path / "set.extxyz"
    second = labelled(1)
    second.calc.results["energy"] = bad
    ase.io.write(path, [labelled(0), second])
    refused(path, "frame 1 of", "NaN or infinite energy", "Remove or relabel")
    second = labelled(1)
    second.calc.results["forces"][2, 1] = bad
    ase.io.write(path, [labelled(0), second])
    refused(path, "frame 1 of", "NaN or infinite forces", "Remove or relabel")
    positions = np.array([water(i).positions for i in range(2)])
    positions[1, 0, 0] = bad
    refused(npz(tmp_path, R=positions), "frame 1 of", "NaN or infinite positions")


def test_forces_of_the_wrong_shape(tmp_path):
    path = tmp_path / "set.extxyz"
    bad = water(1)
    bad.info["REF_energy"], bad.arrays["REF_forces"] = -14.0, np.ones((3, 2))
    ase.io.write(path, [labelled(0, "REF_energy", "REF_forces"), bad])
    refused(path, "frame 1 of", "shape (3, 2) for 3 atoms", "Give an array of shape (3, 3)")
    refused(npz(tmp_path, F=np.ones((2, 2, 3))), "frame 0 of", "shape (2, 3)", "Give (3, 3)")


def test_energies_that_are_not_numbers(tmp_path):
    path = tmp_path / "set.extxyz"
    bad = labelled(1, "REF_energy", "REF_forces")
    bad.info["REF_energy"] = "unknown"
    ase.io.write(path, [labelled(0, "REF_energy", "REF_forces"), bad])
    refused(path, "frame 1 of", "not numbers", "Give one energy in eV")
    refused(npz(tmp_path, E=np.array(["a", "b"])), "not numbers", "Give arrays of numbers")


@pytest.mark.parametrize(
    ("changes", "text", "fix"),
    [
        ({"R": WATER}, "positions of shape (3, 3)", "(frames, atoms, 3)"),
        ({"z": np.array([8, 1])}, "species of shape (2,) for 2 frames of 3 atoms", "(2, 3)"),
        ({"z": np.array([[8, 1, 1]])}, "species of shape (1, 3)", "0 for padding"),
        ({"F": np.array(1.0)}, "forces of shape ()", "Give (2, 3, 3)"),
        ({"E": np.zeros(1)}, "2 positions, 1 energies and 2 forces", "same number of frames"),
        ({"cell": np.ones(3)}, "cell of shape (3,)", "Give (3, 3) or (2, 3, 3)"),
        ({"E": np.array([None, 1], object)}, "Object arrays", "none of dtype object"),
    ],
)
def test_npz_of_the_wrong_shape(tmp_path, changes, text, fix):
    refused(npz(tmp_path, **changes), text, fix)


def test_frames_without_atoms_or_cell(tmp_path):
    path = tmp_path / "set.extxyz"
    head = "Properties=species:S:1:pos:R:3:forces:R:3 energy=-3"
    path.write_text(f"1\n{head} pbc='T T F'\nH 0 0 0 0 0 0\n".replace("'", '"'))
    refused(path, "frame 0 of", "periodic along a vector of length zero", "Lattice")
    path.write_text(f"0\n{head}\n")
    refused(path, "frame 0 of", "no atoms", "Remove it")


# units


def wrong_units(frames, *texts):
    with pytest.raises(UserError) as caught:
        check_units(frames)
    for text in ("made.extxyz", *texts):
        assert text in str(caught.value)


def replaced(frames, i, **changes):
    return [*frames[:i], dataclasses.replace(frames[i], **changes), *frames[i + 1 :]]


def test_plausible_units_pass():
    check_units([frame(number=i) for i in range(6)])
    check_units([frame("H", 0)])
    check_units([frame("Ar", i, cell=np.eye(3) * 4, pbc=True) for i in range(2)])


def test_forces_in_kilojoule_per_mole_and_nanometre():
    frames = [frame(number=i) for i in range(6)]
    wrong_units([dataclasses.replace(f, forces=f.forces * 964.9) for f in frames], "kJ/mol/nm")
    for factor in (964.9, 96.49):
        mixed = replaced(frames, 4, forces=frames[3].forces * factor)
        wrong_units(mixed, "frame 4 of", "times the typical", "mixed units")


def test_positions_in_nanometre():
    frames = [frame(number=i) for i in range(3)]
    small = frames[1].atoms.copy()
    small.positions /= 10
    wrong_units(replaced(frames, 1, atoms=small), "frame 1 of", "Angstrom apart", "multiply by 10")


def test_atoms_that_meet_through_the_cell_wall():
    positions = [[0.1, 2.0, 2.0], [4.9, 2.0, 2.0]]
    check_units([frame("H2", 0, positions=positions)])
    near = frame("H2", 0, positions=positions, cell=np.eye(3) * 5, pbc=True)
    wrong_units([near], "frame 0 of", "0.200 Angstrom apart")


def test_one_energy_in_hartree():
    frames = [frame(number=i) for i in range(6)]
    mixed = replaced(frames, 3, energy=frames[3].energy / 27.2114)
    wrong_units(mixed, "frame 3 of", "same composition", "1 Hartree = 27.2114 eV")


def test_energies_above_a_minimum_may_have_any_ratio():
    check_units([frame("C8H8", i, energy=e) for i, e in enumerate([0.0, 1.4, 1.6, 1.9, 2.5])])


def test_energies_of_different_compositions_are_not_compared():
    check_units([frame("H2", 0, energy=-30.0), frame("Au2", 1, energy=-1000.0)])


# splits


def test_duplicate_across_splits():
    train = [frame(number=i) for i in range(3)]
    # noise below the comparison, with a zero that changes sign
    train[1].atoms.positions[0] = 0.0
    twin = dataclasses.replace(train[1], atoms=train[1].atoms.copy(), file="test.extxyz", number=7)
    twin.atoms.positions -= 1e-9
    test = [frame(number=9), twin]
    check_splits({"train": train, "test": test[:1]})
    with pytest.raises(UserError) as caught:
        check_splits({"train": train, "test": test})
    assert "frame 7 of test.extxyz (test)" in str(caught.value)
    assert "frame 1 of made.extxyz (train)" in str(caught.value)
    assert "Remove it" in caught.value.fix


def test_other_elements_or_cells_are_no_duplicates():
    one = frame("H2", 0)
    for other in (frame("He2", 0), frame("H2", 0, cell=np.eye(3) * 9, pbc=True)):
        check_splits({"train": [one], "test": [other]})


def test_a_frame_twice_in_one_split_passes():
    check_splits({"train": [frame(), frame()], "test": [frame(number=1)]})


def test_empty_split():
    with pytest.raises(UserError, match=r"the validation split is empty.*\[data\]"):
        check_splits({"train": [frame()], "validation": []})


def test_read_splits_refusals(tmp_path):
    paths = {name: tmp_path / f"{name}.extxyz" for name in ("train", "test")}
    ase.io.write(paths["train"], [labelled(i) for i in range(2)])
    ase.io.write(paths["test"], [labelled(5), labelled(1)])
    with pytest.raises(UserError, match="the validation split is empty"):
        build.read_splits(Data(**paths), 0)
    with pytest.raises(UserError, match=r"frame 1 of .*test.extxyz.* is the same configuration"):
        build.read_splits(Data(**paths, validation_fraction=0.5), 0)
    strange = ase.Atoms("OHF", WATER)
    strange.calc = SinglePointCalculator(strange, energy=-14.0, forces=np.ones((3, 3)))
    ase.io.write(paths["test"], [labelled(5), strange])
    with pytest.raises(
        UserError, match=r"frame 1 of .*test.extxyz.*elements \[9\].*training lacks"
    ):
        build.read_splits(Data(**paths, validation_fraction=0.5), 0)


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
