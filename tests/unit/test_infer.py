"""Chains that diverge are told apart, reported, and never averaged in."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import samplers
from bayespot import infer
from bayespot.data import Frame, Shift, make_dataset
from bayespot.infer import _draws, runaway
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import PairMLP
from bayespot.predict import predict
from bayespot.prior import WeightPrior
from samplers import Info, Result


def _result(alive=(True, True, True), divergent=0.0, worse=None):
    noise = np.full((3, 5), np.log(0.05))
    if worse is not None:
        noise[worse] = np.log(0.9)
    trace = np.zeros((3, 7))
    info = Info(trace, trace, trace, np.full((3, 7), divergent), trace)
    draws = {
        "potential": np.zeros((3, 5, 2)),
        "noise": {"log_sigma_energy": noise, "log_sigma_forces": np.full((3, 5), np.log(0.05))},
    }
    failed = np.where(alive, -1, 17)
    kept = np.arange(7) >= 2
    return Result(draws, info, np.asarray(alive), failed, kept, np.zeros((3, 5, 0)), "draws", ())


START = {"noise": {k: np.full(3, np.log(0.04)) for k in ("log_sigma_energy", "log_sigma_forces")}}


def test_a_runaway_chain_is_excluded_and_named():
    made = _draws(_result(worse=1), START)
    assert made.healthy.tolist() == [True, False, True]
    assert "far worse than its start" in made.verdicts[1]
    assert runaway({k: v * np.nan for k, v in _result().draws["noise"].items()}, START["noise"], 0)


def test_a_scale_that_no_label_speaks_to_excludes_nobody():
    likelihood = dataclasses.replace(_posterior().likelihood, use_energy=False, use_forces=True)
    assert likelihood.idle_noise == {"log_sigma_energy"}
    assert _draws(_result(worse=1), START, idle=likelihood.idle_noise).healthy.all()
    forces = _posterior().likelihood.idle_noise  # control: the one that ran away is not idle
    assert not _draws(_result(worse=1), START, idle=forces).healthy.all()


def test_sampling_knows_which_scales_are_idle(monkeypatch):
    seen = []
    monkeypatch.setattr(infer, "runaway", lambda *given: bool(seen.append(given[3])))
    how = infer.Sampling(chains=2, draws=2, burn_in=2, thinning=1, batch_size=12)
    infer.sample(jax.random.key(0), _posterior(), how, build=BUILD["sghmc"])
    assert seen == [{"log_sigma_forces"}] * 2


def test_dead_chains_and_dead_starts_are_excluded():
    made = _draws(_result((True, False, True)), START, np.array([True, False, False]))
    assert made.healthy.tolist() == [False, False, True]
    assert "warm start" in made.verdicts[0]
    assert "step 17" in made.verdicts[1]
    assert made.by_chain()["potential"].shape[0] == 1


def test_divergent_transitions_are_counted_after_burn_in():
    made = _draws(_result(divergent=1.0))
    assert "5 divergent transitions" in made.verdicts[0]
    assert made.healthy.all()


@functools.cache
def _posterior():
    from ase import Atoms

    frames = [
        Frame(Atoms("Ar2", [[0, 0, 0], [d, 0, 0]]), float(d**-2), np.zeros((2, 3)), "made", i)
        for i, d in enumerate(np.linspace(1.0, 2.0, 12))
    ]
    batch = make_dataset(frames, Shift((18,), (0.0,)), 2.5).batch
    noise = dist.Exponential(1.0)
    likelihood = EnergyForces(PairMLP(range=2.5, hidden=(4,)), noise, noise, use_forces=False)
    return Posterior(likelihood, WeightPrior.normal(1.0), batch, chunk=12)


BUILD = {
    "sghmc": lambda t: samplers.sghmc(t, samplers.constant(1e-6), 0.1),
    "resgld": lambda t: samplers.resgld(t, samplers.constant(1e-6), (1.0, 5.0), 2, 2),
    "cyclical": lambda t: samplers.cyclical(functools.partial(samplers.sgld, t), 1e-5, 20),
    "amagold": lambda t: samplers.amagold(t, 1e-3, 0.1, 3),
}


@pytest.mark.parametrize("name", BUILD)
def test_any_sampler_draws_from_the_posterior(name):
    settings = infer.Sampling(chains=2, draws=3, burn_in=20, thinning=2, batch_size=4)
    made = infer.sample(jax.random.key(0), _posterior(), settings, build=BUILD[name])
    assert made.healthy.all()
    leaves = jax.tree.leaves(made.params)
    assert all(x.shape[:2] == (2, 3) for x in leaves)
    assert made.log_density.shape == (2, 3)


def test_optimisation_weighs_energies_as_asked():
    """Forces that contradict the energies (they pull where these repel) lose or win."""
    posterior = _posterior()
    likelihood = dataclasses.replace(posterior.likelihood, use_forces=True)
    pull = jnp.zeros_like(posterior.data.forces).at[:, 0, 0].set(1.0).at[:, 1, 0].set(-1.0)
    data = posterior.data._replace(forces=pull)
    posterior = dataclasses.replace(posterior, likelihood=likelihood, data=data)

    def error(weight):
        how = infer.Optimization(steps=300, learning_rate=0.02, energy_weight=weight)
        settings = infer.Sampling("ensemble", chains=2, draws=1, warm_start=how)
        draws = infer.sample(jax.random.key(1), posterior, settings)
        params = jax.tree.map(jnp.asarray, draws.flat()["potential"])
        made = predict(likelihood.potential, params, posterior.data)
        return np.sqrt(np.mean((made.energy - np.asarray(posterior.data.energy)) ** 2))

    assert error(1000.0) < 0.5 * error(1e-3)


def test_an_ensemble_has_the_noise_of_held_out_frames_and_is_chosen_by_it():
    """Not the noise its optimiser had learned, which the training frames taught it."""
    posterior = _posterior()
    held_out = jax.tree.map(lambda x: x[:3], posterior.data)
    held_out = held_out._replace(energy=held_out.energy + jnp.asarray([0.4, -0.4, 0.2]))
    how = infer.Optimization(steps=40, learning_rate=0.02)
    settings = infer.Sampling("ensemble", chains=2, draws=1, warm_start=how)
    draws = infer.sample(jax.random.key(1), posterior, settings, held_out).flat()
    params = jax.tree.map(jnp.asarray, draws["potential"])
    gap = predict(posterior.likelihood.potential, params, held_out).energy - held_out.energy
    rms = np.sqrt(np.mean(gap**2, axis=1))
    np.testing.assert_allclose(np.exp(draws["noise"]["log_sigma_energy"]), rms, rtol=1e-5)
    one = jax.tree.map(lambda x: x[0], {"potential": params, "noise": draws["noise"]})
    loss = infer.validation_loss(posterior, one, validation=held_out)
    other = one | {"noise": jax.tree.map(lambda x: x - 2.0, one["noise"])}
    assert infer.validation_loss(posterior, other, validation=held_out) == loss
    noise = jax.tree.map(jnp.asarray, one["noise"])
    terms = posterior.likelihood.log_likelihood(one["potential"], noise, held_out)
    assert float(loss) == pytest.approx(-float(jnp.mean(terms)), rel=1e-5)
