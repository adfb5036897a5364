"""Exploring and labelling: candidates, labels that fail, and calculators by name."""

import json

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones as ASELennardJones

from bayespot import calculators
from bayespot.active import explore, label
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.learning.rounds import driven, extend
from bayespot.md import NVT, Frames, Length, Trajectories
from bayespot.neighbors import AllPairs
from bayespot.potentials import LennardJones
from bayespot.system import System


def _frame(atoms, number=0):
    return Frame(atoms, 0.0, np.zeros((len(atoms), 3)), "made", number)


@pytest.fixture
def stood(monkeypatch):
    """MD in place of which frames are given: 2 draws, 1 replica, 6 frames of water."""
    import importlib

    module = importlib.import_module("bayespot.active.explore")
    positions = np.repeat(molecule("H2O").positions[None], 6, axis=0)
    positions = np.stack([positions + 0.01 * np.arange(6)[:, None, None], positions])[:, None]
    positions = positions.astype(np.float32)
    energy = np.zeros((2, 1, 6))
    given = {"positions": positions, "energy": energy, "asked": []}

    def simulate(key, potential, params, system, ensemble, length, observables, **more):
        given["asked"].append(more)
        cells = np.zeros((2, 1, 6, 3, 3))
        reason = np.isnan(energy).any(axis=2).astype(int)
        frames = Frames(positions, cells, energy)
        return Trajectories({}, np.zeros((1, 2, 1)), reason, reason - 1, 0, frames=frames)

    monkeypatch.setattr(module, "simulate", simulate)
    return given


def _explore(**changes):
    params = {"x": jnp.zeros(2)}
    start = [_frame(molecule("H2O"))]
    return explore(
        jax.random.key(0), LennardJones(1.0, 1.0, 3.0), params, start, NVT(300.0),
        Length(60, stride=10, blocks=1), **changes,
    )  # fmt: skip


def test_every_frame_of_a_healthy_trajectory_is_a_candidate(stood):
    made = _explore()
    assert (len(made.structures), made.seen, made.unphysical) == (12, 12, 0)
    assert made.draw.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_allclose(made.structures[3].positions, stood["positions"][0, 0, 3])
    assert made.structures[0].positions.dtype == float
    assert stood["asked"][0]["keep"] == 1


def test_a_failed_trajectory_loses_the_frame_before_too(stood):
    stood["energy"][1, 0, 3:] = np.nan
    made = _explore()
    assert made.draw.tolist() == [0] * 6 + [1] * 2
    assert made.unphysical == 4
    assert made.reasons.ravel().tolist() == [0, 1]


def test_atoms_on_top_of_each_other_are_left_out(stood):
    stood["positions"][0, 0, 2, 1] = stood["positions"][0, 0, 2, 0] + [0.3, 0, 0]
    made = _explore()
    assert len(made.structures) == 11
    assert made.unphysical == 1
    assert len(_explore(least=0.2).structures) == 12


def test_candidates_are_spread_over_all_frames(stood):
    made = _explore(most=4)
    assert made.draw.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(made.structures[0].positions, stood["positions"][0, 0, 0])
    del stood


def test_a_bias_leads_to_where_members_disagree(x64, compile_fast):
    """Two argon pairs that differ in length: their mean with a bias, and without, from one key."""
    del x64, compile_fast
    potential = LennardJones(3.4, 0.0104, 8.0, trainable=True)
    params = {
        "log_sigma": np.log([3.3, 3.5]),
        "log_epsilon": np.log([0.03, 0.03]),
    }

    class Bias:
        depth, width = 0.1, 0.003

    start = [_frame(ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.85]]))]
    system = System.from_ase(start[0].atoms)
    pairs = AllPairs(jnp.zeros((), bool))
    mean, same = driven(potential, params, None)
    assert mean is potential
    np.testing.assert_array_equal(same["log_sigma"], params["log_sigma"])
    biased, one = driven(potential, params, Bias)
    assert one["log_sigma"].shape == (1, 2)
    each = [
        potential.energy(jax.tree.map(lambda x, i=i: x[i], params), system, pairs) for i in (0, 1)
    ]
    spread = np.std(np.array(each), ddof=1)
    lowered = Bias.depth * np.expm1(-(spread**2) / (2 * Bias.width**2))
    got = biased.energy(jax.tree.map(lambda x: x[0], one), system, pairs)
    assert float(got) == pytest.approx(float(np.mean(each)) + lowered)

    class Weak(Bias):
        depth = 1e-9

    def disagreement(bias):
        how, what = driven(potential, params, bias)
        made = explore(jax.random.key(1), how, what, start, NVT(40.0, 2.0),
                       Length(1000, stride=20, blocks=1), replicas=4)  # fmt: skip
        d = np.array([a.get_distance(0, 1) for a in made.structures])
        r = np.exp(params["log_sigma"])[:, None] / d
        energy = 4 * 0.03 * (r**12 - r**6)
        return np.mean(energy.std(axis=0, ddof=1))

    assert disagreement(Bias) > 1.5 * disagreement(Weak)


