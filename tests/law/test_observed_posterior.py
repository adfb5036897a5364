"""Posteriors over measured observables against the exact density on a grid."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase.build import bulk

import samplers
from bayespot.errors import UserError
from bayespot.infer import Sampling, sample_observed
from bayespot.md import NVT, Length, Simulation
from bayespot.observables import Pressure
from bayespot.observed import Measurements, Observed
from bayespot.potentials import LennardJones
from bayespot.prior import WeightPrior
from bayespot.system import System
from bayespot.trainers import Target
from tests.physics.traps import KT, Spread, trap_simulation

pytestmark = pytest.mark.usefixtures("compile_fast")
MEASURED, ERROR = 0.02, 0.004
HOW = Sampling(chains=6, draws=150, burn_in=40, thinning=4)
BUILDS = {
    "sgld": lambda target: samplers.sgld(target, samplers.constant(0.012)),
    "sghmc": lambda target: samplers.sghmc(target, samplers.constant(0.003), friction=0.3),
}


def _grid(error):
    """Mean and sd of log k under N(0, 1) and the measurement."""
    x = np.linspace(-2, 5, 4001)
    log_p = -0.5 * x**2 - 0.5 * ((MEASURED - KT / np.exp(x)) / error) ** 2
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = p @ x
    return mean, np.sqrt(p @ (x - mean) ** 2)


def _sample(build, error=ERROR, seed=0, how=HOW, frames=160, **more):
    measured = Measurements(
        trap_simulation(frames=frames), [Target(Spread(), MEASURED, error)], replicas=2, **more
    )
    observed = Observed(measured, prior=WeightPrior.normal(1.0))
    return sample_observed(jax.random.key(seed), observed, build, how)


def _moments(draws):
    x = np.asarray(draws.by_chain()["potential"]["log_k"])
    of_chains = x.mean(axis=1)
    return x.mean(), x.std(), of_chains.std(ddof=1) / np.sqrt(len(of_chains))


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDS)
def test_the_law_is_that_of_the_grid(name):
    draws = _sample(BUILDS[name])
    mean, sd = _grid(ERROR)
    found, spread, error = _moments(draws)
    assert draws.healthy.all()
    assert abs(found - mean) < 4 * max(error, 0.02 * sd)
    assert spread == pytest.approx(sd, rel=0.2)
    # another law would not pass: without the measurement, and with half its error
    assert abs(found) > 8 * error
    assert spread != pytest.approx(_grid(ERROR / 2)[1], rel=0.2)


def test_members_of_an_ensemble_go_to_the_best_parameters():
    mean, sd = _grid(ERROR)
    away = mean + sd * np.array([-4.0, 4.0, 6.0])
    measured = Measurements(trap_simulation(frames=40), [Target(Spread(), MEASURED, ERROR)])
    draws = sample_observed(
        jax.random.key(0),
        Observed(measured, prior=WeightPrior.normal(1.0)),
        lambda target: samplers.ensemble(target, optax.adam(0.05)),
        Sampling(chains=3, draws=1, burn_in=100, thinning=1),
        starts={"potential": {"log_k": jnp.asarray(away, jnp.float32)}, "noise": {}},
    )
    found = np.asarray(draws.by_chain()["potential"]["log_k"])[:, -1]
    np.testing.assert_allclose(found, mean, atol=1.5 * sd)


def test_noise_of_short_trajectories_widens_the_law():
    """A measurement far sharper than the simulation: what counts is the simulation's error."""
    sharp = ERROR / 100
    how = Sampling(chains=4, draws=60, burn_in=40, thinning=4)
    build = lambda target: samplers.sgld(target, samplers.constant(4e-4))  # noqa: E731
    draws = _sample(build, sharp, how=how, frames=16)
    assert draws.healthy.all()
    # sd of log k is the relative error of the mean square
    assert _moments(draws)[1] > 5 * _grid(sharp)[1]


