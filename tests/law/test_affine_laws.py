"""Exact stationary laws of the samplers with momentum, of a ladder and of control variates.

On a linear-Gaussian target every one is an affine map of its phase space.  The map is read off
the sampler's own step and compared with the one its update rule says, written out in matrices.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import (
    baoab,
    constant,
    control_variates,
    fixed,
    obabo,
    resgld,
    sghmc,
    sgld,
    sgnht,
    tree,
)
from tests.law import linear_gaussian as lg

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
KEYS = 30_000  # relative error of a variance from as many: sqrt(2/30000) = 0.8 %
METRIC = np.array([1.7, 0.8, 0.4])
EYE, NOUGHT = np.eye(3), np.zeros((3, 3))


def _keys():
    return jax.random.split(jax.random.key(3), KEYS)


def _chain(maps, noises):
    """The affine map of several in turn, applied to the same phase space: (A, Q)."""
    whole, covariance = np.eye(6), np.zeros((6, 6))
    for a, q in zip(maps, noises, strict=True):
        whole, covariance = a @ whole, a @ covariance @ a.T + q
    return whole, covariance


def _block(xx, xv, vx, vv):
    return np.block([[xx, xv], [vx, vv]])


def _in_v(q):
    return _block(NOUGHT, NOUGHT, NOUGHT, q)


def _sghmc(h, friction, precision, heat):
    g = np.diag(METRIC)
    kick = _block(EYE, NOUGHT, -h * g @ precision, (1 - friction) * EYE)
    noise = _in_v(2 * friction * h * g + h * h * g @ heat @ g)
    return _chain([kick, _block(EYE, EYE, NOUGHT, EYE)], [noise, np.zeros((6, 6))])


def _baoab(h, friction, precision, heat):
    g, c = np.diag(METRIC), np.exp(-friction * h)
    kick = _block(EYE, NOUGHT, -h * g @ precision, EYE)
    drift = _block(EYE, 0.5 * h * EYE, NOUGHT, EYE)
    rub = _block(EYE, NOUGHT, NOUGHT, c * EYE)
    none = np.zeros((6, 6))
    return _chain(
        [kick, drift, rub, drift],
        [_in_v(h * h * g @ heat @ g), none, _in_v((1 - c * c) * g), none],
    )


def _obabo(h, friction, precision, heat):
    g, c = np.diag(METRIC), np.exp(-0.5 * friction * h)
    half = _block(EYE, NOUGHT, -0.5 * h * g @ precision, EYE)
    drift = _block(EYE, h * EYE, NOUGHT, EYE)
    rub, warm = _block(EYE, NOUGHT, NOUGHT, c * EYE), _in_v((1 - c * c) * g)
    # one batch for both half kicks: its noise enters twice, as one random vector
    push = np.vstack([NOUGHT, 0.5 * h * g])
    through = half @ drift @ push + push
    noise = through @ heat @ through.T
    return _chain([rub, half @ drift @ half, rub], [warm, noise, warm])


BUILD = {
    "sghmc": lambda t, h, f: sghmc(t, constant(h), f, fixed(jnp.asarray(METRIC))),
    "baoab": lambda t, h, f: baoab(t, constant(h), f, fixed(jnp.asarray(METRIC))),
    "obabo": lambda t, h, f: obabo(t, constant(h), f, fixed(jnp.asarray(METRIC))),
    "sgnht": lambda t, h, f: sgnht(t, constant(h), f, np.inf, fixed(jnp.asarray(METRIC))),
}
EXPECTED = {"sghmc": _sghmc, "baoab": _baoab, "obabo": _obabo, "sgnht": _baoab}
# (step size, friction): SGHMC's step is a squared time, its friction per step
CASES = {
    "sghmc": [(1e-3, 0.1), (1e-3, 0.9), (1e-5, 0.05)],
    "baoab": [(0.05, 2.0), (0.05, 30.0), (0.005, 10.0)],
    "obabo": [(0.05, 2.0), (0.05, 30.0), (0.005, 10.0)],
    "sgnht": [(0.05, 2.0), (0.05, 30.0), (0.005, 10.0)],
}
ALL = [(n, h, f, 1.0) for n, cases in CASES.items() for h, f in cases]
ALL += [(n, *cases[0], 0.1) for n, cases in CASES.items()]


def _law(name, h, friction, target):
    sampler = BUILD[name](target, h, friction)
    state = sampler.init(jax.random.key(0), jnp.asarray(lg.SHIFT))
    return lg.one_step_law(sampler, state, _keys(), ("position", "velocity"))


def _scaled(h, name, temperature):
    """Cold targets are stiffer: the step that moves a like share of the spread."""
    return h * (temperature if name == "sghmc" else np.sqrt(temperature))


@pytest.mark.parametrize(("name", "h", "friction", "temperature"), ALL)
def test_stationary_law_is_the_update_rule_s(name, h, friction, temperature):
    h = _scaled(h, name, temperature)
    drift, noise, mean = _law(name, h, friction, lg.target(temperature))
    precision = np.linalg.inv(lg.posterior_covariance(temperature))
    expected = EXPECTED[name](h, friction, precision, lg.gradient_noise(temperature))
    np.testing.assert_allclose(drift, expected[0], rtol=1e-6, atol=1e-9)
    found = lg.stationary_covariance(drift, noise)[:3, :3]
    exact = lg.stationary_covariance(*expected)[:3, :3]
    assert lg.relative_error(found, exact) < 0.035
    assert np.all(np.abs(mean[:3] - lg.data().mean(axis=0)) < 0.3 * np.sqrt(np.diag(exact)))


SMALL = {"sghmc": (2e-6, 0.3), "baoab": (2e-3, 30.0), "obabo": (2e-3, 30.0), "sgnht": (2e-3, 30.0)}


@pytest.mark.parametrize("name", SMALL)
def test_small_steps_give_the_posterior_itself(name):
    drift, noise, _ = _law(name, *SMALL[name], lg.target())
    found = lg.stationary_covariance(drift, noise)[:3, :3]
    assert lg.relative_error(found, lg.posterior_covariance()) < 0.05


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("control", ["half the noise", "N/B dropped"])
def test_controls_fail(name, control, monkeypatch):
    target = lg.target(n_over_b=lg.B / lg.N) if control == "N/B dropped" else lg.target()
    if control == "half the noise":
        whole = tree.random_normal_like
        monkeypatch.setattr(
            tree,
            "random_normal_like",
            lambda k, t: jax.tree.map(lambda x: x / np.sqrt(2), whole(k, t)),
        )
    drift, noise, _ = _law(name, *SMALL[name], target)
    found = lg.stationary_covariance(drift, noise)[:3, :3]
    assert lg.relative_error(found, lg.posterior_covariance()) > 0.3


def test_baoab_has_no_bias_in_position_on_exact_gradients():
    """At a step where SGLD's variance would be 40 % too large."""
    exact = control_variates(lg.target(), jnp.asarray(lg.SHIFT))
    drift, noise, _ = _law("baoab", 0.1, 3.0, exact)
    found = lg.stationary_covariance(drift, noise)[:3, :3]
    assert lg.relative_error(found, lg.posterior_covariance()) < 0.035


