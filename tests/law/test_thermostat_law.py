"""SGNHT: the thermostat takes up mini-batch noise it was never told of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import Target, constant, run, sgnht

N, B, H = 50, 10, 0.05


def _target():
    """Posterior variance 1/N, gradient noise N^2/B, both alike in all directions."""
    y = np.random.default_rng(0).normal(size=(N, 3))
    y = np.linalg.svd(y - y.mean(axis=0), full_matrices=False)[0] * np.sqrt(N)
    data = jnp.asarray(y, jnp.float32)

    def log_density(x, batch):
        return -0.5 * N * jnp.mean(jnp.sum((batch - x) ** 2, axis=1))

    return Target(log_density, lambda x: log_density(x, data), N), data


def _run(thermostat_mass):
    target, data = _target()
    return run(
        jax.random.key(0), sgnht(target, constant(H), 1.0, thermostat_mass), jnp.zeros((64, 3)),
        data, batch_size=B, num_burn_in=2000, num_draws=300, thinning=10,
    )  # fmt: skip


def test_the_variance_is_the_posterior_s_without_knowing_the_noise():
    made = _run(1.0)
    assert made.draws.var() * N == pytest.approx(1.0, abs=0.1)
    # the friction that balances the noise: a + h V / 2
    found = made.info.extra["thermostat"][:, 200:].mean()
    assert found == pytest.approx(1.0 + H * N**2 / B / 2, rel=0.15)


def test_a_fixed_friction_leaves_the_heat_in():
    assert _run(np.inf).draws.var() * N > 3
