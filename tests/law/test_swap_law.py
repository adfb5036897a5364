"""Swaps alone: two still replicas spend the time at each temperature that detailed balance says."""

import jax
import jax.numpy as jnp
import numpy as np

from samplers import Target, constant, resgld


def _occupancy(**more):
    """Share of time that the better of two positions is the cold one, energies noisy."""
    target = Target(lambda x, b: x[0] * (1 + 6 * jnp.mean(b)), lambda x: x[0], 1)
    sampler = resgld(target, constant(1e-12), (1.0, 3.0), 1, 40, smoothing=0.01, **more)
    state = sampler.init(jax.random.key(0), jnp.zeros(1))
    state = state._replace(position=jnp.array([[0.0], [1.0]]))

    def step(state, key):
        noise_key, batch_key = jax.random.split(key)
        batch = jax.random.normal(batch_key, (sampler.num_batches, 1))
        new, _ = sampler.step(noise_key, state, batch)
        return new, new.position[0, 0] > 0.5

    cold = jax.jit(lambda s, k: jax.lax.scan(step, s, k))(
        state, jax.random.split(jax.random.key(1), 40_000)
    )[1]
    return float(jnp.mean(cold))


def test_noisy_swaps_obey_detailed_balance():
    gap = 1 - 1 / 3
    exact = 1 / (1 + np.exp(-gap))
    assert abs(_occupancy() - exact) < 0.015
    assert abs(_occupancy(noise_correction=False) - exact) > 0.03
