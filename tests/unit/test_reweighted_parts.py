"""Decisions of trainers by reweighting, without a simulation: when to renew, how far to step."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from bayespot.errors import UserError
from bayespot.md import NVE, Length, Simulation
from bayespot.observed import Measurements, Observed, Tracked
from bayespot.prior import WeightPrior
from bayespot.reweight import Samples
from bayespot.trainers import Interleaved, RelativeEntropy, Resampler, Target, Trainer, reference
from bayespot.trainers.averages import Averages
from bayespot.trainers.reweighted import Objective, Reweighted, ReweightedState
from tests.physics.traps import ATOMS, SYSTEM, Spread, Trap, trap_simulation

FAR = jnp.asarray([0.1, 1.0])


class Slide(Reweighted):
    """A slope of 8; shares of two points fall with the distance from 0, at different rates."""

    def objective(self, params, cached, reference, lists, count):
        return Objective(8 * params["log_k"], {}, jnp.ones(2), jnp.asarray(False))

    def _shares(self, params, reference, lists):
        return jnp.exp(-jnp.abs(params["log_k"]) * FAR), jnp.asarray(False)


def _state(*starts, fractions=1.0, **more):
    simulation = trap_simulation((300.0, 600.0), frames=4)
    trainer = Slide(simulation, optax.sgd(1.0), replicas=2, **more)
    state = trainer.init(jax.random.key(0), {"log_k": jnp.asarray(starts)})
    fraction = jnp.broadcast_to(jnp.asarray(fractions), (len(starts), 2))
    made = state.reference._replace(fraction=fraction, made=jnp.asarray(1))
    return trainer, state._replace(reference=made)


def test_steps_are_trusted_where_every_point_keeps_enough():
    """8, 4, 2, 1: exp(-1) is the first share of the poorer point above 0.3."""
    trainer, state = _state(0.0, trust=0.3)
    new, record = trainer.update(state)
    assert float(new.params["log_k"][0]) == -1.0
    assert record["step_halved"][0] == 3
    np.testing.assert_allclose(new.reference.fraction[0], np.exp(-FAR), rtol=1e-6)
    assert float(new.shrink[0]) == 1.0
    # what a failure shortened grows again by a tenth
    new, record = trainer.update(state._replace(shrink=jnp.asarray([0.5])))
    assert (float(new.params["log_k"][0]), record["step_halved"][0]) == (-1.0, 2)
    assert float(new.shrink[0]) == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("fractions", "renewed"),
    [(((0.95, 0.95), (0.95, 0.5)), True), (((0.95, 0.91), (0.95, 0.95)), False)],
)
def test_the_worst_point_of_the_worst_member_renews_all(fractions, renewed, monkeypatch):
    trainer, state = _state(0.0, 0.0, fractions=fractions)
    calls = []
    monkeypatch.setattr(trainer, "_renewed", lambda s: calls.append(1) or s)
    _, record = trainer.update(state)
    assert len(calls) == renewed
    assert (record["trajectories"] == renewed).all()


def test_parameters_of_others_are_counted_anew():
    trainer, state = _state(0.0)
    moved = {"log_k": jnp.asarray([2.0])}
    new = trainer.with_params(state, moved)
    np.testing.assert_allclose(new.reference.fraction[0], np.exp(-2 * FAR), rtol=1e-6)
    none = state._replace(reference=state.reference._replace(made=jnp.asarray(0)))
    np.testing.assert_array_equal(trainer.with_params(none, moved).reference.fraction, [[1, 1]])


def _samples(replicas, frames=4):
    shape = (replicas, frames)
    return Samples(jnp.zeros((*shape, ATOMS, 3)), jnp.zeros((*shape, 3, 3)), jnp.zeros(shape))


def test_shares_are_of_the_frames_that_count():
    resampler = Resampler(trap_simulation(frames=4), 2)
    energy = jnp.zeros((2, 4)).at[1].set(jnp.nan)  # of a trajectory that failed
    (point,) = resampler.points
    log_w, share = point.weigh(energy, _samples(2), jnp.asarray([True, False]))
    assert float(share) == pytest.approx(1.0)
    np.testing.assert_allclose(np.exp(log_w), [0.25] * 4 + [0] * 4)


@pytest.mark.parametrize("kept", [64e6, 0.0])
def test_renewal(kept, monkeypatch):
    """The first simulation warms up, each starts where the last ended, and a replica that failed
    where another of its point is; neighbours are kept where there is room."""
    monkeypatch.setattr(reference, "KEPT_LISTS", kept)
    simulation = trap_simulation((300.0, 600.0, 600.0), frames=4)
    resampler = Resampler(simulation, 3, warm_up=2)
    starts = []

    def run(key, params, starts_of=starts, **more):
        starts_of.append(np.asarray(more["starts"])[0, :, 0, 0])
        here = more["starts"] + jnp.asarray([1.0, 2.0, 3.0])[:, None, None]
        frames = jax.tree.map(lambda x: x[None], _samples(3))[:3]
        cells = jnp.broadcast_to(SYSTEM.cell, (1, 3, 3, 3))
        final = types.SimpleNamespace(positions=here, cell=cells)
        return types.SimpleNamespace(final=final, frames=frames, reason=np.array([[0, 0, 2]]))

    monkeypatch.setattr(simulation, "run", run)
    monkeypatch.setattr(resampler, "_tracked", lambda old, new: old.free_energy)
    params = {"log_k": jnp.zeros(1)}
    empty = resampler.empty(params)
    assert (empty.samples.lists is None) == (kept == 0)
    first = resampler.renew(jax.random.key(0), params, empty)
    assert [x.tolist() for x in starts] == [[0, 0, 0], [1, 2, 3], [2, 4, 6]]
    assert jax.tree.structure(first.samples) == jax.tree.structure(empty.samples)
    assert np.asarray(first.valid).tolist() == [[True, True, False]]
    assert np.asarray(first.last)[0, :, 0, 0].tolist() == [3, 6, 6]  # not 9
    resampler.renew(jax.random.key(1), params, first)
    assert [x.tolist() for x in starts[3:]] == [[3, 6, 6]]


def test_relative_entropy_takes_its_frames_in_turns():
    """Strided, another share each time, until all were seen; failed replicas count nothing."""
    frames = np.sqrt(np.arange(6.0))[:, None, None] * np.ones((6, ATOMS, 3))
    trainer = RelativeEntropy(
        trap_simulation(frames=4), [frames], optax.sgd(1.0), replicas=2, frames_per_update=2
    )
    params, lists = {"log_k": jnp.asarray(0.0)}, trainer.resampler.lists
    each = 1.5 * ATOMS  # energy of frame n is that times n
    found = [
        float(trainer._of_data(params, trainer.data[0], lists, jnp.asarray(n))[0]) / each
        for n in range(4)
    ]
    np.testing.assert_allclose(found, [1.5, 2.5, 3.5, 1.5], rtol=1e-5)
    made = trainer.resampler.empty({"log_k": jnp.zeros(1)})
    one = jax.tree.map(lambda x: x[0], made._replace(made=None, failed=None))
    one = one._replace(valid=jnp.asarray([True, False]))
    told = trainer.objective(params, {}, one, lists, jnp.asarray(0)).record
    assert float(told["free_energy"]) == pytest.approx(0.0, abs=1e-7)  # frames where nothing acts


def test_frames_of_failed_trajectories_may_hold_anything():
    averages = Averages(Resampler(trap_simulation(frames=4), 2), [Target(Spread(), 0.02)])
    params = {"log_k": jnp.asarray(0.0)}
    made = averages.resampler.empty({"log_k": jnp.zeros(1)})
    one = jax.tree.map(lambda x: x[0], made._replace(made=None, failed=None))
    one = one._replace(valid=jnp.asarray([True, False]))
    cached = {"spread": {"square": jnp.full((2, 4), jnp.nan).at[0].set(jnp.arange(4.0))}}
    lists = averages.resampler.lists
    (value,), (variance,), shares, _ = averages.of(params, cached, one, lists, errors=True)
    assert (float(value), float(shares[0])) == (1.5, 1.0)
    # of four pieces of one frame: their variance over 4
    assert float(variance) == pytest.approx(np.var(np.arange(4.0), ddof=1) / 4, rel=1e-5)


def test_measurements_by_hand(monkeypatch):
    """A weight multiplies a target's log likelihood, and Monte-Carlo noise widens it."""
    targets = [Target(Spread(), 2.0, 0.3, weight=0.5), Target(Spread("other"), 5.0, 0.1)]
    measured = Measurements(trap_simulation(frames=4), targets)
    given = ([jnp.asarray(2.5), jnp.asarray(4.9)], [jnp.asarray(0.16), jnp.asarray(0.0)])
    monkeypatch.setattr(measured.averages, "of", lambda *_, **__: (*given, None, None))
    params = {"log_k": jnp.zeros(())}
    tracked = Tracked(None, None, None, tuple(jax.tree.leaves(measured.resampler.lists)))
    expected = 0.5 * norm(2.5, 0.5).logpdf(2.0) + norm(4.9, 0.1).logpdf(5.0)
    found = float(measured.log_likelihood(params, tracked))
    assert found == pytest.approx(expected, rel=1e-5)
    # by itself and with a prior, tempered once
    prior = WeightPrior.normal(2.0)
    observed = Observed(measured, prior=prior, temperature=0.5)
    position = {"potential": params, "noise": {}}
    assert float(observed.log_density(position, tracked)) == pytest.approx(
        2 * (expected + norm(0.0, 2.0).logpdf(0.0)), rel=1e-5
    )


