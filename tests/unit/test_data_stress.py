"""Stress labels: keys, shapes, signs, units, frames that have none, refusals."""

import dataclasses

import ase.io
import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.fd import calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot.data import Frame, Keys, Shift, check_units, make_dataset, read
from bayespot.errors import UserError
from bayespot.likelihood import energy_forces_stress
from bayespot.potentials import StillingerWeber, energy_and_forces
from tests.unit.frames import frame, label, water

VOIGT = np.array([0.011, -0.022, 0.033, 0.004, -0.005, 0.006])  # xx yy zz yz xz xy
FULL = np.array([[0.011, 0.006, -0.005], [0.006, -0.022, 0.004], [-0.005, 0.004, 0.033]])
CELL = np.array([[5.0, 0.0, 0.0], [1.0, 6.0, 0.0], [0.5, -0.5, 7.0]])
VOLUME = 210.0


def crystal(seed=0, pbc=True, stress=None, **info):
    """Water in a cell; ``stress`` goes to a calculator, the rest to ``info``."""
    atoms = water(seed, cell=CELL, pbc=pbc)
    energy, forces = label(seed)
    results = {} if stress is None else {"stress": stress}
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **results)
    atoms.info.update(info)
    return atoms


def read_back(path, *images):
    ase.io.write(path, list(images))
    return [f.stress for f in read(path)]


@pytest.mark.parametrize("name", ["set.extxyz", "set.db", "set.json", "set.traj"])
def test_stress_of_a_calculator_in_every_format(tmp_path, name):
    """Frames without one are allowed among those with."""
    first, second = read_back(tmp_path / name, crystal(0, stress=VOIGT), crystal(1))
    np.testing.assert_allclose(first, FULL, rtol=1e-6)
    assert second is None


@pytest.mark.parametrize(
    ("key", "value", "factor"),
    [
        ("REF_stress", FULL, 1.0),
        ("REF_stress", VOIGT, 1.0),
        ("REF_stress", FULL.ravel(), 1.0),
        ("stress", FULL, 1.0),
        ("virial", FULL, -1 / VOLUME),
        ("virials", VOIGT, -1 / VOLUME),
        ("REF_virial", VOIGT, -1 / VOLUME),
        ("REF_virials", FULL, -1 / VOLUME),
    ],
)
def test_keys_of_extxyz(tmp_path, key, value, factor):
    (made,) = read_back(tmp_path / "set.extxyz", crystal(**{key: value}))
    np.testing.assert_allclose(made, factor * FULL, rtol=1e-6)


def test_reference_keys_win(tmp_path):
    path = tmp_path / "set.extxyz"
    (made,) = read_back(path, crystal(stress=9 * VOIGT, virial=5 * FULL, REF_virial=-FULL))
    np.testing.assert_allclose(made, FULL / VOLUME, rtol=1e-6)
    (made,) = read_back(path, crystal(stress=VOIGT, virial=5 * FULL))
    np.testing.assert_allclose(made, FULL, rtol=1e-6)
    assert read(path, Keys(stress=("mine",), virial=()))[0].stress is None


def test_open_directions_have_no_stress(tmp_path):
    """Not even a wrong one is looked at: files of molecules hold all sorts of zeros."""
    made = read_back(
        tmp_path / "set.extxyz",
        crystal(pbc=False, stress=VOIGT),
        crystal(pbc=(True, True, False), REF_virial=[np.nan] * 6),
    )
    assert made == [None, None]


def npz(folder, **changes):
    arrays = {
        "R": np.array([water(i).positions for i in range(2)]),
        "z": np.array([8, 1, 1]),
        "E": np.array([label(i)[0] for i in range(2)]),
        "F": np.array([label(i)[1] for i in range(2)]),
        "cell": CELL,
    }
    arrays |= changes
    np.savez(folder / "set.npz", **{k: v for k, v in arrays.items() if v is not None})
    return read(folder / "set.npz")


def test_npz(tmp_path):
    for key, factor in (("stress", 1.0), ("virial", -1 / VOLUME)):
        for values in (np.array([VOIGT, 2 * VOIGT]), np.array([FULL, 2 * FULL])):
            made = npz(tmp_path, **{key: values})
            for n, f in enumerate(made, 1):
                np.testing.assert_allclose(f.stress, factor * n * FULL, rtol=1e-12)
    assert [f.stress for f in npz(tmp_path)] == [None, None]
    assert [f.stress for f in npz(tmp_path, cell=None, stress=VOIGT)] == [None, None]
    for wrong in (VOIGT, np.array([VOIGT] * 3), np.asarray(1.0)):
        with pytest.raises(UserError, match=r"set.npz holds 2 positions and stress of shape"):
            npz(tmp_path, stress=wrong)
    with pytest.raises(UserError, match=r"frame 1 of .*set.npz has NaN or infinite stress"):
        npz(tmp_path, stress=np.array([VOIGT, np.nan * VOIGT]))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (VOIGT[:5], r"REF_stress of shape \(5,\)"),
        (np.eye(2), r"REF_stress of shape \(2, 2\)"),
        ("high", "not made of numbers"),
        (np.where(FULL > 0.03, np.inf, FULL), "NaN or infinite REF_stress"),
        (FULL + 1e-4 * np.eye(3, k=1), r"not symmetric \(by 0.0001 eV"),
    ],
)
def test_refusals_name_file_frame_and_key(tmp_path, value, text):
    path = tmp_path / "set.extxyz"
    with pytest.raises(UserError, match=rf"frame 1 of {path} has .*{text}"):
        read_back(path, crystal(0, stress=VOIGT), crystal(1, REF_stress=value))


