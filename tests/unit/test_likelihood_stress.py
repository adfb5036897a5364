"""Stress in the density and in predictions: formula, derivatives, mask, and none of it when off."""

import dataclasses
import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from ase.build import bulk
from scipy import stats

from bayespot import build
from bayespot import config as cfg
from bayespot.data import Frame, Shift, make_dataset
from bayespot.errors import UserError
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import StillingerWeber, energy_and_forces, stress
from bayespot.predict import predict
from bayespot.prior import WeightPrior

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")

SW = StillingerWeber(range=3.7, trainable=True)
SHIFT = Shift((14,), (-1.0,))
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def _frames(labelled=(True, False, True, True)):
    """Cells of 8 and 16 atoms with random labels."""
    rng = np.random.default_rng(4)
    made = []
    for i, has in enumerate(labelled):
        atoms = bulk("Si", cubic=True).repeat((1 + i % 2, 1, 1))
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + 0.04 * rng.normal(size=(3, 3))), scale_atoms=True
        )
        atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
        forces, tensor = rng.normal(size=atoms.positions.shape), 0.02 * rng.normal(size=(3, 3))
        label = tensor + tensor.T if has else None
        made.append(Frame(atoms, float(-2 * len(atoms) + rng.normal()), forces, "made", i, label))
    return made


FRAMES = _frames()


def _posterior(frames=FRAMES, **changes):
    batch = make_dataset(frames, SHIFT, 3.7).batch
    prior = dist.Exponential(2.0)
    likelihood = EnergyForces(
        SW, dist.Exponential(1.0), dist.Exponential(1.0), **({"stress_noise": prior} | changes)
    )
    return Posterior(likelihood, WeightPrior.normal(10.0), batch)


@pytest.fixture(scope="module")
def params():
    with jax.enable_x64(True):
        made = _posterior().init(jax.random.key(0))
        made["potential"]["log_epsilon"] += 0.1
        return made


@pytest.fixture(scope="module")
def density():
    with jax.enable_x64(True):
        posterior = _posterior()
    return jax.jit(jax.value_and_grad(posterior.log_density_full))


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0))
def _separate(weights, at):
    """Energy, forces and stress by functions of their own."""
    where = (SW, weights, at.system, at.neighbors)
    return *energy_and_forces(*where), stress(*where)


def test_density_is_the_formula(params, density):
    """Written out with scipy; six components of labelled stresses, and the prior of their noise."""
    sigma = {k: float(np.exp(v)) for k, v in params["noise"].items()}
    labels = np.array([f.stress[i, j] for f in FRAMES if f.stress is not None for i, j in VOIGT])
    assert sigma["log_sigma_stress"] == pytest.approx(np.sqrt(np.mean(labels**2)))
    total = stresses = 0.0
    made = [np.asarray(x) for x in _separate(params["potential"], _posterior().data)]
    for frame, energy, forces, tensor in zip(FRAMES, *made, strict=True):
        atoms = len(frame.atoms)
        total += stats.norm.logpdf(frame.energy + atoms, energy, sigma["log_sigma_energy"])
        total += stats.norm.logpdf(frame.forces, forces[:atoms], sigma["log_sigma_forces"]).sum()
        if frame.stress is not None:
            for i, j in VOIGT:
                s = sigma["log_sigma_stress"]
                stresses += stats.norm.logpdf(frame.stress[i, j], tensor[i, j], s)
    total += stats.norm.logpdf(list(params["potential"].values()), 0, 10).sum()
    for name, scale in (("energy", 1.0), ("forces", 1.0), ("stress", 0.5)):
        s = sigma[f"log_sigma_{name}"]
        total += stats.expon.logpdf(s, scale=scale) + np.log(s)
    found = float(density(params)[0])
    assert found == pytest.approx(total + stresses, rel=1e-10)
    # the control: neither without the term nor with all nine components
    assert abs(found - total) > 1.0
    off = {k: v for k, v in params["noise"].items() if k != "log_sigma_stress"}
    without = jax.jit(_posterior(stress_noise=None).log_density_full)(params | {"noise": off})
    prior = stats.expon.logpdf(sigma["log_sigma_stress"], scale=0.5)
    expected = total - prior - np.log(sigma["log_sigma_stress"])
    assert float(without) == pytest.approx(expected, rel=1e-10)


def test_gradient_against_finite_differences(params, density):
    """Along a random direction of all parameters, noise scales included."""
    flat, back = jax.flatten_util.ravel_pytree(params)
    direction = jnp.asarray(np.random.default_rng(1).normal(size=flat.shape))
    slope = float(jax.flatten_util.ravel_pytree(density(params)[1])[0] @ direction)
    h = 1e-5
    ahead, behind = (float(density(back(flat + s * h * direction))[0]) for s in (1, -1))
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)
    assert abs(float(density(params)[1]["noise"]["log_sigma_stress"])) > 1e-3