class Moody(ASELennardJones):
    """Fails for some, and counts how often it was made and asked."""

    made = asked = 0

    def __init__(self, **more):
        type(self).made += 1
        super().__init__(sigma=1.0, epsilon=0.1, **more)

    def calculate(self, *arguments, **more):
        type(self).asked += 1
        super().calculate(*arguments, **more)
        distance = self.atoms.get_distance(0, 1)
        if distance > 1.45:
            raise CalculationFailed("no convergence\nsecond line")
        if distance < 0.5:
            self.results["forces"] = np.full((2, 3), np.nan)


PAIRS = [ase.Atoms("Ar2", [[0, 0, 0], [0, 0, d]]) for d in (1.1, 1.5, 1.2, 0.4, 0.9)]


def test_failed_labels_are_skipped_and_not_tried_again(tmp_path):
    Moody.made = Moody.asked = 0
    told = []
    made = label(PAIRS, Moody, tmp_path, most_force=3.0, callback=lambda *x: told.append(x))
    assert made.index == [0, 2]
    assert [f.number for f in made.frames] == [0, 2]
    assert made.failed[1] == "CalculationFailed: no convergence"
    assert made.failed[3] == "a label is not finite"
    assert made.failed[4] == "a force of 13.9 eV/Angstrom"
    assert [place for place, why in told if why is None] == [0, 2]
    calls = Moody.asked
    assert Moody.made == 5  # a new one for each: labels do not depend on their order
    again = label(PAIRS, Moody, tmp_path, most_force=3.0)
    assert Moody.asked == calls
    assert again.failed == made.failed
    for one, other in zip(made.frames, again.frames, strict=True):
        assert one.energy == other.energy
        np.testing.assert_array_equal(one.forces, other.forces)
    # a file lost in a kill is made again, the others are not
    (tmp_path / "0002.json").unlink()
    third = label(PAIRS, Moody, tmp_path, most_force=3.0)
    assert third.frames[1].energy == made.frames[1].energy
    assert Moody.made == 6
    assert label(PAIRS[:1], Moody).frames[0].energy == made.frames[0].energy


def test_labels_are_those_of_the_calculator(tmp_path):
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.05, rng=np.random.default_rng(0))
    (frame,) = label([crystal], EMT, tmp_path).frames
    crystal.calc = EMT()
    assert frame.energy == crystal.get_potential_energy()
    np.testing.assert_array_equal(frame.forces, crystal.get_forces())
    np.testing.assert_allclose(frame.stress, crystal.get_stress(voigt=False))
    assert set(json.loads((tmp_path / "0000.json").read_text())) == {"energy", "forces", "stress"}
    assert label(PAIRS[:1], Moody).frames[0].stress is None


def test_a_share_of_new_frames_is_held_out():
    frames = {"train": [_frame(molecule("H2O"), i) for i in range(3)], "validation": [], "test": []}
    new = [_frame(molecule("H2O"), 10 + i) for i in range(10)]
    made = extend(frames, new, 3, (0, 1))
    assert len(made["validation"]) == 3
    assert len(made["train"]) == 10
    assert sorted(f.number for f in made["train"] + made["validation"]) == [0, 1, 2, *range(10, 20)]
    numbers = {
        tuple(f.number for f in extend(frames, new, 3, (0, r))["validation"]) for r in range(9)
    }
    assert len(numbers) > 5
    assert frames["validation"] == []


def test_calculators_by_name(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from ase.calculators.emt import EMT\n"
        "class Box:\n    inner = EMT\ndef wrong():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    for text in ("ase.calculators.emt:EMT", "mine.py:Box.inner", "mine:Box.inner",
                 f"{tmp_path / 'mine.py'}:Box.inner"):  # fmt: skip
        make = calculators.named(text)
        assert isinstance(make(), EMT)
        assert make() is not make()
    for text, told in (
        ("nonsense", 'no calculator "nonsense"'),
        ("nowhere:EMT", "cannot be imported"),
        ("nowhere.py:EMT", "cannot be imported"),
        ("mine:Nothing", "mine has no callable Nothing"),
        ("mine:", 'no calculator "mine:"'),
    ):
        with pytest.raises(UserError, match=told):
            calculators.named(text)
    with pytest.raises(UserError, match="gave a int, which is no ASE calculator"):
        calculators.named("mine:wrong")()


def test_the_shipped_default_is_gfn2_xtb():
    pytest.importorskip("tblite")
    atoms = molecule("H2O")
    made = [label([atoms], calculators.named(n)).frames[0].energy for n in ("gfn2-xtb", "gfn1-xtb")]
    assert made[0] == pytest.approx(-137.968, abs=0.01)  # tblite's own example
    assert made[1] == pytest.approx(-156.97, abs=0.1)
