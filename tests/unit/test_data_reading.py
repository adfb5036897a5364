import ase.db
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot import build
from bayespot.config import Data
from bayespot.data import Keys, read
from bayespot.errors import UserError
from tests.unit.frames import WATER, label, labelled, water


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


# formats and keys


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


# refusals


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
