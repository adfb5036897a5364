"""StABlE: what breaks is gone back to, learnt from, and breaks no more."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms

from bayespot.data import Batch
from bayespot.errors import UserError
from bayespot.md import NVE, NVT, Length, RDFDeviation, Simulation, Stability
from bayespot.md.program import Carry
from bayespot.md.stability import DRIFTED
from bayespot.neighbors import AllPairs, safe_norm
from bayespot.observables import RDF, VACF, BondDistribution, Context
from bayespot.potentials import Potential, energy_and_forces
from bayespot.reweight import Samples
from bayespot.system import System
from bayespot.trainers import Neighborhoods, Phase, StABlE, Target, Weights, fit, rewinding
from bayespot.trainers.boltzmann import Boltzmann, Estimate
from bayespot.trainers.label_errors import LabelErrors, component_counts
from bayespot.trainers.learning import Step
from bayespot.units import BOLTZMANN

pytestmark = pytest.mark.usefixtures("compile_fast")
BONDS, LENGTH = ((0, 1), (1, 2)), 1.5
CHAIN = System.from_ase(Atoms("C3", [(0, 0, 0), (LENGTH, 0, 0), (LENGTH, LENGTH, 0)]))
KT = BOLTZMANN * 500.0
DENSITY = BondDistribution("bonds", BONDS, 1.0, 2.0, 10)
REPLICAS = 12
STABILITY = Stability(BONDS, (LENGTH, LENGTH), 0.4)


@dataclasses.dataclass(frozen=True)
class Morse(Potential):
    """Bonds ``D (1 - exp(-a (d - d0)))^2``; weak ones break."""

    @property
    def cutoff(self):
        return 0.0

    def init(self, key, system):
        return {"log_depth": jnp.zeros(()), "log_width": jnp.zeros(())}

    def atomic_energies(self, params, system, neighbors):
        i, j = np.asarray(BONDS).T
        stretch = safe_norm(system.positions[j] - system.positions[i]) - LENGTH
        curve = (1 - jnp.exp(-jnp.exp(params["log_width"]) * stretch)) ** 2
        return jnp.zeros(3).at[i].add(jnp.exp(params["log_depth"]) * curve)


WEAK = {"log_depth": jnp.log(0.2), "log_width": jnp.log(2.0)}
BOTH = {"log_depth": jnp.log(jnp.asarray([0.2, 3.0])), "log_width": jnp.log(2.0) * jnp.ones(2)}
"""A weak chain and a strong one."""


def _exact_density():
    """p(d) ~ d^2 exp(-u/kT): bonds of a chain without angles know nothing of each other."""
    d = np.linspace(0.8, 2.2, 1401)
    p = d**2 * np.exp(-3.0 * (1 - np.exp(-2.0 * (d - LENGTH))) ** 2 / KT)
    inside = np.floor((d - 1.0) * 10).astype(int)
    return np.array([p[inside == b].sum() for b in range(10)]) / p.sum() * 10


TARGET = Target(DENSITY, _exact_density())


def _simulation(steps=100, observables=(), stability=STABILITY, ensemble=None, potential=None):
    length, potential = Length(steps, stride=10, blocks=1), potential or Morse()
    ensemble = ensemble or NVT(500.0, 1.0, friction=0.02)
    return Simulation(potential, CHAIN, ensemble, length, observables, stability=stability, keep=1)


def _trainer(optimizer=None, simulation=None, target=TARGET, **more):
    settings = {"replicas": REPLICAS, "rewind": 2, "f_max": 0.5, "f_min": 0.1, **more}
    optimizer = optimizer or optax.adam(0.1)
    return StABlE(simulation or _simulation(), [target], optimizer, **settings)


def _unstable(params):
    """Fraction of fresh trajectories that break within 2 ps."""
    session = _simulation().session(jax.random.key(99), params, replicas=REPLICAS)
    for _ in range(20):
        session.advance()
    return np.mean(~session.stable, axis=1)


def test_a_molecule_that_breaks_learns_not_to():
    """One member is weak, the other needs to learn nothing, and does not."""
    before = _unstable(BOTH)
    assert before[0] > 0.9
    assert before[1] == 0
    trainer = _trainer(f_max=0.2, f_min=0.0)
    made = fit(jax.random.key(0), trainer, BOTH, 60, stop=trainer.stable(1600))
    assert made.stopped == "every member is stable for 1600 steps"
    assert len(made.history["loss"]) < 60
    assert _unstable(made.params)[0] < 0.4
    for name in BOTH:
        assert float(made.params[name][1]) == float(BOTH[name][1])
    phase = made.history["phase"]
    assert (phase[:, 1] == Phase.SIMULATE).all()
    assert phase[0, 0] == phase[-1, 0] == Phase.SIMULATE
    learnt = phase[:, 0] == Phase.LEARN
    assert learnt.any()
    loss = made.history["loss"][:, 0]
    assert loss[learnt][-1] < loss[learnt][0] / 2
    assert np.isfinite(loss).all()
    np.testing.assert_array_equal(np.isfinite(made.history["gradient_norm"]), phase == 1)
    # phases end where the fraction of unstable replicas says so
    unstable, steps = made.history["unstable"][:, 0], made.history["steps"][:, 0]
    for i in range(len(phase) - 1):
        switched = unstable[i] <= 0.0 if learnt[i] else unstable[i] >= 0.2
        assert learnt[i + 1] == (learnt[i] != switched)
    assert steps[-1] >= 1600
    assert (steps[learnt] == 0).all()


def test_what_broke_breaks_again_until_something_is_learnt():
    """Where no steps are taken, the same replicas break in every update of the learning phase."""
    trainer = _trainer(optax.sgd(0.0), f_min=0.0)
    state, learnt = trainer.init(jax.random.key(0), BOTH), 0
    for _ in range(12):
        before = np.asarray(state.trajectories.reason)
        state, record = trainer.update(state)
        if record["phase"][0] == Phase.LEARN:
            learnt += 1
            np.testing.assert_array_equal(state.trajectories.reason[0], before[0])
            assert record["unstable"][0] >= 0.5
    assert learnt > 3


@dataclasses.dataclass(frozen=True)
class HarmonicBonds(Potential):
    """Bonds ``k/2 (d - d0)^2``: what they average is known."""

    @property
    def cutoff(self):
        return 0.0

    def init(self, key, system):
        return {"log_k": jnp.zeros(())}

    def atomic_energies(self, params, system, neighbors):
        i, j = np.asarray(BONDS).T
        stretch = safe_norm(system.positions[j] - system.positions[i]) - LENGTH
        return jnp.zeros(3).at[i].add(0.5 * jnp.exp(params["log_k"]) * stretch**2)


def _exact_spring_density(log_k):
    d = np.linspace(0.5, 2.5, 20001)
    p = d**2 * np.exp(-0.5 * np.exp(log_k) * (d - LENGTH) ** 2 / KT)
    inside = np.floor((d - 1.0) * 10).astype(int)
    return np.array([p[inside == b].sum() for b in range(10)]) / p.sum() * 10


def _equilibrium(key, log_k, replicas):
    """Chains with bonds of the exact law, in any direction."""
    length, direction = jax.random.split(key)
    d = np.linspace(0.5, 2.5, 20001)
    p = np.cumsum(d**2 * np.exp(-0.5 * np.exp(log_k) * (d - LENGTH) ** 2 / KT))
    drawn = np.interp(jax.random.uniform(length, (replicas, 2, 1)) * p[-1], p, d)
    bonds = drawn * np.asarray(jax.random.ball(direction, 3, shape=(replicas, 2)))
    bonds *= drawn / np.linalg.norm(bonds, axis=2, keepdims=True)
    return np.stack([0 * bonds[:, 0], bonds[:, 0], bonds.sum(axis=1)], axis=1)


def test_a_share_of_exactly_f_max_ends_a_phase():
    """One of two chains is torn; strong ones that are not go on, and learning ends at once."""
    starts = np.stack([np.asarray(CHAIN.positions)] * 2)[None]
    starts[0, 1, 2, 1] += 3.0
    strong = jax.tree.map(lambda x: x[1:], BOTH)
    trainer = _trainer(replicas=2, rewind=1, f_min=0.0, starts=jnp.asarray(starts))
    state, record = trainer.update(trainer.init(jax.random.key(0), strong))
    assert (record["unstable"][0], record["phase"][0]) == (0.5, Phase.SIMULATE)
    assert state.phase[0] == Phase.LEARN
    here = state.trajectories.anchor
    whole = here.set(position=jnp.broadcast_to(CHAIN.positions, here.position.shape))
    state = state._replace(trajectories=state.trajectories._replace(anchor=whole))
    state, record = trainer.update(state)
    assert (record["unstable"][0], record["phase"][0]) == (0.0, Phase.LEARN)
    assert state.phase[0] == Phase.SIMULATE


@pytest.mark.parametrize("slope", [2.0, np.nan, np.inf])
def test_wrecks_teach_nothing(slope):
    """A gradient that is not finite moves neither parameters nor the optimizer."""

    class Told(Boltzmann):
        targets = ()

        def differentiate(self, params, samples, lists, key):
            found = Estimate(jnp.zeros(()), (), jnp.asarray(False))
            return found, {"x": jnp.asarray([1.0, slope])}

    step = Step(Told.__new__(Told), optax.adam(0.1), LabelErrors(Morse(), Weights()), 1.0, 1)
    params = {"x": jnp.asarray([1.0, 2.0])}
    before = step.optimizer.init(params)
    new, moved, *_ = step._learn(
        params,
        before,
        Samples(*[jnp.zeros((1, 3, 3))] * 2, jnp.zeros(1)),
        None,
        jax.random.key(0),
        None,
    )
    stays = not np.isfinite(slope)
    np.testing.assert_allclose(new["x"], [1.0, 2.0] if stays else [0.9, 1.9], rtol=1e-5)
    assert (int(moved[0].count) == 0) == stays


def test_a_step_of_learning_is_that_of_the_exact_law():
    """Springs too soft and too stiff: the step follows the exact slope of the loss, and the
    average that MD then makes is nearer the target by as much as the exact law says."""
    log_k, wanted, rate = np.log([1.5, 6.0]), np.log(3.0), 0.5
    target = Target(DENSITY, _exact_spring_density(wanted))

    def loss(x):
        return np.mean((_exact_spring_density(x) - target.value) ** 2)

    slope = np.array([(loss(x + 0.02) - loss(x - 0.02)) / 0.04 for x in log_k])
    keys = jax.random.split(jax.random.key(3), 2)
    starts = np.stack([_equilibrium(k, x, 100) for k, x in zip(keys, log_k, strict=True)])
    wide = Stability(BONDS, (LENGTH, LENGTH), 1.5)  # nothing breaks
    simulation = _simulation(1500, stability=wide, potential=HarmonicBonds())
    trainer = StABlE(
        simulation, [target], optax.sgd(rate), replicas=100, f_min=0.0, starts=jnp.asarray(starts)
    )
    params = {"log_k": jnp.asarray(log_k)}
    state = trainer.init(jax.random.key(4), params)
    state, first = trainer.update(state._replace(phase=jnp.full(2, Phase.LEARN, jnp.int32)))
    learnt = np.asarray(state.params["log_k"])
    np.testing.assert_allclose(learnt - log_k, -rate * slope, rtol=0.15)
    np.testing.assert_allclose(first["loss"], [loss(x) for x in log_k], rtol=0.15)
    # starts are of the old law, and forgotten in a tenth of the time that is averaged
    _, second = trainer.update(state)
    np.testing.assert_allclose(second["loss"], [loss(x) for x in learnt], rtol=0.2)
    assert (second["loss"] < 0.7 * first["loss"]).all()


def test_training_resumes_bit_for_bit(tmp_path):
    """With labels, parts of the molecule, and several estimates of the gradient."""

    one_bond = BondDistribution("bond", ((0, 1),), 1.0, 2.0, 10)

    def new():
        return _trainer(
            target=Target(one_bond, TARGET.value), f_max=0.3, labels=_labels(),
            label_frames=3, states=20,
            neighborhoods=Neighborhoods(((0, 1), (2, 1)), ((0, 1),), (LENGTH,), 20),
        )  # fmt: skip

    def run(trainer, updates, where):
        return fit(jax.random.key(6), trainer, BOTH, updates, checkpoint=where, seconds_between=0.0)

    first = new()
    whole = run(first, 5, tmp_path / "a.npz")
    run(first, 3, tmp_path / "b.npz")
    rest = run(new(), 5, tmp_path / "b.npz")
    assert set(whole.history["phase"][:, 0]) == {Phase.SIMULATE, Phase.LEARN}
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(rest.state), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in whole.history.items():
        np.testing.assert_array_equal(values, rest.history[name])


def _labels():
    """Twelve frames with energies and forces of the weak chain."""
    positions = CHAIN.positions + 0.1 * jax.random.normal(jax.random.key(1), (12, 3, 3))
    systems = jax.vmap(lambda x: CHAIN.replace(positions=x))(positions)
    nobody = AllPairs(jnp.zeros(12, bool))
    energy, forces = jax.jit(
        jax.vmap(lambda s: energy_and_forces(Morse(), WEAK, s, AllPairs(jnp.asarray(False))))
    )(systems)
    return Batch(systems, nobody, energy, forces)


def test_labels_hold_the_potential_where_it_was():
    """The targets want another one than the labels do."""
    labels = _labels()
    errors = LabelErrors(Morse(), Weights())
    compiled = jax.jit(lambda p: errors.loss(p, labels, jnp.ones(12), component_counts(labels)))

    def label_loss(params):
        one = jax.tree.map(lambda x: x[0], params)
        return float(compiled(one))

    start = {**BOTH, "log_depth": BOTH["log_depth"].at[0].add(0.3)}
    made = {}
    for weight in (0.0, 3000.0):
        trainer = _trainer(
            optax.adam(0.03), f_max=0.2, f_min=0.01, labels=labels, label_weight=weight,
            label_frames=12,
        )  # fmt: skip
        made[weight] = fit(jax.random.key(2), trainer, start, 12)
    free, held = (label_loss(x.params) for x in made.values())
    assert free > 5 * label_loss(start)
    assert held < label_loss(start)
    told = made[3000.0].history
    learnt = told["phase"][:, 0] == Phase.LEARN
    assert learnt.sum() > 3
    # all twelve frames are in every mini-batch
    assert told["label_loss"][learnt][0, 0] == pytest.approx(label_loss(start), rel=1e-4)
    assert np.isnan(told["label_loss"][~learnt]).all()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Clock:
    """A state that tells the time."""

    time: jax.Array


def test_replicas_go_back_by_t_or_to_before_they_broke():
    """Two members, three replicas, three blocks of 10 steps an update."""
    times = np.zeros((2, 3), int)
    here = rewinding.start(Clock(jnp.asarray(times)), 3)
    nobody = jnp.asarray([False, False])

    def carry(here, now, reason, failed):
        return Carry(Clock(jnp.asarray(now)), None, jnp.asarray(reason), jnp.asarray(failed), None)

    def update(here, learns, breaks):
        """``breaks``: {(member, replica): step of the update after which it stands still}."""
        here = rewinding.begin(here, jnp.asarray(learns))
        now, reason = np.array(here.now.time), np.array(here.reason)
        failed = np.where(reason > 0, 0, -1)
        for block in range(3):
            here = rewinding.remember(here, carry(here, now, reason, failed))
            for where in np.ndindex(2, 3):
                stop = breaks.get(where, 1000) - 10 * block
                if reason[where]:
                    continue
                now[where] += min(10, stop)
                if stop <= 10:
                    reason[where], failed[where] = 2, breaks[where]
        nobody_drifted = jnp.zeros((2, 3), jnp.int32)
        return rewinding.end(here, carry(here, now, reason, failed), 30, nobody_drifted)

    here = update(here, nobody, {})
    here = update(here, nobody, {(0, 0): 4, (0, 1): 25})
    np.testing.assert_array_equal(here.now.time, [[34, 55, 60], [60, 60, 60]])
    np.testing.assert_array_equal(here.steps, here.now.time)
    here = update(here, nobody, {(0, 2): 30, (1, 0): 10})
    np.testing.assert_array_equal(here.now.time, [[34, 55, 90], [70, 90, 90]])
    np.testing.assert_array_equal(here.reason != 0, [[1, 1, 1], [1, 0, 0]])
    here = rewinding.switch(here, jnp.asarray([True, False]), nobody)
    # at most 30 steps before, where a block begins
    np.testing.assert_array_equal(here.anchor.time[0], [10, 30, 60])
    np.testing.assert_array_equal(here.anchor.time[1], 0)
    np.testing.assert_array_equal(here.steps, [[0, 0, 0], [70, 90, 90]])
    before = here
    here = update(here, [True, False], {(0, 1): 7})
    np.testing.assert_array_equal(here.now.time, [[40, 37, 90], [70, 120, 120]])
    np.testing.assert_array_equal(here.reason != 0, [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(here.anchor.time, before.anchor.time)
    again = update(here, [True, False], {})
    np.testing.assert_array_equal(again.now.time[0], [40, 60, 90])
    # those unstable when learning ends stand still in the next simulation
    here = rewinding.switch(here, nobody, jnp.asarray([True, False]))
    here = update(here, nobody, {(0, 0): 1})
    np.testing.assert_array_equal(here.now.time[0], [41, 37, 120])
    np.testing.assert_array_equal(here.steps[0], [1, 0, 30])
    here = rewinding.switch(here, jnp.asarray([True, False]), nobody)
    np.testing.assert_array_equal(here.anchor.time[0], [20, 30, 90])


RADIAL = RDF("g", 2.0, 4)


def _rdf(reference=None, **more):
    return RDFDeviation(RADIAL, np.zeros(4) if reference is None else reference, **more)


def test_structures_that_drift_away():
    """Integrals of |g - 1| over windows of two blocks, for two draws of one replica."""
    shells = 4 / 3 * np.pi * np.diff(np.linspace(0, 2, 5) ** 3)
    curves = np.ones((4, 2, 1, 4))
    curves[1, 0, 0, 2], curves[2, 0, 0, 2] = 2.0, -0.5  # averages 1.5, 0.75, 0.25
    curves[2:, 1, 0] = 3.0
    means = {"g": {"pairs": curves * shells}}
    criterion = _rdf(np.ones(4), blocks=2, threshold=0.9)
    expected = np.array([[0.25, 0.125, 0.375], [0, 2, 4]])
    np.testing.assert_allclose(criterion.errors(means)[..., 0].T, expected, atol=1e-12)
    np.testing.assert_array_equal(criterion.first_failure(means), [[-1], [2]])
    strict = _rdf(np.ones(4), blocks=1, threshold=0.9)
    np.testing.assert_array_equal(strict.first_failure(means), [[-1], [2]])
    stricter = _rdf(np.ones(4), blocks=1, threshold=0.4)
    np.testing.assert_array_equal(stricter.first_failure(means), [[1], [2]])
    long = _rdf(np.ones(4), blocks=5)
    np.testing.assert_array_equal(long.first_failure(means), [[-1], [-1]])
    crowded = {"g": {"pairs": np.where(curves == 3.0, np.nan, curves) * shells}}
    np.testing.assert_array_equal(criterion.first_failure(crowded), [[-1], [2]])


def test_structure_alone_decides():
    """Weak bonds are longer than those of the reference."""
    rdf = RDF.of("g", CHAIN, 1.9, 19)
    simulation = _simulation(2000, [rdf], Stability())
    exact = simulation.run(jax.random.key(4), BOTH, replicas=REPLICAS)
    strong = exact.means["g"]["pairs"][:, 1].mean(axis=(0, 1))
    reference = rdf.reduce({"pairs": strong}, Context(500.0, 3))
    errors = RDFDeviation(rdf, reference).errors(exact.means)[0]
    # a chain that folds brings its ends together, which is rare: one of twelve may do so
    usual = np.sort(errors[1])[-2]
    assert usual < np.median(errors[0])
    threshold = (usual + np.median(errors[0])) / 2
    trainer = _trainer(
        simulation=simulation, rewind=1, structure=[RDFDeviation(rdf, reference, threshold)]
    )
    state, record = trainer.update(trainer.init(jax.random.key(5), BOTH))
    assert record["unstable"][0] >= 0.25
    assert record["unstable"][1] <= 1 / REPLICAS + 1e-6
    lost = np.asarray(state.trajectories.reason)
    assert set(np.unique(lost)) == {0, DRIFTED}
    np.testing.assert_array_equal(np.mean(lost != 0, axis=1), record["unstable"])
    # they stand still from then on
    later, _ = trainer.update(state._replace(phase=jnp.zeros_like(state.phase)))
    before, after = (np.asarray(s.trajectories.now.position) for s in (state, later))
    np.testing.assert_array_equal((before == after).all(axis=(2, 3)), lost != 0)
    # without the criterion nothing is found
    trainer.structure = (RDFDeviation(rdf, reference, 100 * threshold),)
    state, record = trainer.update(trainer.init(jax.random.key(5), BOTH))
    assert (record["unstable"] == 0).all()


def test_settings_are_checked():
    cases = [
        ({"f_min": 0.5}, "f_min is 0.5 and f_max 0.5"),
        ({"f_max": 1.5}, "f_max 1.5"),
        ({"rewind": 0}, "rewind 0"),
        ({"states": 1}, "states 1"),
        ({"label_weight": -1.0}, "label_weight is -1"),
        ({"starts": jnp.zeros((1, 3, 3, 3))}, "and 12 replicas are"),
        ({"simulation": _simulation(stability=Stability())}, "nothing says when"),
        ({"simulation": _simulation(ensemble=NVE(300.0))}, "constant energy has none"),
        ({"simulation": _simulation(ensemble=NVT((300.0,) * 6 + (400.0,) * 6))}, "at one state"),
        ({"structure": [_rdf()]}, "is not simulated"),
        ({"structure": [_rdf(blocks=3)], "simulation": _simulation(observables=[RADIAL])},
         "averaged over 3 blocks, and an update has 2"),
        ({"neighborhoods": Neighborhoods(((2, 3),), per_bin=None)}, "atoms 2 to 3"),
    ]  # fmt: skip
    for settings, message in cases:
        with pytest.raises(UserError, match=message):
            _trainer(**settings)
    with pytest.raises(UserError, match="keeps no frames"):
        _trainer(simulation=Simulation(Morse(), CHAIN, NVT(300.0), Length(100)))
    with pytest.raises(UserError, match="looks back in time"):
        StABlE(
            _simulation(), [Target(VACF("v", 3, 10.0), np.zeros(3))], optax.sgd(0.1),
            replicas=2,
        )  # fmt: skip
    watched = Simulation(
        Morse(), CHAIN, NVT(300.0), Length(100, 100, stride=10, blocks=1), [VACF("v", 3, 5.0)],
        stability=STABILITY, keep=1,
    )  # fmt: skip
    with pytest.raises(UserError, match="v looks back in time, and trajectories that go back"):
        _trainer(simulation=watched)
    with pytest.raises(UserError, match="reference of g"):
        _rdf(np.zeros(3))
    with pytest.raises(UserError, match="deviate by 0"):
        _rdf(threshold=0.0)
