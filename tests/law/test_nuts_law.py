"""NUTS against exact moments, and pSGLD against NUTS on the regression of methods.md row 9."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from samplers import Target, constant, convergence, nuts, psgld, run
from tests.law import linear_gaussian as lg


def _run(target):
    start = jnp.asarray(lg.SHIFT, jnp.float32) + jax.random.normal(jax.random.key(1), (4, 3))
    return run(
        jax.random.key(2), nuts(target, 300), start, num_burn_in=300, num_draws=1500
    ).draws  # fmt: skip


def test_nuts_moments_are_exact():
    z = lg.moments(_run(lg.target()))[0]
    limit = stats.norm.isf(0.001 / 2 / len(z))  # Bonferroni
    assert np.abs(z).max() < limit


def test_a_wrong_density_is_noticed():
    z = lg.moments(_run(lg.target(n_over_b=1.3)))[0]
    assert np.abs(z).max() > 6


def _regression():
    """Four weights and log sigma (the JaxSGMC example), 1000 data."""
    rng = np.random.default_rng(0)
    truth = np.array([0.5, -2.0, 1.5, 3.0])
    x = rng.normal(size=(1000, 4)) @ np.array(
        [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0.3], [0, 0, 0, 1]]
    )
    y = x @ truth + 0.7 * rng.normal(size=1000)
    data = (jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))

    def log_density(p, batch):
        x, y = batch
        z = (y - x @ p["w"]) * jnp.exp(-p["log_sigma"])
        like = -0.5 * z**2 - p["log_sigma"]
        prior = -0.5 * jnp.sum((p["w"] / 10) ** 2) + p["log_sigma"] - jnp.exp(p["log_sigma"])
        return len(data[1]) * jnp.mean(like) + prior

    return Target(log_density, lambda p: log_density(p, data), 1000), data


@pytest.fixture(scope="module")
def regression_nuts():
    target, _ = _regression()
    start = {"w": jnp.zeros((4, 4)), "log_sigma": jnp.zeros(4)}
    made = run(jax.random.key(0), nuts(target, 300), start, num_burn_in=300, num_draws=1000)
    return np.concatenate([made.draws["w"], made.draws["log_sigma"][..., None]], axis=-1)


def _regression_psgld(target, data):
    start = {"w": jnp.zeros((16, 4)), "log_sigma": jnp.zeros(16)}
    sampler = psgld(target, constant(4e-6), adapt_steps=4000, alpha=0.99, lmbd=1e-3)
    made = run(
        jax.random.key(1), sampler, start, data, batch_size=500, num_burn_in=20_000,
        num_draws=400, thinning=100,
    )  # fmt: skip
    return np.concatenate([made.draws["w"], made.draws["log_sigma"][..., None]], axis=-1)


def _disagreement(ours, reference):
    """(z-scores of the means, ratio of standard deviations) of each marginal."""
    a, b = convergence(ours), convergence(reference)
    gap = ours.mean(axis=(0, 1)) - reference.mean(axis=(0, 1))
    z = gap / np.hypot(a.mcse_mean, b.mcse_mean)
    return z, ours.std(axis=(0, 1)) / reference.std(axis=(0, 1))


@pytest.mark.slow
def test_psgld_marginals_agree_with_nuts(regression_nuts):
    z, ratio = _disagreement(_regression_psgld(*_regression()), regression_nuts)
    assert np.abs(z).max() < stats.norm.isf(0.001 / 2 / 5)
    # mini-batch noise at this step size adds under 5 % to a standard deviation
    assert np.all(np.abs(ratio - 1) < 0.08)


@pytest.mark.slow
def test_psgld_with_doubled_data_factor_disagrees(regression_nuts):
    target, data = _regression()
    doubled = target._replace(log_density=lambda p, b: 2 * target.log_density(p, b))
    _, ratio = _disagreement(_regression_psgld(doubled, data), regression_nuts)
    assert np.all(ratio < 0.85)
