"""The density: scale, temperature, signs, units of the noise, padding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from scipy import stats

from bayespot.data import Frame, fit_shift, make_dataset
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import HarmonicBonds, SchNet, energy_and_forces
from bayespot.prior import WeightPrior
from tests.physics.helpers import ethanol

pytestmark = pytest.mark.usefixtures("x64")
WATER = ((0, 1), (0, 2))


def _frames(count=24):
    """Two molecules of different size, labelled by a harmonic force field."""
    from ase.build import molecule

    rng = np.random.default_rng(0)
    frames = []
    for i in range(count):
        atoms = ethanol(i, 0.08) if i % 2 else molecule("H2O")
        atoms.positions += 0.03 * rng.normal(size=atoms.positions.shape)
        forces = rng.normal(size=atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=forces)
        energy = float(-5.0 * len(atoms) + 0.1 * rng.normal())
        frames.append(Frame(atoms, energy, forces, "made", i))
    return frames


FRAMES = _frames()
POTENTIAL = SchNet(species=(1, 6, 8), range=4.0, features=8, interactions=1, basis=8)


def _posterior(temperature=1.0, frames=FRAMES):
    data = make_dataset(frames, fit_shift(FRAMES), 4.0, num_atoms=9)
    likelihood = EnergyForces(POTENTIAL, dist.Exponential(1.0), dist.Exponential(2.0))
    return Posterior(likelihood, WeightPrior.normal(10.0), data.batch, temperature, chunk=5)


@pytest.fixture(scope="module")
def params():
    with jax.enable_x64(True):
        return _posterior().init(jax.random.key(0))


def test_float64_reaches_every_parameter(params):
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float64")}


def test_density_is_the_formula(params):
    """Written out with scipy, frame by frame and without padding."""
    posterior = _posterior()
    sigma_u, sigma_f = (
        float(jnp.exp(params["noise"][k])) for k in ("log_sigma_energy", "log_sigma_forces")
    )
    total = 0.0
    predict = jax.jit(functools.partial(energy_and_forces, POTENTIAL))
    for frame in FRAMES:
        one = make_dataset([frame], fit_shift(FRAMES), 4.0).batch
        at = jax.tree.map(lambda x: x[0], one)
        energy, forces = predict(params["potential"], at.system, at.neighbors)
        total += stats.norm.logpdf(float(at.energy), float(energy), sigma_u)
        total += stats.norm.logpdf(frame.forces, np.asarray(forces), sigma_f).sum()
    weights = np.concatenate([x.ravel() for x in jax.tree.leaves(params["potential"])])
    total += stats.norm.logpdf(weights, 0, 10).sum()
    total += stats.expon.logpdf(sigma_u, scale=1.0) + np.log(sigma_u)
    total += stats.expon.logpdf(sigma_f, scale=0.5) + np.log(sigma_f)
    assert float(jax.jit(posterior.log_density_full)(params)) == pytest.approx(total, rel=1e-9)


def test_the_weight_of_energies_is_a_power_of_their_likelihood_alone(params):
    posterior = _posterior()

    def terms(**changes):
        likelihood = dataclasses.replace(posterior.likelihood, **changes)
        return likelihood.log_likelihood(params["potential"], params["noise"], posterior.data)

    energies, forces = terms(use_forces=False), terms(use_energy=False)
    np.testing.assert_allclose(terms(energy_weight=7.0), 7 * energies + forces, rtol=1e-9)
    assert float(jnp.max(jnp.abs(energies))) > 1e-3


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_mini_batches_are_unbiased(params, temperature):
    """Over a partition into batches the mean is exact; so are the gradients."""
    posterior = _posterior(temperature)
    full, full_gradient = jax.jit(jax.value_and_grad(posterior.log_density_full))(params)
    parts = [jax.tree.map(lambda x, i=i: x[i : i + 6], posterior.data) for i in range(0, 24, 6)]
    each_of = jax.jit(jax.value_and_grad(posterior.log_density))
    each = [each_of(params, part) for part in parts]
    assert np.mean([float(v) for v, _ in each]) == pytest.approx(float(full), rel=1e-9)
    mean = jax.tree.map(lambda *g: sum(g) / 4, *(g for _, g in each))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), mean, full_gradient
    )


def test_temperature_divides_once(params):
    warm, cold = (jax.jit(_posterior(t).log_density_full)(params) for t in (1.0, 0.05))
    assert float(cold) == pytest.approx(float(warm) / 0.05, rel=1e-9)
    with pytest.raises(ValueError, match="positive"):
        _posterior(0.0)


def test_repeating_the_data_doubles_the_likelihood_only(params):
    once, twice = _posterior(), _posterior(frames=FRAMES + FRAMES)
    prior = once.log_prior(params)
    a = float(jax.jit(once.log_density_full)(params) - prior)
    b = float(jax.jit(twice.log_density_full)(params) - prior)
    assert b == pytest.approx(2 * a, rel=1e-9)


def test_the_sign_of_forces_matters():
    """A likelihood that fits -F instead of F prefers the potential upside down."""
    truth = HarmonicBonds(WATER, (1.0, 1.0), (30.0, 30.0))
    from ase.build import molecule

    from bayespot.neighbors import allocate
    from bayespot.system import System

    frames = []
    for i in range(6):
        atoms = molecule("H2O")
        atoms.positions += 0.1 * np.random.default_rng(i).normal(size=(3, 3))
        system = System.from_ase(atoms)
        energy, forces = energy_and_forces(truth, {}, system, allocate(system, 1.0))
        # the force on a stretched bond pulls back: checked against the displacement itself
        bond = atoms.positions[1] - atoms.positions[0]
        stretch = np.linalg.norm(bond) - 1.0
        pull = float(np.dot(np.asarray(forces)[1], bond))
        assert pull * stretch < 0
        frames.append(Frame(atoms, float(energy), np.asarray(forces), "made", i))
    data = make_dataset(frames, fit_shift(frames)._replace(energies=(0.0, 0.0)), 4.0)
    noise = {"log_sigma_energy": jnp.log(0.1), "log_sigma_forces": jnp.log(0.1)}
    prior = dist.Exponential(1.0)
    right = EnergyForces(truth, prior, prior, use_energy=False)
    flipped = EnergyForces(
        HarmonicBonds(WATER, (1.0, 1.0), (-30.0, -30.0)), prior, prior, use_energy=False
    )
    good = right.log_likelihood({}, noise, data.batch)
    bad = flipped.log_likelihood({}, noise, data.batch)
    assert np.all(good > bad)
    exact = stats.norm.logpdf(0, 0, 0.1) * 9
    np.testing.assert_allclose(good, exact, rtol=1e-6)


def test_residual_noise_is_the_conditional_maximum(params):
    posterior = _posterior()
    best = posterior.likelihood.residual_noise(params["potential"], posterior.data)

    def fit(noise):
        terms = posterior.likelihood.log_likelihood(params["potential"], noise, posterior.data)
        return jnp.sum(terms)

    gradient = jax.grad(fit)(best)
    for value in gradient.values():
        assert abs(float(value)) < 1e-6 * 24 * 27


def test_terms_can_be_switched_off(params):
    data = _posterior().data
    prior = dist.Exponential(1.0)
    parts = [
        EnergyForces(POTENTIAL, prior, prior, use_energy=e, use_forces=f).log_likelihood(
            params["potential"], params["noise"], data
        )
        for e, f in ((True, False), (False, True), (True, True))
    ]
    np.testing.assert_allclose(parts[0] + parts[1], parts[2], rtol=1e-9)
