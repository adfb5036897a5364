"""``Info.gradients`` is what was computed: counted inside the target, not taken on trust."""

import jax
import jax.numpy as jnp
import optax
import pytest

import samplers as s

DATA = jax.random.normal(jax.random.key(0), (20, 3))
SAMPLERS = {
    "sgld": lambda t: s.sgld(t, s.constant(1e-3)),
    "sghmc": lambda t: s.sghmc(t, s.constant(1e-3), 0.1),
    "obabo": lambda t: s.obabo(t, s.constant(1e-3), 1.0),
    "amagold": lambda t: s.amagold(t, 1e-3, 0.1, 5),
    "sggmc": lambda t: s.sggmc(t, 1e-3, 1.0, 5),
    "resgld": lambda t: s.resgld(t, s.constant(1e-3), (1.0, 2.0), 4, num_estimates=0),
    "ensemble": lambda t: s.ensemble(t, optax.adam(1e-3)),
    "nuts": lambda t: s.nuts(t, 20),
    "hmc": lambda t: s.hmc(t, 20, num_integration_steps=7),
    "mclmc": lambda t: s.mclmc(t, 20),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_gradients_are_counted(name):
    count = [0]

    @jax.custom_jvp
    def seen(x):
        return x

    @seen.defjvp
    def _(primals, tangents):
        jax.debug.callback(lambda x: count.__setitem__(0, count[0] + 1), primals[0])
        return primals[0], tangents[0]

    def log_density(x, batch):
        return seen(-10 * jnp.mean(jnp.sum((batch - x) ** 2, axis=1)))

    target = s.Target(log_density, lambda x: log_density(x, DATA), len(DATA))
    sampler = SAMPLERS[name](target)
    state = sampler.init(jax.random.key(1), jnp.ones(3))
    copies = sampler.num_batches
    batch = DATA[:4] if copies is None else jnp.broadcast_to(DATA[:4], (copies, 4, 3))
    step = jax.jit(sampler.step)
    reported = 0.0
    jax.effects_barrier()
    count[0] = 0
    for i in range(5):
        state, info = step(jax.random.key(i), state, batch)
        reported += float(info.gradients)
    jax.effects_barrier()
    assert count[0] == reported > 0
