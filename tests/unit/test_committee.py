"""Loading members from a run directory, and predicting with them."""

import dataclasses

import jax
import numpy as np
import pytest
from ase.build import bulk, molecule

from bayespot import committee
from bayespot.committee import Committee
from bayespot.data import Shift, make_dataset
from bayespot.data.readers import Frame
from bayespot.draws import Draws
from bayespot.errors import UserError
from bayespot.potentials import LennardJones, SchNet, energy_and_forces, stress
from bayespot.predict import predict
from bayespot.system import System

SCHNET = SchNet(species=(1, 6, 8), features=8, interactions=1, range=4.0)
SHIFT = Shift((1, 6, 8), (-10.0, -1000.0, -2000.0))


def _params(potential, atoms, members=3):
    keys = jax.random.split(jax.random.key(0), members)
    system = System.from_ase(atoms)
    return jax.tree.map(np.asarray, jax.vmap(lambda k: potential.init(k, system))(keys))


def _frames(*structures):
    return [Frame(a, 0.0, np.zeros((len(a), 3)), "made", n) for n, a in enumerate(structures)]


def test_members_predict_frames_of_any_size_in_any_order():
    ethanol, water = molecule("CH3CH2OH"), molecule("H2O")
    params = _params(SCHNET, ethanol)
    members = Committee(SCHNET, params, SHIFT, {"forces": np.array([0.1, 0.2, 0.3])})
    made = members.predict([water, ethanol, water])
    assert made.energy.shape == (3, 3)
    assert [f.shape for f in made.forces] == [(3, 3, 3), (3, 9, 3), (3, 3, 3)]
    np.testing.assert_array_equal(made.energy[:, 0], made.energy[:, 2])
    for n, atoms in enumerate((water, ethanol)):
        direct = predict(SCHNET, params, make_dataset(_frames(atoms), SHIFT, 4.0).batch)
        np.testing.assert_allclose(
            made.energy[:, n] - SHIFT.of(atoms.numbers), direct.energy[:, 0], atol=1e-4
        )
        np.testing.assert_allclose(made.forces[n], direct.forces[:, 0], atol=1e-5)
    np.testing.assert_allclose(made.noise["forces"], [0.01, 0.04, 0.09])
    with pytest.raises(UserError, match=r"has .*was trained on"):
        members.predict([molecule("NH3")])


def test_stress_of_periodic_frames_alone(x64):
    potential = LennardJones(3.4, 0.0103, 7.0, trainable=True)
    crystal = bulk("Ar", "fcc", a=5.2).repeat((2, 2, 2))
    crystal.rattle(0.05, seed=0)
    cluster = crystal.copy()
    cluster.pbc = False
    members = Committee(potential, _params(potential, crystal, 2), Shift((18,), (-1.0,)))
    assert members.float64
    made = members.predict([cluster, crystal], stress=True)
    assert np.isnan(made.stress[:, 0]).all()
    batch = make_dataset(_frames(crystal), members.shift, 7.0).batch
    lists = jax.tree.map(lambda x: x[0], batch.neighbors)
    one = jax.tree.map(lambda x: x[1], members.params)
    expected = stress(potential, one, System.from_ase(crystal), lists)
    np.testing.assert_allclose(made.stress[1, 1], expected, atol=1e-12)
    energy, _ = energy_and_forces(potential, one, System.from_ase(crystal), lists)
    assert made.energy[1, 1] == pytest.approx(float(energy) - 8.0, abs=1e-9)


def _folder(tmp_path, healthy=(True, True, True), dtype=np.float32):
    atoms = molecule("CH3CH2OH")
    params = _params(SCHNET, atoms)
    noise = {"log_sigma_energy": np.log([[0.01], [0.02], [0.03]]).astype(dtype)}
    content = {
        "potential": jax.tree.map(lambda x: x[:, None].astype(dtype), params),
        "noise": noise,
    }
    draws = Draws(
        content, np.zeros((3, 1)), np.asarray(healthy), ("fine",) * 3,
        {"energy_shift": SHIFT._asdict()},
    )  # fmt: skip
    committee.save_potential(tmp_path, SCHNET, atoms)
    draws.save(tmp_path / "posterior.nc")
    return params


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_directory_alone_makes_a_committee(tmp_path, dtype):
    params = _folder(tmp_path, healthy=(True, False, True), dtype=dtype)
    members = committee.load(tmp_path)
    assert members.potential == SCHNET
    assert members.members == 2
    assert members.shift == SHIFT
    assert members.recalibration is None
    assert members.float64 == (dtype == np.float64)
    np.testing.assert_allclose(members.noise["energy"], [0.01, 0.03], rtol=1e-6)
    for mine, given in zip(jax.tree.leaves(members.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(mine, given[[0, 2]])
    assert committee.load(tmp_path, members=1).members == 1


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"posterior\.nc"):
        committee.load(tmp_path)
    _folder(tmp_path)
    (tmp_path / "potential.json").unlink()
    with pytest.raises(UserError, match=r"potential\.json"):
        committee.load(tmp_path)
    other = dataclasses.replace(SCHNET, features=4)
    committee.save_potential(tmp_path, other, molecule("CH3CH2OH"))
    with pytest.raises(UserError, match="holds no parameter"):
        committee.load(tmp_path)


def test_a_potential_that_json_cannot_hold_leaves_no_file(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Odd(LennardJones):
        extra: object = np.float64

    committee.save_potential(tmp_path, Odd(), molecule("H2O"))
    assert not (tmp_path / "potential.json").exists()