def test_rounding_is_no_asymmetry(tmp_path):
    rough = FULL + 1e-5 * np.eye(3, k=1)
    (made,) = read_back(tmp_path / "set.extxyz", crystal(REF_stress=rough))
    np.testing.assert_array_equal(made, made.T)
    np.testing.assert_allclose(made, FULL, atol=1e-5)
    # a virial's tolerance is that of the stress it gives
    (made,) = read_back(tmp_path / "set.extxyz", crystal(REF_virial=rough + 1e-3 * np.tri(3)))
    np.testing.assert_allclose(made, -FULL / VOLUME, atol=1e-5)


def test_a_virial_without_volume(tmp_path):
    flat = crystal(virial=FULL)
    flat.cell[2] = flat.cell[0] + flat.cell[1]
    with pytest.raises(UserError, match="cell without volume"):
        read_back(tmp_path / "set.extxyz", flat)


def stressed(number=0, stress=FULL, **changes):
    made = frame("Ar4", number, cell=np.eye(3) * 8, pbc=True, **changes)
    return dataclasses.replace(made, stress=stress)


SHIFT = Shift((14, 18), (0.0, -4.0))


def test_units_of_stress():
    fine = [stressed(i, s) for i, s in enumerate([0 * FULL, None, 10 * FULL])]
    check_units(fine)  # 0.33 eV/A^3 are 53 GPa; there is no typical size
    with pytest.raises(UserError, match=r"frame 7 of .* eV an atom.*kbar 1602"):
        check_units([*fine, stressed(7, 1602 * FULL)])


def test_sets_hold_a_mask():
    data = make_dataset([stressed(0), stressed(1, None), stressed(2, 2 * FULL)], SHIFT, 5.0)
    np.testing.assert_array_equal(data.batch.has_stress, [True, False, True])
    np.testing.assert_allclose(data.batch.stress, [FULL, 0 * FULL, 2 * FULL], rtol=1e-6)
    assert data.statistics()["frames_with_stress"] == 2
    rms = np.sqrt(2.5 * np.mean(FULL**2))
    assert data.statistics()["stress_rms"] == pytest.approx(rms)
    half = jax.tree.map(lambda x: x[1:], data.batch)
    np.testing.assert_array_equal(half.has_stress, [False, True])


def test_sets_without_stress_know_nothing_of_it():
    """Their programs, statistics and fingerprints are those of before there was stress."""
    plain = make_dataset([stressed(i, None) for i in range(2)], SHIFT, 5.0)
    assert plain.batch.stress is None
    assert plain.batch.has_stress is None
    assert not any("stress" in key for key in plain.statistics())
    assert plain.fingerprint == ("1456956eec069a75985e32b04d6bcdc0d92bc27acc89fb52b8fb26dc08ca3ade")
    marks = {
        make_dataset([stressed(0, a), stressed(1, b)], SHIFT, 5.0).fingerprint
        for a, b in ((None, None), (FULL, None), (None, FULL), (FULL, FULL), (FULL, 2 * FULL))
    }
    assert len(marks) == 5
    assert plain.fingerprint in marks


def test_open_frames_with_stress_are_refused():
    bad = dataclasses.replace(frame("Ar4", 3), stress=FULL)
    with pytest.raises(UserError, match=r"frame 3 of .* not periodic"):
        make_dataset([bad], SHIFT, 5.0)


def _unlabelled(atoms):
    return make_dataset([Frame(atoms, 0.0, 0 * atoms.positions, "made", 0)], SHIFT, 4.0).batch


class Ours(Calculator):
    """ASE asks it for energies only."""

    implemented_properties = ("energy",)

    def calculate(self, atoms, properties, system_changes):
        at = jax.tree.map(lambda x: x[0], _unlabelled(atoms))
        self.results = {"energy": float(ENERGY(at.system, at.neighbors))}


SILICON = StillingerWeber(range=3.7)
ENERGY = jax.jit(lambda system, neighbors: SILICON.energy({}, system, neighbors))


@pytest.mark.usefixtures("x64")
def test_sign_and_unit_are_those_of_ase():
    """Ours by differentiation, ASE's by straining the cell; in a skewed cell with atoms outside."""
    atoms = bulk("Si", cubic=True).repeat((2, 1, 1))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.tri(3)), scale_atoms=True)
    atoms.positions += np.random.default_rng(5).normal(0, 0.1, (16, 3))
    atoms.positions[3] += 2 * atoms.cell.array[1]
    batch = make_dataset(
        [Frame(atoms, 0.0, np.zeros((len(atoms), 3)), "made", 0)], SHIFT, 4.0
    ).batch
    at = jax.tree.map(lambda x: x[0], batch)
    energy, forces, stress = jax.jit(lambda f: energy_forces_stress(SILICON, {}, f))(at)
    plain, pushes = jax.jit(lambda f: energy_and_forces(SILICON, {}, f.system, f.neighbors))(at)
    np.testing.assert_allclose(energy, plain, rtol=1e-12)
    np.testing.assert_allclose(forces, pushes, atol=1e-11)
    atoms.calc = Ours()
    numeric = calculate_numerical_stress(atoms, 1e-5, voigt=False, force_consistent=False)
    assert np.abs(numeric).min() > 1e-3
    np.testing.assert_allclose(stress, numeric, atol=2e-8)
    assert np.trace(stress) > 0  # stretched: it pulls back
