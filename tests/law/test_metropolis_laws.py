"""Samplers with a Metropolis test have the target's law at any step size and batch size."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from samplers import amagold, hmc, mclmc, run, sggmc, sghmc
from samplers.schedules import constant
from tests.law import linear_gaussian as lg

METRIC = np.array([4.0, 2.0, 0.5], np.float32) / 50
# step sizes in units of the posterior's standard deviations, where a step of 1 is near the edge
BUILD = {
    "amagold": lambda t, h: amagold(t, h, 0.1, 4, jnp.asarray(METRIC)),
    "amagold, fresh velocities": lambda t, h: amagold(
        t, h, 0.1, 4, jnp.asarray(METRIC), resample_velocity=True
    ),
    "sggmc": lambda t, h: sggmc(t, h, 0.7, 3, jnp.asarray(METRIC)),
}
STEPS = {
    "amagold": (0.35, 0.1),
    "amagold, fresh velocities": (0.3,),
    "sggmc": (0.35, 0.1),
}
CASES = [(name, h) for name, steps in STEPS.items() for h in steps]
Z_LIMIT = stats.norm.isf(0.001 / 2 / (9 * (len(CASES) + 2)))  # Bonferroni over all of the file


def _draws(sampler, draws=2500, burn_in=300):
    start = jnp.asarray(lg.SHIFT, jnp.float32) + 0.3 * jax.random.normal(jax.random.key(1), (16, 3))
    return run(
        jax.random.key(2), sampler, start, jnp.asarray(lg.data(), jnp.float32),
        batch_size=lg.B, num_burn_in=burn_in, num_draws=draws,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "h"), CASES)
def test_moments_are_exact_at_any_step_size(name, h):
    made = _draws(BUILD[name](lg.target(), h))
    assert 0.15 < made.info.acceptance.mean() < 0.99  # the test has something to do
    assert np.abs(lg.moments(made.draws)[0]).max() < Z_LIMIT


def test_without_a_test_the_law_depends_on_the_step_size():
    """The control of the line above: SGHMC at steps as large, on the same batches."""
    made = _draws(sghmc(lg.target(), constant(0.6**2 * 0.02), 0.2))
    assert lg.moments(made.draws)[1].max() > 0.3


@pytest.mark.parametrize("name", ["amagold", "sggmc"])
def test_a_wrong_acceptance_is_noticed(name, monkeypatch):
    module = importlib.import_module(f"samplers.{name}")
    whole = module.accept
    monkeypatch.setattr(module, "accept", lambda key, ratio: whole(key, 0.5 * ratio))
    made = _draws(BUILD[name](lg.target(), 0.35))
    assert np.abs(lg.moments(made.draws)[0]).max() > 2 * Z_LIMIT


@pytest.mark.parametrize("name", ["amagold", "sggmc"])
def test_a_rejection_stays_and_turns_the_velocity_round(name, monkeypatch):
    """Its effect on moments of a Gaussian is small, so it is looked at directly."""
    monkeypatch.setattr(
        importlib.import_module(f"samplers.{name}"),
        "accept",
        lambda key, ratio: (jnp.zeros((), bool), jnp.zeros(())),
    )
    sampler = BUILD[name](lg.target(), 0.1)
    state = sampler.init(jax.random.key(0), jnp.asarray(lg.SHIFT, jnp.float32))
    batch = jnp.asarray(lg.data(), jnp.float32)[: 10 * sampler.num_batches]
    new, _ = sampler.step(jax.random.key(1), state, batch.reshape(sampler.num_batches, -1, 3))
    np.testing.assert_array_equal(new.position, state.position)
    np.testing.assert_array_equal(new.velocity, -state.velocity)


@pytest.mark.parametrize("name", ["amagold", "sggmc"])
def test_step_size_adapts_to_the_acceptance_asked_for(name):
    build = {"amagold": amagold, "sggmc": sggmc}[name]
    sampler = build(
        lg.target(), 0.01, 0.3, 4, jnp.asarray(METRIC), adapt_steps=400, target_acceptance=0.7
    )
    made = _draws(sampler, draws=600, burn_in=400)
    after = made.info.acceptance[:, 400:]
    assert abs(after.mean() - 0.7) < 0.08
    assert np.all(np.ptp(made.info.step_size[:, 401:], axis=1) == 0)
    assert np.abs(lg.moments(made.draws)[0]).max() < Z_LIMIT


def test_hmc_moments_are_exact():
    made = _draws(hmc(lg.target(), 300, num_integration_steps=5), draws=1000)
    assert np.abs(lg.moments(made.draws)[0]).max() < Z_LIMIT


def test_mclmc_moments_are_close():
    """Nothing is rejected: a bias set by the energy error, here under 3 % of the variance."""
    made = _draws(mclmc(lg.target(), 300), draws=3000)
    assert np.abs(lg.moments(made.draws)[1]).max() < 0.06
    wrong = _draws(mclmc(lg.target(n_over_b=1.3), 300), draws=1000)
    assert np.abs(lg.moments(wrong.draws)[1]).max() > 0.15
