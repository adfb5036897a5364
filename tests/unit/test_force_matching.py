"""Force matching against numbers worked out by hand, on a potential that is linear in two numbers.

``U = sum_i (k |r_i|^2 + e)`` has ``F_i = -2 k r_i`` and the stress ``(2 k / V) sum_i r_i r_i``.
"""

import dataclasses
from pathlib import Path

import ase
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bayespot.data import Frame, Shift, fit_shift, make_dataset, read
from bayespot.errors import UserError
from bayespot.potentials import CubicSpline, Potential, StillingerWeber
from bayespot.trainers import (
    ForceMatching,
    Weights,
    coarse_virials,
    corrected_virials,
    fit,
    patience,
    with_virials,
)
from bayespot.units import BOLTZMANN, GPA

pytestmark = pytest.mark.usefixtures("x64", "compile_module_fast")


@dataclasses.dataclass(frozen=True)
class Well(Potential):
    """Around the origin, whatever the cell."""

    @property
    def cutoff(self):
        return 1.0

    def init(self, key, system):
        return {"k": jax.random.normal(key), "e": jnp.zeros(())}

    def atomic_energies(self, params, system, neighbors):
        return params["k"] * jnp.sum(system.positions**2, axis=1) + params["e"]


GAMMA = Weights(energy=2.0, forces=3.0, stress=50.0)
SIX = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
TRUTH = (0.7, -0.3)


