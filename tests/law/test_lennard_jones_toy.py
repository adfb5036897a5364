"""Row 6 of methods.md, through the library's own posterior: NUTS learns the Lennard-Jones well.

One hundred dimer energies, noise-free, d/sigma in [1.0615, 1.1800]; a pair network of one hidden
layer of 64 on six Bessel functions, weights ~ N(0, 1), noise ~ Exp(1).  The paper's NUTS (ten
chains, 4100 + 3400 steps) reaches RMSE/epsilon 0.014 and sigma_H about 1e-3; this is a short run.
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from ase import Atoms

import samplers
from bayespot import infer
from bayespot.data import Frame, Shift, make_dataset
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import PairMLP
from bayespot.predict import predict
from bayespot.prior import WeightPrior

pytestmark = pytest.mark.slow

SHIFT = Shift((18,), (0.0,))


def _well(d):
    return 4 * (d**-12 - d**-6)


def _dimers(distances):
    frames = [
        Frame(Atoms("Ar2", [[0, 0, 0], [d, 0, 0]]), float(_well(d)), np.zeros((2, 3)), "lj", i)
        for i, d in enumerate(distances)
    ]
    return make_dataset(frames, SHIFT, 2.5).batch


@pytest.fixture(scope="module")
def made():
    distances = np.random.default_rng(0).uniform(1.0615, 1.18, 100)
    likelihood = EnergyForces(
        PairMLP(range=2.5), dist.Exponential(1.0), dist.Exponential(1.0), use_forces=False
    )
    posterior = Posterior(likelihood, WeightPrior.normal(1.0), _dimers(distances), chunk=100)
    settings = infer.Sampling(
        method="nuts", chains=2, burn_in=300, draws=100, thinning=1,
        warm_start=infer.Optimization(steps=2000, learning_rate=1e-2, batch_size=20),
    )  # fmt: skip
    return posterior, infer.sample(jax.random.key(0), posterior, settings)


def test_nuts_learns_the_well(made):
    posterior, draws = made
    assert draws.healthy.all()
    params = jax.tree.map(jnp.asarray, draws.flat())
    grid = np.linspace(1.0615, 1.18, 60)
    energy = predict(posterior.likelihood.potential, params["potential"], _dimers(grid)).energy
    rmse = np.sqrt(np.mean((energy.mean(axis=0) - _well(grid)) ** 2))
    sigma = float(np.exp(params["noise"]["log_sigma_energy"]).mean())
    assert rmse < 0.014
    assert sigma < 0.02
    # chains in different modes of the weights agree on the function they were shown
    by_chain = energy.reshape(2, -1, 60)
    between = np.abs(by_chain.mean(axis=1)[0] - by_chain.mean(axis=1)[1]).max()
    assert between < 5 * max(sigma, energy.std(axis=0).max())


def test_uncertainty_grows_away_from_the_data(made):
    posterior, draws = made
    params = jax.tree.map(jnp.asarray, draws.flat(100))["potential"]
    spread = predict(posterior.likelihood.potential, params, _dimers([1.12, 0.9])).energy.std(
        axis=0
    )
    assert spread[1] > 5 * spread[0]


def test_nuts_keeps_a_healthy_acceptance(made):
    posterior, _ = made
    sampler = samplers.nuts(infer.target(posterior), num_warmup=60, max_doublings=5)
    start = jax.tree.map(lambda x: x[None], posterior.init(jax.random.key(3)))
    short = samplers.run(
        jax.random.key(4), sampler, start, num_burn_in=60, num_draws=40
    )  # fmt: skip
    assert 0.5 < short.info.acceptance[0, 60:].mean() <= 1.0
