"""The pilot's step size against the exact law it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import baoab, constant, control_variates, pilot, rmsprop, sgld
from tests.law import linear_gaussian as lg

pytestmark = pytest.mark.usefixtures("compile_module_fast")
DATA = jnp.asarray(lg.data(), jnp.float32)


def _start(chains=4):
    return jnp.asarray(lg.SHIFT, jnp.float32) + jax.random.normal(jax.random.key(1), (chains, 3))


def _excess(sampler):
    """Relative excess of the stationary variances over the posterior's, exactly."""
    with jax.enable_x64(True):
        fields = ("position", "velocity") if "velocity" in _fields(sampler) else ("position",)
        state = sampler.init(jax.random.key(0), jnp.asarray(lg.SHIFT))
        keys = jax.random.split(jax.random.key(3), 20_000)
        drift, noise, _ = lg.one_step_law(sampler, state, keys, fields)
    found = np.diag(lg.stationary_covariance(drift, noise))[:3]
    return found / np.diag(lg.posterior_covariance()) - 1


def _fields(sampler):
    return jax.eval_shape(sampler.init, jax.random.key(0), jnp.zeros(3))._fields


@pytest.fixture(scope="module")
def chosen():
    return pilot(jax.random.key(0), lg.target(), _start(), DATA, lg.B, tolerance=0.1)


@pytest.mark.slow
def test_bias_is_what_was_allowed(chosen):
    assert max(chosen.noise_bias, chosen.curvature_bias) == pytest.approx(0.1, rel=1e-3)
    excess = _excess(sgld(lg.target(), constant(chosen.step_size)))
    assert 0.05 < excess.mean() < 0.2
    # a control: four times the step breaks the promise
    assert _excess(sgld(lg.target(), constant(4 * chosen.step_size))).mean() > 0.3


def test_measurements_are_the_exact_ones(chosen):
    precision = np.linalg.inv(lg.posterior_covariance())
    np.testing.assert_allclose(
        chosen.measured.curvature, np.linalg.eigvalsh(precision).max(), rtol=0.2
    )
    np.testing.assert_allclose(chosen.measured.noise, np.diag(lg.gradient_noise()).mean(), rtol=0.4)


def test_time_step_of_underdamped_dynamics(chosen):
    friction = 30.0
    h = chosen.time_step(friction, tolerance=0.1)
    assert 0.03 < _excess(baoab(lg.target(), constant(h), friction)).mean() < 0.2


@pytest.mark.slow
def test_burn_in_reaches_equilibrium_and_a_longer_way_takes_longer(chosen):
    far = pilot(jax.random.key(0), lg.target(), _start() + 40.0, DATA, lg.B, tolerance=0.1)
    assert far.num_burn_in > chosen.num_burn_in
    assert chosen.num_burn_in % 100 == 0
    # e-folding steps of the slowest direction at this step size, from 40 to a tenth of the spread
    slowest = np.linalg.eigvalsh(np.linalg.inv(lg.posterior_covariance())).min()
    needed = 2 / (far.step_size * slowest) * np.log(40 / 0.03)
    assert 0.3 * needed < far.num_burn_in < 6 * needed


@pytest.mark.slow
def test_control_variates_allow_a_larger_step(chosen):
    quiet = control_variates(lg.target(), jnp.asarray(lg.SHIFT, jnp.float32))
    made = pilot(jax.random.key(0), quiet, _start(), DATA, lg.B, tolerance=0.1)
    assert made.step_size > 1.7 * chosen.step_size
    assert any("mini-batch noise limits" in text for text in chosen.advice) == (
        chosen.noise_bias > 10 * chosen.curvature_bias
    )


def test_preconditioned_steps_are_measured_in_their_metric():
    made = pilot(
        jax.random.key(0), lg.target(), _start(), DATA, lg.B, preconditioner=rmsprop(0.9, 1e-2),
        rounds=2,
    )  # fmt: skip
    assert made.step_size > 0
    assert made.positions.shape == (4, 3)
    assert np.isfinite(made.log_density).all()


def test_wrong_requests_are_refused():
    for change, text in (
        ({"tolerance": 0.0}, "tolerance"),
        ({"num_steps": 105}, "multiple of 10"),
        ({"rounds": 0}, "rounds 1"),
    ):
        with pytest.raises(ValueError, match=text):
            pilot(jax.random.key(0), lg.target(), _start(), DATA, lg.B, **change)
    with pytest.raises(ValueError, match="not finite"):
        pilot(jax.random.key(0), lg.target(), _start() * np.nan, DATA, lg.B)
