"""Committees of any ASE calculators, and ASE's tools at work on the posterior's."""

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.eos import EquationOfState
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.phonons import Phonons

from bayespot.calculator import CommitteeCalculator, PosteriorCalculator
from bayespot.calibration.recalibration import Recalibration, Scale
from bayespot.errors import UserError
from tests.unit.test_calculator import MEMBERS, argon, crystal

pytestmark = pytest.mark.usefixtures("compile_fast")

SIGMAS = (3.36, 3.4, 3.45)


class Bare(Calculator):
    """Energy and forces of springs to the origin, and nothing else."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.positions
        self.results = {"energy": 0.5 * np.sum(positions**2), "forces": -positions}


def lennard_jones(**changes):
    return [AseLennardJones(sigma=s, epsilon=0.0104, rc=6.0, smooth=True) for s in SIGMAS]


def test_mean_and_spread_of_any_calculators():
    atoms, single = crystal(), crystal()
    atoms.calc = calculator = CommitteeCalculator(lennard_jones())
    made = {name: [] for name in ("energy", "forces", "stress", "energies")}
    for one in lennard_jones():
        single.calc = one
        for name, values in made.items():
            values.append(one.get_property(name, single))
    for name, values in made.items():
        np.testing.assert_allclose(calculator.get_property(name, atoms), np.mean(values, 0))
    for name in ("energy", "forces", "stress"):
        sigma = calculator.get_property(f"{name}_uncertainty", atoms)
        np.testing.assert_allclose(sigma, np.std(made[name], axis=0, ddof=1), atol=1e-14)
        assert calculator.get_property(f"{name}_ensemble", atoms).shape[0] == 3
    assert not np.allclose(sigma, np.std(made["stress"], axis=0))
    before = atoms.get_forces()
    atoms.rattle(0.05, seed=9)
    assert np.abs(atoms.get_forces() - before).max() > 1e-3


def test_members_of_a_posterior_as_calculators_are_the_posterior():
    committee, atoms = argon(), crystal()
    parts = CommitteeCalculator([PosteriorCalculator(committee, member=m) for m in range(MEMBERS)])
    whole = PosteriorCalculator(committee)
    assert parts.implemented_properties == whole.implemented_properties
    for name in whole.implemented_properties:
        a, b = parts.get_property(name, atoms), whole.get_property(name, atoms)
        np.testing.assert_allclose(a, b, atol=1e-6, err_msg=name)
        assert np.shape(a) == np.shape(b)


def test_only_what_all_calculators_give():
    atoms = crystal()
    atoms.calc = calculator = CommitteeCalculator([Bare(), *lennard_jones()])
    atoms.get_forces()
    assert calculator.get_property("energy_uncertainty", atoms) > 1
    for name in ("stress", "stress_uncertainty", "energies"):
        with pytest.raises(PropertyNotImplementedError):
            calculator.get_property(name, atoms)
    open_one = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.7]])
    open_one.calc = CommitteeCalculator(lennard_jones())
    open_one.get_forces()
    with pytest.raises(PropertyNotImplementedError):
        open_one.get_stress()


def test_recalibration_and_mistakes():
    recalibration = Recalibration({"forces": Scale(2.0)})
    plain, stretched = (
        CommitteeCalculator(lennard_jones(), recalibration=r) for r in (None, recalibration)
    )
    atoms = crystal()
    assert stretched.recalibrated
    assert not plain.recalibrated
    for name, factor in (("forces", 2.0), ("energy", 1.0)):
        a, b = (c.get_property(f"{name}_uncertainty", atoms) for c in (stretched, plain))
        np.testing.assert_allclose(a, factor * np.asarray(b))
    one = AseLennardJones()
    for given in ([], [one, one]):
        with pytest.raises(UserError, match="not different objects"):
            CommitteeCalculator(given)


@pytest.fixture
def single():
    atoms = bulk("Ar", "fcc", a=5.3)
    atoms.calc = PosteriorCalculator(argon(dtype=np.float64))
    return atoms


def test_equation_of_state_agrees_with_the_stress(single, x64):
    volumes, energies, pressures = [], [], []
    for scale in np.linspace(0.97, 1.03, 7):
        atoms = single.copy()
        atoms.calc = single.calc
        atoms.set_cell(single.cell * scale, scale_atoms=True)
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
        pressures.append(-atoms.get_stress()[:3].mean())
    fit = EquationOfState(volumes, energies)
    volume, _, modulus = fit.fit()
    zero = np.interp(0.0, pressures[::-1], volumes[::-1])
    assert volume == pytest.approx(zero, rel=2e-3)
    curve = np.polynomial.Polynomial.fit(volumes, pressures, 4)
    assert modulus == pytest.approx(-volume * curve.deriv()(volume), rel=0.05)


def test_phonons(single, x64, tmp_path):
    phonons = Phonons(single, single.calc, supercell=(2, 2, 2), delta=0.01, name=tmp_path / "ph")
    phonons.run()
    phonons.read(acoustic=True)
    gamma, inside = phonons.band_structure([[0, 0, 0], [0.3, 0.2, 0.1]])
    np.testing.assert_allclose(gamma, 0.0, atol=1e-5)
    assert (inside > 1e-3).all()  # a crystal at its minimum has no soft modes


def test_optimiser_and_dynamics(x64):
    atoms = crystal((2, 1, 1))
    atoms.calc = calculator = PosteriorCalculator(argon(dtype=np.float64))
    hot = atoms.get_potential_energy()
    with BFGS(atoms, logfile=None) as optimiser:
        assert optimiser.run(fmax=1e-3, steps=60)
    assert atoms.get_potential_energy() < hot - 1e-3
    speed = np.sqrt(40 * units.kB / atoms.get_masses()[0])
    atoms.set_velocities(speed * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    start = atoms.get_total_energy()
    drift = []
    with VelocityVerlet(atoms, 4 * units.fs) as dynamics:
        for _ in dynamics.irun(40):
            drift.append(atoms.get_total_energy() - start)
            assert calculator.get_property("energy_uncertainty", atoms) > 0
    kinetic = atoms.get_kinetic_energy()
    assert np.abs(drift).max() < 0.02 * kinetic