class Said(Trainer):
    """Says losses that it was told, and moves parameters by 1."""

    def __init__(self, losses):
        self.losses = losses

    def init(self, key, params):
        return ReweightedState(params, None, None, None, None, key, 0)

    def update(self, state):
        loss = self.losses[state.count]
        moved = jax.tree.map(lambda x: x + 1.0, state.params)
        return state._replace(params=moved, count=state.count + 1), {"loss": np.array([loss])}


def test_the_guard_halves_the_turns_of_others_and_gives_them_back():
    """The second loss of "a" is above twice its best: turns of "b" count half, then more again."""
    both = Interleaved({"a": Said([1.0, 3.0, 1.0, 1.0]), "b": Said([1.0] * 4)}, tolerance=2.0)
    state, shares = both.init(jax.random.key(0), {"x": jnp.zeros(1)}), []
    for _ in range(4):
        state, record = both.update(state)
        shares.append((record["a/share"][0], record["b/share"][0]))
    np.testing.assert_allclose(shares, [(1, 1), (1, 0.5), (1, 0.55), (1, 0.605)], rtol=1e-6)
    assert float(state.params["x"][0]) == pytest.approx(4 + 1 + 0.5 + 0.55 + 0.605)


def test_constant_energy_has_no_weights():
    simulation = Simulation(Trap(), SYSTEM, NVE(300.0), Length(16, stride=16, blocks=1), keep=1)
    with pytest.raises(UserError, match="constant energy has none"):
        Resampler(simulation, 1)
