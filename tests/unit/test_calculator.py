"""The ASE calculator of a committee: its numbers, its sizes, and what it does not do twice."""

import dataclasses

import ase
import jax
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.stress import full_3x3_to_voigt_6_stress

from bayespot.calculator import Evaluator, PosteriorCalculator, evaluate
from bayespot.calibration.recalibration import Isotonic, Recalibration, Scale
from bayespot.committee import Committee
from bayespot.data import Shift, make_dataset
from bayespot.errors import UserError
from bayespot.potentials import LennardJones, SchNet
from bayespot.predict import predict
from bayespot.system import System
from tests.unit.frames import frame

pytestmark = pytest.mark.usefixtures("compile_fast")

MEMBERS = 4
ARGON = LennardJones(3.4, 0.0104, 6.0, trainable=True)
SCHNET = SchNet((1, 6, 8, 14), 4.0, features=4, interactions=2, basis=6)
NOISE = {"energy": np.full(MEMBERS, 0.03), "forces": np.array([0.01, 0.02, 0.01, 0.02])}


def argon(potential=ARGON, dtype=np.float32, **changes):
    rng = np.random.default_rng(0)
    params = {
        "log_sigma": (np.log(3.4) + 0.01 * rng.normal(size=MEMBERS)).astype(dtype),
        "log_epsilon": (np.log(0.0104) + 0.05 * rng.normal(size=MEMBERS)).astype(dtype),
    }
    return Committee(potential, params, Shift((10, 18), (-50.0, -1000.25)), **changes)


def network(dtype=np.float32, **changes):
    with jax.enable_x64(dtype == np.float64):
        system = System.from_ase(molecule("H2O"))
        keys = jax.random.split(jax.random.key(1), MEMBERS)
        params = jax.tree.map(np.asarray, jax.vmap(lambda k: SCHNET.init(k, system))(keys))
    shift = Shift((1, 6, 8, 14), (-13.6, -1030.5, -2040.25, -289.5))
    return Committee(SCHNET, params, shift, **changes)


def crystal(repeat=1, **changes):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(repeat)
    atoms.rattle(0.1, seed=1)
    return atoms


def triclinic():
    cell = [[2.9, 0.0, 0.0], [0.7, 3.1, 0.0], [0.4, -0.5, 3.3]]
    return ase.Atoms("SiO", [[0.1, 0.2, 0.0], [1.4, 1.3, 1.5]], cell=cell, pbc=True)


def slab():
    atoms = fcc111("Si", (1, 1, 2), a=5.0, vacuum=4.0)
    atoms.rattle(0.1, seed=2)
    return atoms