def test_known_gradient_variance_is_taken_out_of_the_noise():
    h, friction = 2e-4, 0.1
    heat = lg.gradient_noise()
    plain = sghmc(lg.target(), constant(h), friction)
    aware = sghmc(lg.target(), constant(h), friction, gradient_variance=jnp.asarray(np.diag(heat)))
    found = {}
    for label, sampler in (("plain", plain), ("aware", aware)):
        state = sampler.init(jax.random.key(0), jnp.asarray(lg.SHIFT))
        drift, noise, _ = lg.one_step_law(sampler, state, _keys(), ("position", "velocity"))
        found[label] = np.diag(lg.stationary_covariance(drift, noise)[:3, :3])
    # what is left is the bias of the integrator and of noise that is correlated over coordinates
    exact = np.diag(lg.posterior_covariance())
    assert np.abs(found["aware"] / exact - 1).max() < 0.1
    assert np.abs(found["plain"] / exact - 1).max() > 0.2


@pytest.mark.parametrize("anchored", [True, False])
def test_control_variates_take_the_gradient_noise_out(anchored):
    """Exactly so on a Gaussian, whose gradient noise does not depend on the position."""
    h = 2e-2
    anchor = jnp.asarray(lg.SHIFT) if anchored else None
    sampler = sgld(control_variates(lg.target(), anchor), constant(h))
    state = sampler.init(jax.random.key(0), jnp.asarray(lg.SHIFT) + 1.0)
    drift, noise, mean = lg.one_step_law(sampler, state, _keys())
    precision = np.linalg.inv(lg.posterior_covariance())
    noiseless = np.linalg.inv(precision @ (EYE - 0.25 * h * precision))
    found = lg.stationary_covariance(drift, noise)
    assert lg.relative_error(found, noiseless) < 0.035
    np.testing.assert_allclose(mean, lg.data().mean(axis=0), atol=0.02)
    with_noise = sgld(lg.target(), constant(h))
    drift, noise, _ = lg.one_step_law(with_noise, state, _keys())
    assert lg.relative_error(lg.stationary_covariance(drift, noise), noiseless) > 0.1


def test_each_replica_has_its_temperature(monkeypatch):
    """Without swaps a ladder is as many SGLD chains, each with its temperature and step size."""
    monkeypatch.setattr(
        importlib.import_module("samplers.resgld"),
        "accept",
        lambda key, ratio: (jnp.zeros((), bool), jnp.zeros(())),
    )
    h, ladder, factors = 2e-3, (1.0, 3.0, 10.0), (1.0, 2.0, 0.5)
    sampler = resgld(
        lg.target(), constant(h), ladder, swap_every=1, num_estimates=2, step_factors=factors
    )
    state = sampler.init(jax.random.key(0), jnp.asarray(lg.SHIFT))
    drift, noise, _ = lg.one_step_law(sampler, state, _keys())
    found = lg.stationary_covariance(drift, noise)
    precision = np.linalg.inv(lg.posterior_covariance())
    for k, (t, factor) in enumerate(zip(ladder, factors, strict=True)):
        eps = factor * h
        a = EYE - 0.5 * eps * precision
        noise = eps * t * EYE + 0.25 * eps**2 * lg.gradient_noise()
        expected = lg.stationary_covariance(a, noise)
        own = found[3 * k : 3 * k + 3, 3 * k : 3 * k + 3]
        assert lg.relative_error(own, expected) < 0.035