def _frames(count, seed, labelled=lambda i: i % 3 < 2):
    """Labels of the truth with noise; 2 to 4 atoms; some without stress."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        cell = np.diag([5.0, 6.0, 7.0]) + rng.random((3, 3))
        atoms = ase.Atoms(f"Ar{2 + i % 3}", pbc=True, cell=cell)
        atoms.positions = rng.normal(size=(len(atoms), 3))
        energy, forces, stress = _predict(*TRUTH, atoms)
        noise = rng.normal(size=(3, 3))
        made.append(
            Frame(
                atoms,
                energy + 0.1 * rng.normal(),
                forces + 0.1 * rng.normal(size=forces.shape),
                "made",
                i,
                stress + 1e-3 * (noise + noise.T) if labelled(i) else None,
            )
        )
    return made


def _predict(k, e, atoms):
    r = atoms.positions
    return k * np.sum(r**2) + e * len(r), -2 * k * r, 2 * k * r.T @ r / atoms.get_volume()


def _means(k, e, frames, every=None, each=None, isotropic=False):
    """Mean squares: energy per atom, force components, stress components; ``every`` frame is what
    the numbers of components come from."""
    every = every or frames
    each = np.ones(len(frames)) if each is None else each
    energy = forces = stress = 0.0
    for f, w in zip(frames, each, strict=True):
        u, p, s = _predict(k, e, f.atoms)
        energy += w * ((u - f.energy) / len(f.atoms)) ** 2
        forces += w * np.sum((p - f.forces) ** 2)
        if f.stress is not None:
            gap = s - f.stress
            six = [gap[c] ** 2 for c in SIX]
            stress += w * ((np.trace(gap) / 3) ** 2 if isotropic else np.mean(six))
    share = len(frames) / len(every)
    components = share * sum(3 * len(f.atoms) for f in every)
    known = share * sum(f.stress is not None for f in every)
    return np.array([energy / len(frames), forces / components, stress / known])


def _loss(k, e, *args, **kwargs):
    return np.array(dataclasses.astuple(GAMMA)) @ _means(k, e, *args, **kwargs)


def _batch(frames):
    return make_dataset(frames, Shift((18,), (0.0,)), 1.0).batch


TRAIN, VALID = _frames(10, 0), _frames(5, 1)
EACH = np.random.default_rng(2).random(10) + 0.2
START = {"k": np.array([1.5, -0.4, 2.0]), "e": np.array([0.5, 0.1, -1.0])}
KEY = jax.random.key(5)
UPDATES = 200


def _trainer(**changes):
    settings = {
        "validation": _batch(VALID),
        "batch_size": 4,
        "weights": GAMMA,
        "frame_weights": EACH,
        "average": 0.9,
    }
    return ForceMatching(Well(), _batch(TRAIN), optax.sgd(0.01), **(settings | changes))


@pytest.fixture(scope="module")
def trainer():
    with jax.enable_x64(True):
        return _trainer()


@pytest.fixture(scope="module")
def made(trainer):
    with jax.enable_x64(True):
        return fit(KEY, trainer, START, UPDATES)


def test_two_updates_by_hand(trainer):
    """Mini-batches, weights, gradient steps, moving average, validation, best parameters."""
    state = trainer.init(KEY, START)
    each = EACH / EACH.mean()
    theta = np.stack([START["k"], START["e"]], axis=1)
    average, taken, seen, found = theta.copy(), 0, [], []
    for _ in range(2):
        state, record = trainer.update(state)
        order = np.asarray(state.order)
        losses = np.zeros((3, 2))
        for m in range(3):
            for step in range(2):
                rows = order[m, 4 * step : 4 * step + 4]
                chosen = [TRAIN[i] for i in rows]

                def loss(x, chosen=chosen, rows=rows):
                    return _loss(*x, chosen, TRAIN, each[rows])

                losses[m, step] = loss(theta[m])
                # exact for a quadratic
                slope = [(loss(theta[m] + h) - loss(theta[m] - h)) / 2 for h in np.eye(2)]
                theta[m] -= 0.01 * np.array(slope)
                n = taken + step
                decay = min(0.9, (1 + n) / (10 + n))
                average[m] = decay * average[m] + (1 - decay) * theta[m]
        taken += 2
        seen.append(average.copy())
        np.testing.assert_allclose(record["loss"], losses.mean(1), rtol=1e-9)
        np.testing.assert_allclose(state.params["k"], theta[:, 0], rtol=1e-9)
        np.testing.assert_allclose(state.params["e"], theta[:, 1], rtol=1e-9)
        np.testing.assert_allclose(state.average["k"], average[:, 0], rtol=1e-9)
        held = np.array([_means(*x, VALID) for x in average])
        found.append(held @ [2.0, 3.0, 50.0])
        np.testing.assert_allclose(record["validation_loss"], found[-1], rtol=1e-9)
        for i, name in enumerate(("energy", "forces", "stress")):
            np.testing.assert_allclose(record[f"{name}_rmse"], np.sqrt(held[:, i]), rtol=1e-9)
    assert set(record) == {
        "loss", "alive", "validation_loss", "energy_rmse", "forces_rmse", "stress_rmse"
    }  # fmt: skip
    best = np.array(seen)[np.argmin(found, axis=0), range(3), 0]
    np.testing.assert_allclose(trainer.result(state)["k"], best, rtol=1e-9)


def test_mini_batches_are_unbiased():
    """Over all frames in four parts the gradient is that of the whole; the control divides by
    what the part itself holds."""
    each = EACH / EACH.mean()
    parts = [[0, 1], [2, 5], [3, 4, 6], [7, 8, 9]]

    def mean(own):
        made = [
            len(p) / 10 * _loss(1.0, 0.2, [TRAIN[i] for i in p], None if own else TRAIN, each[p])
            for p in parts
            if not own or any(TRAIN[i].stress is not None for i in p)
        ]
        return np.sum(made)

    whole = _loss(1.0, 0.2, TRAIN, TRAIN, each)
    assert mean(False) == pytest.approx(whole, rel=1e-12)
    assert mean(True) != pytest.approx(whole, rel=1e-3)


def test_it_learns(trainer, made):
    """To the noise of the labels; best parameters are those of the smallest validation loss."""
    history = made.history
    noise = _loss(*TRUTH, VALID)
    assert np.all(history["validation_loss"][-1] < 1.2 * noise)
    assert np.all(history["validation_loss"][0] > 5 * noise)
    k, e = (np.asarray(made.state.params[name]) for name in ("k", "e"))
    np.testing.assert_allclose(k, TRUTH[0], atol=0.05)
    np.testing.assert_allclose(e, TRUTH[1], atol=0.3)
    np.testing.assert_allclose(made.state.best_loss, history["validation_loss"].min(0), rtol=1e-12)
    for m in range(3):
        best = [_loss(*(float(made.params[n][m]) for n in ("k", "e")), VALID)]
        np.testing.assert_allclose(best, history["validation_loss"][:, m].min(), rtol=1e-9)
    assert not np.any(made.params["k"] == made.state.params["k"])  # averaged, not the last
    assert len(set(np.asarray(made.params["k"]).tolist())) == 3


def test_best_is_not_last(trainer, made):
    """Parameters that another trainer spoiled do not replace the best."""
    far = jax.tree.map(lambda x: x + 3.0, made.state.params)
    state = trainer.with_params(made.state, far)
    np.testing.assert_array_equal(state.average["k"], far["k"])
    state, record = trainer.update(state)
    assert np.all(record["validation_loss"] > 2 * np.asarray(made.state.best_loss))
    np.testing.assert_array_equal(trainer.result(state)["k"], made.params["k"])
    assert np.all(np.abs(state.params["k"] - TRUTH[0]) > 0.1)
    # the average starts again: it has left the spoiled parameters as a young one does
    assert np.all(np.abs(state.average["k"] - state.params["k"]) < 0.5)


def test_members_shuffle_on_their_own(trainer):
    state = trainer.init(KEY, START)
    orders = []
    for _ in range(3):
        state = trainer.update(state)[0]
        orders.append(np.asarray(state.order))
    orders = np.array(orders).reshape(9, 10)
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(10), (9, 1)))
    assert len({tuple(x) for x in orders}) == 9
    # equal starts part; one key gives one course
    same = {name: np.full(3, 1.0) for name in START}
    a, b = (trainer.update(trainer.init(KEY, same))[0].params["k"] for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert len(set(np.asarray(a).tolist())) == 3


def test_resume_is_bit_exact_and_compiles_nothing(trainer, made, tmp_path):
    where = tmp_path / "fm.npz"
    fit(KEY, trainer, START, UPDATES // 3, checkpoint=where)
    resumed = fit(KEY, trainer, START, UPDATES, checkpoint=where)
    for a, b in zip(jax.tree.leaves(made.state), jax.tree.leaves(resumed.state), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in made.history.items():
        np.testing.assert_array_equal(values, resumed.history[name])
    assert trainer._update._cache_size() == 1


def test_a_member_that_is_lost_freezes(trainer, made):
    """At its best, and only that member."""
    state, healthy = made.state, trainer.update(made.state)[0]
    broken = state.params["k"].at[1].set(np.inf)
    state, record = trainer.update(state._replace(params=state.params | {"k": broken}))
    assert record["alive"].tolist() == [True, False, True]
    assert np.isnan(record["loss"]).tolist() == [False, True, False]
    assert np.all(np.isfinite(record["validation_loss"]))
    for name in ("k", "e"):
        for values in (state.params, state.average, state.best):
            assert values[name][1] == made.params[name][1]
        np.testing.assert_array_equal(state.params[name][::2], healthy.params[name][::2])
    later, record = trainer.update(state)
    assert later.params["k"][1] == made.params["k"][1]
    assert np.isnan(record["loss"][1])
    assert trainer.with_params(later, made.params).alive.all()
    lost = {name: x * np.array([1.0, np.nan, 1.0]) for name, x in START.items()}
    whole = fit(KEY, trainer, lost, UPDATES, stop=patience("validation_loss", 4))
    assert len(whole.history["loss"]) < UPDATES
    assert "not improved" in whole.stopped
    assert whole.history["alive"][:, 1].sum() == 0
    assert np.isfinite(whole.params["k"]).tolist() == [True, False, True]


def test_updates_that_are_no_epochs():
    """Three mini-batches each of epochs of two; one step before the last is seen without average
    or validation, and the result is the last."""
    trainer = _trainer(steps=3, validation=None, average=None, frame_weights=None)
    once = _trainer(steps=1, validation=None, average=None, frame_weights=np.full(10, 7.0))
    state, single = trainer.init(KEY, START), once.init(KEY, START)
    for _ in range(2):
        state, record = trainer.update(state)
        assert set(record) == {"loss", "alive"}
        losses = []
        for _ in range(3):
            single, one = once.update(single)
            losses.append(one["loss"])
        np.testing.assert_allclose(record["loss"], np.mean(losses, axis=0), rtol=1e-12)
        np.testing.assert_allclose(state.params["k"], single.params["k"], rtol=1e-12)
        np.testing.assert_array_equal(state.order, single.order)
    np.testing.assert_array_equal(trainer.result(state)["k"], state.params["k"])
    assert state.average is None
    assert int(state.steps) == 6


def test_settings_that_leave_nothing_to_fit():
    bare = _batch([dataclasses.replace(f, stress=None) for f in TRAIN])
    for match, changes in (
        ("nothing to fit", {"weights": Weights(0.0, 0.0, 0.0)}),
        ("nothing to fit", {"weights": Weights(1.0, -1.0, 0.0)}),
        ("nothing to fit", {"weights": Weights(np.nan)}),
        ("frame_weights of shape", {"frame_weights": EACH[:3]}),
        ("frame_weights of shape", {"frame_weights": -EACH}),
        ("frame_weights of shape", {"frame_weights": 0 * EACH}),
        ("must be positive", {"batch_size": 0}),
        ("must be positive", {"steps": 0}),
        ("average is 1.0", {"average": 1.0}),
    ):
        with pytest.raises(UserError, match=match):
            _trainer(**changes)
    with pytest.raises(UserError, match="no training frame has a stress"):
        ForceMatching(Well(), bare, optax.sgd(0.1), weights=GAMMA)


SILICON = Path(__file__).parents[3] / "shared" / "data" / "silicon"


@pytest.mark.slow
@pytest.mark.skipif(not SILICON.is_dir(), reason="needs ../shared/data/silicon")
def test_stress_labels_of_silicon_pay():
    """Strained crystals without forces tell nothing but by their stress: with its weight the
    error of held-out stresses falls, at a small price in forces."""
    data = {}
    for name, take in (("train", 9), ("test", 3)):
        frames = read(SILICON / f"{name}.extxyz")
        kinds = [f.atoms.info["config_type"] for f in frames]
        data[name] = [
            frames[i]
            for kind in ("Elastic", "AIMD-NVT")
            for i in [i for i, k in enumerate(kinds) if k == kind][::take]
        ]
    potential = StillingerWeber() + CubicSpline(2.0, 3.77, 8, scale=0.02)
    shift = fit_shift(data["train"])
    train, test = (make_dataset(x, shift, 3.78).batch for x in data.values())
    one = jax.tree.map(lambda x: x[0], train.system)
    starts = jax.vmap(lambda k: potential.init(k, one))(jax.random.split(KEY, 2))
    last = {}
    for weight in (0.0, 300.0):
        trainer = ForceMatching(
            potential, train, optax.adam(optax.exponential_decay(0.03, 100, 0.1)),
            validation=test, batch_size=4, steps=10, weights=Weights(0.0, 1.0, weight),
            average=0.9,
        )  # fmt: skip
        made = fit(KEY, trainer, starts, 10)
        best = np.argmin(made.history["validation_loss"], axis=0)
        last[weight] = {
            name: np.take_along_axis(made.history[f"{name}_rmse"], best[None], axis=0)[0]
            for name in ("forces", "stress")
        }
        curves = np.asarray(made.params[1]["pair"])
        assert np.abs(curves[0] - curves[1]).max() > 1e-4
        assert np.abs(curves - np.asarray(made.state.params[1]["pair"])).max() > 1e-4
    print(last)
    assert np.all(last[300.0]["stress"] < 0.7 * last[0.0]["stress"])
    assert np.all(last[300.0]["forces"] < 1.2 * last[0.0]["forces"])


# pressure matching


def _virial(atoms, k=TRUTH[0]):
    return np.sum(atoms.positions * _predict(k, 0.0, atoms)[1])


def test_virials_become_the_stress_that_forces_give():
    """``sum r . F`` of the truth, matched isotropically: no error at the truth, and an error by
    hand elsewhere; with the other sign there is one."""
    virials = np.array([_virial(f.atoms) for f in TRAIN])
    labelled = with_virials(_batch(TRAIN), virials)
    frames = [
        dataclasses.replace(f, stress=-np.eye(3) * w / (3 * f.atoms.get_volume()))
        for f, w in zip(TRAIN, virials, strict=True)
    ]
    np.testing.assert_allclose(labelled.stress, [f.stress for f in frames], rtol=1e-12)
    trainer = ForceMatching(
        Well(), labelled, optax.set_to_zero(), validation=labelled, isotropic=True,
        weights=Weights(0.0, 0.0, 1.0),
    )  # fmt: skip
    params = {"k": np.array([TRUTH[0], -TRUTH[0], 0.2]), "e": np.zeros(3)}
    found = trainer.update(trainer.init(KEY, params))[1]["stress_rmse"]
    assert found[0] < 1e-15
    for m in (1, 2):
        by_hand = np.sqrt(_means(params["k"][m], 0.0, frames, isotropic=True)[2])
        assert found[m] == pytest.approx(by_hand, rel=1e-9)
        assert found[m] > 1e-2
    whole = np.sqrt(_means(*TRUTH, frames)[2])  # what all components would ask for
    assert whole > 1e-2


def test_coarse_virials_keep_the_pressure():
    """Of a gas of rigid triatomics and its beads: equal pressures, and unequal with the sign or
    the count of degrees of freedom wrong."""
    temperature, volume, molecules = 310.0, 900.0, 20
    kt = BOLTZMANN * temperature
    virials = np.random.default_rng(0).normal(-1.0, 3.0, 50)

    def pressure(dof, virial):
        return (dof * kt + np.mean(virial)) / (3 * volume)

    fine = pressure(6 * molecules, virials)
    targets = coarse_virials(virials, temperature, 6 * molecules, 3 * molecules)
    assert pressure(3 * molecules, targets) == pytest.approx(fine, rel=1e-12)
    for wrong in (virials, coarse_virials(virials, temperature, 3 * molecules, 6 * molecules)):
        assert pressure(3 * molecules, wrong) != pytest.approx(fine, rel=0.1)


def test_corrected_virials_bring_the_pressure_home():
    """A simulation that shows a part of what labels ask for, off by a constant."""
    volume, wanted, kt = 900.0, 0.1, 0.025

    def simulated(virials):  # GPa
        return (60 * kt + 0.8 * np.mean(virials) - 5.0) / (3 * volume) / GPA

    virials = np.full(4, -1.0)
    gaps = []
    for _ in range(6):
        found = simulated(virials)
        gaps.append(abs(found - wanted))
        virials = corrected_virials(virials, np.full(4, volume), wanted, found)
    assert gaps[0] > 0.1
    np.testing.assert_allclose(np.divide(gaps[1:], gaps[:-1]), 0.2, rtol=1e-6)


def test_virials_that_do_not_fit():
    batch = _batch(TRAIN)
    for wrong in (np.zeros(3), np.full(10, np.nan)):
        with pytest.raises(UserError, match="not one finite number for each of 10"):
            with_virials(batch, wrong)
    open_one = batch._replace(system=batch.system.replace(pbc=(True, False, True)))
    with pytest.raises(UserError, match="not periodic"):
        with_virials(open_one, np.zeros(10))
