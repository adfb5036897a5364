"""Ways to intervals, against harmonic atoms whose averages are known for every draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.errors import UserError
from bayespot.intervals import agreement, plan, reweighted
from bayespot.intervals.reweighted import shared_estimate
from bayespot.md import NVT, Frames, Length, Trajectories, simulate
from bayespot.observables import VACF, Context, Custom, MeanEnergy
from bayespot.potentials import CommitteeMean
from bayespot.system import System
from bayespot.uncertainty import draw_values, estimate
from bayespot.units import BOLTZMANN
from tests.physics.traps import Springs

ATOMS, KT = 4, BOLTZMANN * 300.0
CONTEXT = Context(300.0, ATOMS)


def _system():
    return System.from_ase(Atoms("Ar4", positions=np.eye(4)[:, :3] * 8))


def _width(frame):
    return jnp.mean(jnp.sum(frame.system.positions**2, axis=1))


SIZE, ENERGY = Custom("size", _width, unit="Å²"), MeanEnergy("energy")
DRAWS = 12


def _stiffness(spread, seed=0, draws=DRAWS):
    raw = np.random.default_rng(seed).normal(size=draws)
    return 1.0 + spread * (raw - raw.mean())


def _exact(k):
    """<r^2> of an atom."""
    return 3 * KT / k


def _frames(k, seed, replicas=8, frames=100):
    """Drawn from the exact law with stiffness ``k``: no MD."""
    noise = np.random.default_rng(seed).normal(size=(1, replicas, frames, ATOMS, 3))
    positions = noise * np.sqrt(KT / k)
    cells = np.broadcast_to(np.eye(3), (1, replicas, frames, 3, 3))
    energy = 0.5 * k * np.sum(positions**2, axis=(-1, -2))
    zero = np.zeros((1, replicas), int)
    return Trajectories({}, zero[None], zero, zero - 1, 0, frames=Frames(positions, cells, energy))


def _made(k, seed, method="direct", observables=(SIZE,), **more):
    params = {"k": jnp.asarray(k)}
    mean = CommitteeMean(Springs(), len(k))
    frames = _frames(k.mean(), seed, **more)
    return reweighted(
        Springs(), params, mean, params, _system(), frames, observables, CONTEXT, method=method
    )


def test_weights_give_every_draw_its_exact_average(x64):
    k = _stiffness(0.15)
    runs = [_made(k, seed).estimates["size"] for seed in range(20)]
    values = np.array([r.values for r in runs])
    errors = np.sqrt(np.mean([r.md**2 for r in runs]))
    # by the jackknife's own errors, over repeated sets of frames
    z = (values - _exact(k)) / errors
    assert 0.75 < np.sqrt(np.mean(z**2)) < 1.3
    # control: unweighted frames give all draws the same average, 15 % off
    assert np.sqrt(np.mean(((_exact(1.0) - _exact(k)) / errors) ** 2)) > 2
    # the error of the mean is shared by the draws: not that of one draw over sqrt(draws)
    means = np.array([r.mean for r in runs])
    shared = np.sqrt(np.mean([r.md_of_mean**2 for r in runs]))
    assert 0.6 < means.std(ddof=1) / shared < 1.6
    assert means.std(ddof=1) > 2 * errors / np.sqrt(DRAWS)
    parameter = np.sqrt(np.mean([r.parameter**2 for r in runs]))
    assert parameter == pytest.approx(_exact(k).std(ddof=1), rel=0.1)


def test_energies_are_those_of_each_draw(x64):
    made = _made(_stiffness(0.1), 3, observables=(ENERGY, SIZE))
    values = made.estimates["energy"].values.squeeze()
    np.testing.assert_allclose(values, 1.5 * ATOMS * KT, rtol=0.05)
    # equipartition: no spread over draws, unlike the stiffness itself
    assert values.std() < 0.3 * made.estimates["size"].values.std() / _exact(1.0) * 6 * KT


def test_the_cumulant_expansion_is_the_first_order(x64):
    k = _stiffness(0.3, seed=1)
    runs = [_made(k, seed, "cumulant").estimates["size"] for seed in range(20)]
    values, errors = np.array([r.values for r in runs]), np.array([r.md for r in runs])
    first_order = _exact(k.mean()) * (2 - k / k.mean())
    z = (values.mean(axis=0) - first_order) / (np.sqrt(np.mean(errors**2) / 20) + 1e-12)
    assert np.abs(z).max() < 4.5
    # control: with a spread of 30 % the exact averages are another curve
    off = (values.mean(axis=0) - _exact(k)) / np.sqrt(np.mean(errors**2) / 20)
    assert np.abs(off).max() > 6


def test_few_effective_frames_are_a_warning(x64):
    calm, wild = _made(_stiffness(0.02), 0), _made(_stiffness(0.6, seed=2), 0)
    assert calm.warning is None
    assert calm.share.min() > 0.9
    assert wild.share.min() < 0.1
    assert "too narrow" in str(wild.warning)
    assert "first order" in str(_made(_stiffness(0.6, seed=2), 0, "cumulant").warning)
    # exact for this law: ln w is a multiple of a chi-square number of 12 freedoms
    k = _stiffness(0.1, draws=2)
    big = _made(k, 1, replicas=8, frames=2000)
    ratio = k / k.mean()
    log_mean = -1.5 * ATOMS * np.log(ratio)  # ln <w>
    expected = np.exp(log_mean + 1.5 * ATOMS * (ratio - 1) / ratio)
    np.testing.assert_allclose(big.share, expected, rtol=0.02)


def test_frames_of_md_and_simulated_draws_agree(x64):
    k = _stiffness(0.15)
    params = {"k": jnp.asarray(k)}
    mean = CommitteeMean(Springs(), DRAWS)
    nvt, length = NVT(300.0, 40.0, friction=0.02), Length(6000, 1000, stride=20, blocks=6)
    starts = jnp.zeros((1, 4, ATOMS, 3)) + 0.1
    one = simulate(
        jax.random.key(0), mean, jax.tree.map(lambda x: x[None], params), _system(), nvt, length,
        [], starts=starts, keep=1,
    )  # fmt: skip
    made = reweighted(Springs(), params, mean, params, _system(), one, [SIZE], CONTEXT)
    each = simulate(
        jax.random.key(1), Springs(), params, _system(), nvt, length, [SIZE],
        starts=jnp.broadcast_to(starts, (DRAWS, *starts.shape[1:])),
    )  # fmt: skip
    draws = estimate(*draw_values(SIZE, each, CONTEXT)[:2])
    told = agreement(draws, made.estimates["size"], ("draws", "weights"))
    assert told.agree, told.sentence
    assert told.correlation > 0.5
    # control: weights of another temperature
    wrong = reweighted(
        Springs(), params, mean, params, _system(), one, [SIZE], Context(80.0, ATOMS)
    ).estimates["size"]
    told = agreement(draws, wrong, ("draws", "weights"))
    assert not told.agree, told.sentence
    assert "disagree" in told.sentence


def test_what_cannot_be_reweighted_is_refused(x64):
    k = _stiffness(0.1)
    with pytest.raises(UserError, match="looks back in time"):
        _made(k, 0, observables=(VACF("v", interval=10.0, lags=4),))
    none = _frames(1.0, 0)._replace(frames=None)
    params = {"k": jnp.asarray(k)}
    with pytest.raises(UserError, match="kept no frames"):
        reweighted(Springs(), params, Springs(), {"k": 1.0}, _system(), none, [SIZE], CONTEXT)
    lost = _frames(1.0, 0)._replace(reason=np.ones((1, 8), int))
    with pytest.raises(UserError, match="0 replicas"):
        reweighted(Springs(), params, Springs(), {"k": 1.0}, _system(), lost, [SIZE], CONTEXT)


def test_shared_noise_of_curves_is_told_apart():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(10, 5))
    pieces, found = 16, []
    for _ in range(200):
        # each piece sees all draws with one common error and one of its own
        noise = rng.normal(size=(pieces, 1, 5)) * 2.0 + rng.normal(size=(pieces, 10, 5)) * 1.0
        seen = truth + noise
        left = (seen.sum(axis=0) - seen) / (pieces - 1)
        found.append(shared_estimate(seen.mean(axis=0), left))
    error = np.std([f.mean for f in found], axis=0, ddof=1)
    told = np.sqrt(np.mean([f.md_of_mean**2 for f in found], axis=0))
    np.testing.assert_allclose(told, error, rtol=0.2)
    parameter = np.mean([f.values.var(axis=0, ddof=1) for f in found], axis=0)
    corrected = np.mean([f.parameter**2 for f in found], axis=0)
    exact = truth.var(axis=0, ddof=1)
    assert np.all(parameter - exact > 0.03)  # what noise adds to the plain variance
    np.testing.assert_allclose(corrected, exact, rtol=0.05)
    with pytest.raises(ValueError, match="two of each"):
        shared_estimate(np.zeros(1), np.zeros((4, 1)))


def _pilot(parameter, noise, draws, seed):
    """Draws with known spread, seen with known noise by two replicas."""
    rng = np.random.default_rng(seed)
    values = parameter * rng.normal(size=draws) + noise * rng.normal(size=draws)
    return estimate(values, noise**2 * rng.chisquare(1, size=draws))


@pytest.mark.parametrize(("parameter", "noise"), [(1.0, 0.3), (0.3, 1.0)])
def test_a_plan_is_what_estimates_then_say(parameter, noise):
    pilot = _pilot(parameter, noise, 4000, 0)
    chosen = plan(pilot, 2, 1000, target=2.5 * parameter, equilibration=200)
    assert chosen.reachable, chosen.sentence
    shorter = noise * np.sqrt(1000 / chosen.steps)
    later = [_pilot(parameter, shorter, chosen.draws, seed) for seed in range(1, 300)]
    half = np.mean([(e.high95 - e.low95) / 2 for e in later])
    assert half == pytest.approx(chosen.half_width, rel=0.12)
    assert half < 2.5 * parameter * 1.1
    # control: half of the draws with a quarter of the steps do not do
    poor = [_pilot(parameter, 2 * shorter, max(2, chosen.draws // 2), s) for s in range(1, 300)]
    assert np.mean([(e.high95 - e.low95) / 2 for e in poor]) > 1.1 * half


def test_what_no_simulation_can_reach_is_said():
    pilot = _pilot(1.0, 0.3, 50, 0)
    made = plan(pilot, 2, 1000, target=0.5)
    assert not made.reachable
    assert "train on more data" in made.sentence
    made = plan(pilot, 2, 1000, target=1.9, budget=1000)
    assert not made.reachable
    assert made.cost <= 1000
    assert "too small" in made.sentence
    with pytest.raises(ValueError, match="the least is"):
        plan(pilot, 2, 1000, target=1.0, budget=10)