def test_mini_batches_are_unbiased(params, density):
    """Where some hold no label at all."""
    posterior = _posterior()
    each = jax.jit(posterior.log_density)
    parts = [jax.tree.map(lambda x, i=i: x[i : i + 1], posterior.data) for i in range(4)]
    mean = np.mean([float(each(params, part)) for part in parts])
    assert mean == pytest.approx(float(density(params)[0]), rel=1e-10)


def test_what_unlabelled_frames_hold_is_never_looked_at(params, density):
    posterior = _posterior()
    odd = posterior.data._replace(stress=posterior.data.stress.at[1].set(7.0))
    noise = params["noise"]
    likelihood = posterior.likelihood
    value = jax.jit(lambda b: likelihood.log_likelihood(params["potential"], noise, b))
    np.testing.assert_array_equal(value(odd), value(posterior.data))
    seen = posterior.data._replace(stress=posterior.data.stress.at[0].set(7.0))
    assert value(seen)[0] < value(posterior.data)[0] - 100


def test_residual_noise_is_the_conditional_maximum(params):
    posterior = _posterior()
    likelihood, weights = posterior.likelihood, params["potential"]
    best = jax.jit(likelihood.residual_noise)(weights, posterior.data)
    assert set(best) == {"log_sigma_energy", "log_sigma_forces", "log_sigma_stress"}
    slopes = jax.jit(
        jax.grad(lambda n: jnp.sum(likelihood.log_likelihood(weights, n, posterior.data)))
    )
    for value in slopes(best).values():
        assert abs(float(value)) < 1e-8
    moved = best | {"log_sigma_stress": best["log_sigma_stress"] + 0.1}
    assert abs(float(slopes(moved)["log_sigma_stress"])) > 1.0


def _programs(likelihood, batch, noise, weights):
    return [
        str(jax.make_jaxpr(f)(weights))
        for f in (
            lambda w: likelihood.log_likelihood(w, noise, batch),
            lambda w: likelihood.residual_noise(w, batch),
            lambda w: likelihood.log_prior_noise(noise),
        )
    ]


def test_off_is_the_program_without_stress(params):
    """No prior, switched off, or data without labels: not an instruction more."""
    bare = [dataclasses.replace(f, stress=None) for f in FRAMES]
    plain = _posterior(bare, stress_noise=None)
    noise = {k: v for k, v in params["noise"].items() if k != "log_sigma_stress"}
    weights = params["potential"]
    reference = _programs(plain.likelihood, plain.data, noise, weights)
    for other in (
        _posterior(stress_noise=None),
        _posterior(use_stress=False),
        _posterior(bare),
    ):
        assert set(other.likelihood.init_noise(other.data)) == set(noise)
        assert _programs(other.likelihood, other.data, noise, weights) == reference
    on = _posterior()
    assert _programs(on.likelihood, on.data, params["noise"], weights) != reference


def test_configured(params):
    """``stress_noise`` switches the term on, and asks for labels."""
    section = cfg.PosteriorConfig(stress_noise=cfg.NoisePrior(scale=0.5))
    data = make_dataset(FRAMES, SHIFT, 3.7)
    made = build.posterior(section, SW, data)
    assert made.likelihood.fits_stress(data.batch)
    priors = made.likelihood.log_prior_noise(params["noise"])
    assert float(priors) == pytest.approx(
        float(_posterior().likelihood.log_prior_noise(params["noise"]))
    )
    assert not build.posterior(cfg.PosteriorConfig(), SW, data).likelihood.fits_stress(data.batch)
    bare = make_dataset([dataclasses.replace(f, stress=None) for f in FRAMES], SHIFT, 3.7)
    with pytest.raises(UserError, match="stress_noise is set, and no training frame"):
        build.posterior(section, SW, bare)


def test_predictions(params):
    """Of two draws, asked for and not."""
    draws = jax.tree.map(lambda x: jnp.stack([x, x + 0.05]), params["potential"])
    batch = _posterior().data
    made = predict(SW, draws, batch, stress=True)
    assert made.stress is not None
    assert made.stress.shape == (2, 4, 3, 3)
    plain = predict(SW, draws, batch)
    assert plain.stress is None
    np.testing.assert_allclose(made.energy, plain.energy, rtol=1e-12)
    np.testing.assert_allclose(made.forces, plain.forces, atol=1e-11)
    separate = _separate(params["potential"], batch)[2]
    np.testing.assert_allclose(made.stress[0], separate, atol=1e-13)
    assert np.abs(made.stress[1] - made.stress[0]).max() > 1e-3
    open_ones = batch._replace(system=batch.system.replace(pbc=(True, True, False)))
    with pytest.raises(UserError, match="periodic in all directions have a stress"):
        predict(SW, draws, open_ones, stress=True)
