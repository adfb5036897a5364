"""Two wells of known weights: who crosses between them, and with what weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import Target, constant, cyclical, resgld, run, sghmc, sgld

pytestmark = pytest.mark.usefixtures("compile_module_well")  # thousands of chains: 43 s for 186

WEIGHT = 0.7
FAR = np.array([[-2.0, 1.0], [3.0, -1.0]], np.float32)
NEAR = np.array([[-1.4, 0.5], [2.0, -0.5]], np.float32)
SCALES = np.array([0.5, 0.8], np.float32)
# Data that shift the energy by noise of mean zero: x-independent (swaps see it, gradients do not)
# and linear in x (both do).
DATA = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
DATA -= DATA.mean(axis=0)


def _target(noise=1.0, centres=FAR):
    data = jnp.asarray(DATA)

    def exact(x):
        d = (x - centres) / SCALES[:, None]
        log = -0.5 * jnp.sum(d**2, axis=1) - 2 * jnp.log(SCALES)
        return jax.scipy.special.logsumexp(log + jnp.log(jnp.array([1 - WEIGHT, WEIGHT])))

    def log_density(x, batch):
        mean = jnp.mean(batch, axis=0)
        return exact(x) + noise * (jnp.sum(x * mean) + 2 * jnp.sin(3 * x[0]) * mean[0])

    return Target(log_density, exact, 1), data


def _weight(draws, centres=FAR):
    """Share of the heavier well, by chain."""
    distance = np.linalg.norm((draws[..., None, :] - centres) / SCALES[:, None], axis=-1)
    return (distance[..., 1] < distance[..., 0]).mean(axis=1)


def _run(sampler, data, burn_in, draws, thinning, chains=8, key=0):
    start = jnp.broadcast_to(jnp.asarray(NEAR[0]), (chains, 2))  # in the well of smaller weight
    return run(
        jax.random.key(key), sampler, start, data, batch_size=10,
        num_burn_in=burn_in, num_draws=draws, thinning=thinning,
    )  # fmt: skip


def test_a_single_sgld_chain_stays_where_it_started():
    target, data = _target()
    made = _run(sgld(target, constant(0.005)), data, 2000, 1000, 10)
    assert np.all(_weight(made.draws) < 0.2)  # the truth is 0.7


def _ladder(target, num_estimates=4, **more):
    return resgld(target, constant(0.02), (1.0, 3.0, 9.0), 5, num_estimates, **more)


def test_replica_exchange_finds_the_weights():
    target, data = _target()
    made = _run(_ladder(target), data, 400, 4000, 2)
    weights = _weight(made.draws)
    assert np.all(weights > 0.45)  # every single chain found the other well
    assert abs(weights.mean() - WEIGHT) < 0.05
    rates = made.info.extra["swap_rate"][:, -1]
    assert rates.shape == (8, 2)
    assert np.all((rates > 0.1) & (rates < 0.9))
    replicas = made.info.extra["replica"]
    assert set(np.unique(replicas)) == {0, 1, 2}
    assert np.all(np.sort(replicas, axis=-1) == np.arange(3))  # always a permutation


@pytest.mark.slow
def test_uncorrected_swaps_find_wrong_weights():
    """Noise of the energies makes hot and cold look more alike than they are."""
    target, data = _target(noise=3.0)
    spread = {}
    for corrected in (True, False):
        sampler = _ladder(target, num_estimates=2, noise_correction=corrected)
        made = _run(sampler, data, 400, 4000, 2, key=1)
        spread[corrected] = made.draws[made.draws[..., 0] > 0.5].std(axis=0).mean()
    full = _run(
        resgld(target, constant(0.02), (1.0, 3.0, 9.0), swap_every=5, num_estimates=0),
        data, 400, 4000, 2, key=1,
    )  # fmt: skip
    reference = full.draws[full.draws[..., 0] > 0.5].std(axis=0).mean()
    assert abs(spread[True] / reference - 1) < 0.04
    assert spread[False] / reference > 1.06


def test_swaps_on_the_full_density_need_no_batches_of_their_own():
    target, data = _target()
    sampler = resgld(target, constant(0.02), (1.0, 3.0), swap_every=5, num_estimates=0)
    assert sampler.num_batches == 5
    made = _run(sampler, data, 400, 4000, 2)
    assert abs(_weight(made.draws).mean() - WEIGHT) < 0.08


@pytest.mark.slow
def test_cycles_find_the_weights_where_small_steps_do_not():
    """As many steps at the small step size leave every chain with a weight of its own."""
    target, data = _target(centres=NEAR)
    sampler = cyclical(
        functools.partial(sgld, target), 0.8, 1000, exploration=0.5, explore_without_noise=False
    )
    made = _run(sampler, data, 3000, 150, 50, chains=32)
    weights = _weight(made.draws, NEAR)
    assert np.all((weights > 0.3) & (weights < 1))
    assert abs(weights.mean() - WEIGHT) < 0.07
    # draws come from the second half of each cycle only
    ends = (np.flatnonzero(made.kept) + 1) * 50
    assert np.all((ends - 1) % 1000 >= 500)
    assert made.kept.sum() == 150
    small = _run(sgld(target, constant(0.002)), data, 3000, 300, 50)
    assert np.mean(np.abs(_weight(small.draws, NEAR) - WEIGHT) > 0.25) >= 0.5


def test_quick_cycles_favour_the_wide_well():
    """The limit of the method: what crosses at large steps only keeps their law's weights."""
    target, data = _target()
    sampler = cyclical(
        functools.partial(sgld, target), 1.2, 200, exploration=0.5, explore_without_noise=False
    )
    made = _run(sampler, data, 600, 100, 20, chains=16)
    assert _weight(made.draws).mean() > 0.9


@pytest.mark.parametrize("build", [sgld, functools.partial(sghmc, friction=0.2)])
def test_the_law_within_a_cycle_is_the_target_s(build):
    """At the end of slow cycles a Gaussian has its own variance, from a start far too cold."""
    scale = np.array([0.5, 2.0], np.float32)
    exact = lambda x: -0.5 * jnp.sum((x / scale) ** 2)  # noqa: E731
    target = Target(lambda x, b: exact(x), exact, 1)
    first = 0.2 if build is sgld else 0.02
    sampler = cyclical(functools.partial(build, target), first, 1000, 0.25, last=first / 100)
    made = run(
        jax.random.key(0), sampler, jnp.zeros((4000, 2)), num_burn_in=1000, num_draws=1,
        thinning=1000,
    )  # fmt: skip
    spread = made.draws[:, -1].std(axis=0) / scale
    np.testing.assert_allclose(spread, 1.0, atol=0.06)
    # the control: at the end of the noiseless part every chain is at the mode
    early = run(
        jax.random.key(0), sampler._replace(keep=None), jnp.zeros((50, 2)), num_burn_in=0,
        num_draws=1, thinning=250,
    )  # fmt: skip
    assert np.abs(early.draws).max() == 0