def directly(committee, atoms):
    """Energies with the shift, forces and stresses of all members by ``predict``."""
    given = dataclasses.replace(
        frame("H", 0), atoms=atoms, forces=np.zeros((len(atoms), 3)), energy=0.0
    )
    batch = make_dataset([given], committee.shift, committee.potential.cutoff).batch
    made = predict(committee.potential, committee.params, batch, stress=bool(atoms.pbc.all()))
    shift = committee.shift.of(atoms.numbers)
    stress = None if made.stress is None else made.stress[:, 0].astype(float)
    return made.energy[:, 0].astype(float) + shift, made.forces[:, 0].astype(float), stress


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), triclinic(), slab()], ids=str)
def test_all_numbers_are_those_of_predict(atoms):
    committee = network(noise=NOISE)
    atoms.calc = calculator = PosteriorCalculator(committee)
    energy, forces, stress = directly(committee, atoms)
    near = {"rtol": 0, "atol": 3e-6}
    np.testing.assert_allclose(atoms.get_potential_energy(), energy.mean(), rtol=1e-9)
    np.testing.assert_allclose(atoms.get_potential_energies().sum(), energy.mean(), rtol=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), forces.mean(0), **near)
    get = lambda name: calculator.get_property(name, atoms)  # noqa: E731
    np.testing.assert_allclose(get("energy_ensemble"), energy, rtol=1e-9)
    np.testing.assert_allclose(get("forces_ensemble"), forces, **near)
    np.testing.assert_allclose(get("energy_uncertainty"), np.std(energy, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(get("forces_uncertainty"), np.std(forces, axis=0, ddof=1), **near)
    assert get("energy_uncertainty") > 1.1 * np.std(energy)  # ddof=0 is another number
    assert not calculator.recalibrated
    if stress is None:
        with pytest.raises(PropertyNotImplementedError, match="periodic in all directions"):
            get("stress_uncertainty")
        with pytest.raises(PropertyNotImplementedError):
            atoms.get_stress()
        return
    np.testing.assert_allclose(get("stress_ensemble"), stress, **near)
    voigt = full_3x3_to_voigt_6_stress(stress)
    np.testing.assert_allclose(atoms.get_stress(), voigt.mean(0), **near)
    np.testing.assert_allclose(get("stress_uncertainty"), np.std(voigt, axis=0, ddof=1), **near)


@pytest.mark.parametrize("member", [None, 2])
@pytest.mark.parametrize("atoms", [molecule("H2O"), triclinic()], ids=str)
def test_forces_and_stress_are_derivatives(x64, atoms, member):
    atoms.rattle(0.05, seed=3)
    atoms.calc = PosteriorCalculator(network(np.float64), member=member)
    force = calculate_numerical_forces(atoms, eps=1e-4)
    np.testing.assert_allclose(atoms.get_forces(), force, rtol=1e-5, atol=1e-7)
    if atoms.pbc.all():
        stress = calculate_numerical_stress(atoms, eps=1e-5)
        np.testing.assert_allclose(atoms.get_stress(), stress, rtol=1e-5, atol=1e-8)
        assert np.abs(stress).max() > 1e-4


def test_energies_keep_the_digits_of_float64():
    committee = argon()
    atoms = crystal()
    atoms.calc = PosteriorCalculator(committee)
    interaction = atoms.get_potential_energy() - 4 * -1000.25
    plain = dataclasses.replace(committee, shift=Shift((18,), (0.0,)))
    atoms.calc = PosteriorCalculator(plain)
    np.testing.assert_allclose(interaction, atoms.get_potential_energy(), rtol=1e-9)
    assert np.float32(-4001.0) + np.float32(interaction) - np.float32(-4001.0) != interaction


def test_one_member_is_evaluated_alone_until_a_spread_is_wanted():
    committee = argon()
    atoms = crystal()
    atoms.calc = calculator = PosteriorCalculator(committee, member=1)
    forces = atoms.get_forces()
    assert "energy_ensemble" not in calculator.results
    energies, all_forces, _ = directly(committee, atoms)
    np.testing.assert_allclose(forces, all_forces[1], atol=3e-6)
    assert np.abs(all_forces[1] - all_forces.mean(0)).max() > 1e-4
    sigma = calculator.get_property("energy_uncertainty", atoms)
    np.testing.assert_allclose(sigma, np.std(energies, ddof=1), rtol=1e-3)
    np.testing.assert_allclose(calculator.results["energy"], energies[1], rtol=1e-9)


RECALIBRATION = Recalibration(
    {
        "energy": Isotonic((1e-4, 1e-2), (3e-4, 2e-2)),
        "forces": Scale(1.5, "element", {"O": 3.0}),
    }
)


def test_recalibration_is_applied_told_and_undone():
    committee = network(noise=NOISE, recalibration=RECALIBRATION)
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=0)
    plain = PosteriorCalculator(committee, recalibrate=False)
    stretched = PosteriorCalculator(committee)
    noisy = PosteriorCalculator(committee, noise=True)
    assert stretched.recalibrated
    assert not plain.recalibrated
    get = lambda c, name: c.get_property(f"{name}_uncertainty", atoms)  # noqa: E731
    factor = get(stretched, "forces") / get(plain, "forces")
    np.testing.assert_allclose(factor, [[3.0] * 3, [1.5] * 3, [1.5] * 3])
    # energies: the map knows them per atom, and with their noise
    spread, noise = get(plain, "energy") / 3, 0.03 / 3
    whole = RECALIBRATION.apply("energy", [np.hypot(spread, noise)])[0]
    np.testing.assert_allclose(get(noisy, "energy"), 3 * whole)
    np.testing.assert_allclose(
        get(stretched, "energy") / 3 / spread, whole / np.hypot(spread, noise)
    )
    variance = np.mean(NOISE["forces"] ** 2)
    wanted = np.sqrt(get(plain, "forces") ** 2 + variance) * factor
    np.testing.assert_allclose(get(noisy, "forces"), wanted)
    for calculator in (stretched, noisy):
        same = calculator.results["forces_ensemble"]
        np.testing.assert_array_equal(same, plain.results["forces_ensemble"])


@dataclasses.dataclass(frozen=True)
class Counted(LennardJones):
    """Counts how often it is traced."""

    traces: list = dataclasses.field(default_factory=list, compare=False)

    def atomic_energies(self, params, system, neighbors):
        self.traces.append(system.positions.shape[0])
        return super().atomic_energies(params, system, neighbors)


@pytest.fixture
def lists(monkeypatch):
    """Counts how often lists are brought up to date, and laid out anew."""
    counts = {"update": 0, "allocate": 0}
    for name, where in (("update", "_update"), ("allocate", "allocate")):
        inner = getattr(evaluate, where)

        def count(*arguments, name=name, inner=inner, **more):
            counts[name] += 1
            return inner(*arguments, **more)

        monkeypatch.setattr(evaluate, where, count)
    return counts


def test_moving_and_a_few_more_atoms_compile_nothing(lists):
    potential = Counted(3.4, 0.0104, 6.0, trainable=True)
    atoms = crystal(2)  # 32 atoms
    del atoms[[0, 7]]
    atoms.calc = PosteriorCalculator(argon(potential))
    atoms.get_forces()
    other = PosteriorCalculator(argon(potential))
    other.get_property("energy", atoms)
    first = len(potential.traces)
    assert first == 1
    rng = np.random.default_rng(0)
    for _ in range(10):
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.get_stress()
    assert lists["update"] in range(1, 9)  # the skin serves several steps
    atoms.set_cell(atoms.cell * 0.98, scale_atoms=True)
    atoms.get_forces()
    del atoms[3]
    atoms.get_forces()
    atoms.append("Ar")
    atoms.positions[-1] = atoms.positions[:5].mean(0) + 2.0
    atoms.numbers[2] = 10
    atoms.get_potential_energy()
    assert len(potential.traces) == first
    assert lists["allocate"] == 2  # one for each calculator
    atoms = atoms.repeat((2, 1, 1))
    atoms.calc = other
    atoms.get_forces()  # twice as many do
    assert len(potential.traces) > first


def half(atoms):
    del atoms[: len(atoms) // 2 + 1]


def more(atoms):
    atoms.extend(ase.Atoms("Ar3", [[1.0, 2.0, 2.6], [5.0, 4.5, 0.3], [4.6, 0.2, 3.1]]))


def squeeze(atoms):
    atoms.set_cell(atoms.cell * 0.7, scale_atoms=True)


def shear(atoms):
    by = np.array([[0, 0, 0], [2.5, 0, 0], [0, 1.5, -0.5]])
    atoms.set_cell(atoms.cell.array + by, scale_atoms=True)


EDITS = {
    "half": half,
    "more": more,
    "squeeze": squeeze,
    "shear": shear,
    "open": lambda atoms: atoms.set_pbc(False),
    "slab": lambda atoms: atoms.set_pbc((True, True, False)),
    "species": lambda atoms: atoms.numbers.__setitem__(slice(0, 3), 10),
    "wrap": lambda atoms: atoms.positions.__iadd__(2.7 * atoms.cell.array.sum(0)),
    "collapse": lambda atoms: atoms.positions.__imul__(0.75),
    "large": lambda atoms: atoms.__imul__((2, 2, 2)),
}


@pytest.mark.slow
def test_every_change_is_noticed(lists):
    """One calculator through all changes, against new ones; those agree with ``predict``."""
    committee = argon()
    calculator = PosteriorCalculator(committee)
    for name, edit in EDITS.items():
        atoms = crystal((2, 2, 3))[:40]
        atoms.calc = calculator
        before = atoms.get_potential_energy()
        edit(atoms)
        new = PosteriorCalculator(committee)
        forces, size = new.get_property("forces", atoms), len(atoms)
        np.testing.assert_allclose(
            atoms.get_potential_energy(), new.results["energy"], rtol=1e-9, err_msg=name
        )
        near = {"atol": 1e-4 * np.abs(forces).max(), "err_msg": name}
        np.testing.assert_allclose(atoms.get_forces(), forces, **near)
        if atoms.pbc.all():
            stress = new.results["stress"]
            near = {"atol": 1e-4 * np.abs(stress).max(), "err_msg": name}
            np.testing.assert_allclose(atoms.get_stress(), stress, **near)
        if name in ("squeeze", "slab", "collapse"):
            energy, wanted, _ = directly(committee, atoms)
            assert atoms.get_potential_energy() == pytest.approx(energy.mean(), rel=1e-6)
            np.testing.assert_allclose(forces, wanted.mean(0), atol=1e-4 * np.abs(wanted).max())
        if name != "wrap":
            assert abs(before - atoms.get_potential_energy()) > 1e-6, (name, size)
    assert lists["update"] > 0


def test_members_a_few_at_a_time_are_the_same(monkeypatch):
    committee, atoms = argon(), crystal()
    whole = Evaluator(committee)(atoms)
    monkeypatch.setattr(evaluate, "AT_ONCE", 1)
    parts = Evaluator(committee)(atoms)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_mistakes_are_told():
    committee = argon()
    water = molecule("H2O")
    water.calc = PosteriorCalculator(committee)
    with pytest.raises(UserError, match=r"no energy shift for the elements \[1, 8\]"):
        water.get_forces()
    water.calc = PosteriorCalculator(network())
    water.numbers[0] = 18
    with pytest.raises(UserError, match=r"knows no atoms of number \[18\]"):
        water.get_forces()
    with pytest.raises(UserError, match="has no member 4"):
        PosteriorCalculator(committee, member=4)
    flat = ase.Atoms("Ar", pbc=True)
    flat.calc = PosteriorCalculator(committee)
    with pytest.raises(UserError, match="vector of length zero"):
        flat.get_forces()
    single = dataclasses.replace(committee, params=jax.tree.map(lambda x: x[:1], committee.params))
    atoms = crystal()
    atoms.calc = PosteriorCalculator(single)
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="of a single member"):
        atoms.calc.get_property("energy_uncertainty", atoms)
