"""Laplace, SWAG and the Gamma term against what they should be, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import solve_discrete_lyapunov

from samplers import Target, constant, laplace, psgld, run, swag
from tests.law import linear_gaussian as lg


def test_laplace_is_exact_on_a_gaussian():
    mode = jnp.asarray(lg.data().mean(axis=0), jnp.float32)[None]
    made = run(jax.random.key(0), laplace(lg.target()), mode, num_burn_in=0, num_draws=20_000)
    assert lg.relative_error(np.cov(made.draws[0].T), lg.posterior_covariance()) < 0.04
    np.testing.assert_allclose(made.draws[0].mean(axis=0), mode[0], atol=0.01)


def test_laplace_over_the_last_layer_alone():
    """Bayesian linear regression on fixed features; the features stay at the mode."""
    rng = np.random.default_rng(0)
    features, noise, prior = rng.normal(size=(80, 3)), 0.5, 2.0
    y = jnp.asarray(features @ [1.0, -2.0, 0.5] + noise * rng.normal(size=80), jnp.float32)
    phi = jnp.asarray(features, jnp.float32)

    def log_density(p, batch=None):
        residual = (y - p["scale"] * phi @ p["out"]["w"]) / noise
        return -0.5 * jnp.sum(residual**2) - 0.5 * jnp.sum((p["out"]["w"] / prior) ** 2)

    precision = features.T @ features / noise**2 + np.eye(3) / prior**2
    mode = np.linalg.solve(precision, features.T @ np.asarray(y) / noise**2)
    start = {"scale": jnp.ones(1), "out": {"w": jnp.asarray(mode, jnp.float32)[None]}}
    target = Target(log_density, log_density, 80)
    sampler = laplace(target, lambda name: name == "out/w")
    made = run(jax.random.key(0), sampler, start, num_burn_in=0, num_draws=20_000)
    assert np.all(made.draws["scale"] == 1)
    found = np.cov(made.draws["out"]["w"][0].T)
    assert lg.relative_error(found, np.linalg.inv(precision)) < 0.04
    with pytest.raises(ValueError, match="there are out/w, scale"):
        run(
            jax.random.key(0), laplace(target, lambda name: name == "last"), start, num_burn_in=0,
            num_draws=1,
        )  # fmt: skip


@pytest.mark.slow
def test_swag_draws_have_the_spread_of_the_path():
    """On a quadratic loss SGD is an affine map, so its stationary covariance is known."""
    rate = 0.05
    precision = np.linalg.inv(lg.COVARIANCE)  # Hessian of the loss of one datum
    noise = rate**2 * lg.gradient_noise() / lg.N**2
    expected = solve_discrete_lyapunov(np.eye(3) - rate * precision, noise)
    start = jnp.broadcast_to(jnp.asarray(lg.data().mean(axis=0), jnp.float32), (64, 3))
    made = run(
        jax.random.key(0), swag(lg.target(), optax.sgd(rate), 2000, rank=40), start,
        jnp.asarray(lg.data(), jnp.float32), batch_size=lg.B, num_burn_in=12_000, num_draws=200,
        thinning=100,
    )  # fmt: skip
    centred = made.draws - made.draws.mean(axis=1, keepdims=True)
    spread = (centred**2).mean(axis=(0, 1)) / np.diag(expected)
    np.testing.assert_allclose(spread, 1.0, atol=0.12)
    # half of the variance is diagonal: correlations come out halved
    found = np.einsum("cdi,cdj->ij", centred, centred) / centred[..., 0].size
    correlated = found[0, 1] / np.sqrt(found[0, 0] * found[1, 1])
    exact = expected[0, 1] / np.sqrt(expected[0, 0] * expected[1, 1])
    assert 0.3 < correlated / exact < 0.8


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_gamma_term_makes_a_position_dependent_metric_right():
    """``alpha=0`` on full data: G is a function of the position, and the term is exact."""

    def exact(x):
        return -0.25 * jnp.sum(x**4)

    target = Target(lambda x, b: exact(x), exact, 1)
    variance = {}
    for term in (True, False):
        sampler = psgld(target, constant(4e-3), None, 0.0, 0.5, gamma_term=term)
        made = run(
            jax.random.key(0), sampler, jnp.zeros((2000, 1), jnp.float64), num_burn_in=4000,
            num_draws=10, thinning=400,
        )  # fmt: skip
        variance[term] = made.draws.var()
    grid = np.linspace(-5, 5, 4001)
    density = np.exp(-0.25 * grid**4)
    truth = (density * grid**2).sum() / density.sum()
    assert abs(variance[True] / truth - 1) < 0.03
    assert abs(variance[False] / truth - 1) > 0.08
    with pytest.raises(ValueError, match="frozen G has no Gamma"):
        psgld(target, constant(1e-3), 100, gamma_term=True)
