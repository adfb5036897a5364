import dataclasses

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot import build
from bayespot.config import Data
from bayespot.data import check_splits, check_units
from bayespot.errors import UserError
from tests.unit.frames import WATER, frame, labelled, replaced

# units


def wrong_units(frames, *texts):
    with pytest.raises(UserError) as caught:
        check_units(frames)
    for text in ("made.extxyz", *texts):
        assert text in str(caught.value)


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