ARGON = LennardJones(3.4, 0.0103, range=5.0, trainable=True)
CRYSTAL = System.from_ase(bulk("Ar", "fcc", a=5.6, cubic=True).repeat(2))


def _fluid():
    """Its lists have too little room at first."""
    length = Length(80, equilibration=80, stride=20, blocks=1)
    simulation = Simulation(ARGON, CRYSTAL, NVT(120.0, 4.0, friction=0.01), length, keep=1)
    pressure = Target(Pressure("pressure"), 0.1, 0.05)
    measured = Measurements(simulation, [pressure], refresh=0.9)
    made = measured.resampler
    made.room = made.frame_room = 0.6
    made.lists = made.frame_lists = made._allocate(0.6)
    return measured


def _traps():
    return Measurements(trap_simulation(), [Target(Spread(), MEASURED, ERROR)])


@pytest.mark.parametrize(
    ("make", "step"), [(_traps, 0.012), pytest.param(_fluid, 1e-6, marks=pytest.mark.slow)]
)
def test_sampling_resumes_bit_for_bit(tmp_path, make, step):
    class Killed(Exception):
        pass

    def run(folder, callback=None):
        measured = make()
        observed = Observed(measured, prior=WeightPrior.normal(1.0))
        how = Sampling(chains=2, draws=12, burn_in=4, thinning=2)
        draws = sample_observed(
            jax.random.key(3), observed, lambda t: samplers.sgld(t, samplers.constant(step)), how,
            steps_per_block=4, checkpoint=folder, callback=callback,
        )  # fmt: skip
        assert draws.healthy.all()
        if make is _fluid:
            assert measured.resampler.frame_room > 0.6
        return jax.tree.leaves(draws.by_chain()["potential"])

    def kill(stage, block):
        if block.step >= 16:
            raise Killed

    whole = run(tmp_path / "a")
    with pytest.raises(Killed):
        run(tmp_path / "b", kill)
    for first, second in zip(whole, run(tmp_path / "b"), strict=True):
        assert len(np.unique(first)) > first.size // 2
        np.testing.assert_array_equal(first, second)


def test_trajectories_are_renewed_only_when_needed():
    measured = Measurements(trap_simulation(), [Target(Spread(), MEASURED, ERROR)], refresh=0.5)
    params = {"log_k": jnp.array([0.3, 0.3])}
    keys = jnp.stack([jax.random.key_data(jax.random.key(0))] * 2)
    tracked = jax.vmap(measured.init)(params, keys)
    first = measured.renewed(params, tracked)
    assert first.reference.made.tolist() == [1, 1]
    again = measured.renewed({"log_k": jnp.array([0.3, 0.302])}, first)
    assert again.reference.made.tolist() == [1, 1]
    assert float(again.reference.fraction[1, 0]) < 1
    far = measured.renewed({"log_k": jnp.array([0.3, 0.8])}, again)
    assert far.reference.made.tolist() == [2, 2]
    assert not np.array_equal(far.key, again.key)
    # chains of equal parameters simulate with noise of their own
    one, other = first.reference.samples.positions
    assert not np.allclose(one, other)


def test_what_cannot_be_sampled_is_refused():
    measured = Measurements(trap_simulation(), [Target(Spread(), MEASURED, ERROR)])
    with pytest.raises(UserError, match="need a prior"):
        Observed(measured)
    with pytest.raises(UserError, match="refresh is 0"):
        Measurements(trap_simulation(), [Target(Spread(), MEASURED, ERROR)], refresh=0.0)
    observed = Observed(measured, prior=WeightPrior.normal(1.0))
    with pytest.raises(ValueError, match="no density without trajectories"):
        sample_observed(
            jax.random.key(0), observed, lambda t: samplers.nuts(t, num_warmup=20),
            Sampling(chains=1, draws=2, burn_in=20, thinning=1),
        )  # fmt: skip
