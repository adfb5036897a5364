"""The exact stationary law of SGLD and pSGLD, with controls that must fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import samplers
from samplers import Target, constant, psgld, sgld, tree
from tests.law import linear_gaussian as lg

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
KEYS = 60_000  # relative error of a variance from as many: sqrt(2/60000) = 0.6 %


def _keys():
    return jax.random.split(jax.random.key(3), KEYS)


def _adapted(sampler, temperature):
    """A state whose preconditioner has met gradients and is frozen."""
    values = lg.data()
    state = sampler.init(jax.random.key(0), jnp.asarray(lg.SHIFT) + 1.0)
    step = jax.jit(sampler.step)
    for i in range(12):
        key = jax.random.fold_in(jax.random.key(11), i)
        state, _ = step(key, state, values[jax.random.randint(key, (lg.B,), 0, lg.N)])
    return state


def _expected(h, metric, temperature):
    """Lyapunov equation of ``theta' = theta - h/2 G P theta + h/2 G g + sqrt(hG) xi``."""
    precision = np.linalg.inv(lg.posterior_covariance(temperature))
    drift = np.eye(3) - 0.5 * h * np.diag(metric) @ precision
    scaled = 0.5 * h * np.diag(metric)
    noise = h * np.diag(metric) + scaled @ lg.gradient_noise(temperature) @ scaled.T
    return lg.stationary_covariance(drift, noise)


CASES = [(h, t) for h in (0.3, 0.05) for t in (1.0, 0.1, 4.0)]


def _sampler(kind, target, h):
    if kind == "sgld":
        return sgld(target, constant(h * 0.02))
    return psgld(target, constant(h * 2e-3), adapt_steps=10, alpha=0.8, lmbd=1e-3)


def _stationary(kind, target, h, temperature):
    sampler = _sampler(kind, target, h * temperature if kind == "sgld" else h)
    state = _adapted(sampler, temperature)
    drift, noise, mean = lg.one_step_law(sampler, state, _keys())
    step = float(sampler.step(jax.random.key(0), state, lg.data()[:10])[1].step_size)
    metric = np.ones(3)
    if kind == "psgld":
        v = np.asarray(state.drive.preconditioner.second_moment) / (1 - 0.8**10)
        metric = 1 / (1e-3 + np.sqrt(v))
    return lg.stationary_covariance(drift, noise), mean, step, metric


@pytest.mark.parametrize("kind", ["sgld", "psgld"])
@pytest.mark.parametrize(("h", "temperature"), CASES)
def test_stationary_law_is_exact(kind, h, temperature):
    found, mean, step, metric = _stationary(kind, lg.target(temperature), h, temperature)
    expected = _expected(step, metric, temperature)
    assert lg.relative_error(found, expected) < 0.03
    spread = np.sqrt(np.diag(expected))
    assert np.all(np.abs(mean - lg.data().mean(axis=0)) < 0.3 * spread)


@pytest.mark.parametrize("kind", ["sgld", "psgld"])
def test_small_steps_give_the_posterior_itself(kind):
    found = _stationary(kind, lg.target(), 2e-3, 1.0)[0]
    assert lg.relative_error(found, lg.posterior_covariance()) < 0.03


@pytest.mark.parametrize("kind", ["sgld", "psgld"])
@pytest.mark.parametrize("control", ["half the noise", "N/B doubled", "N/B dropped"])
def test_controls_fail(kind, control, monkeypatch):
    target = lg.target()
    if control == "half the noise":
        whole = tree.random_normal_like
        monkeypatch.setattr(
            tree,
            "random_normal_like",
            lambda k, t: jax.tree.map(lambda x: x / np.sqrt(2), whole(k, t)),
        )
    else:
        target = lg.target(n_over_b=2.0 if "doubled" in control else lg.B / lg.N)
    found = _stationary(kind, target, 2e-3, 1.0)[0]
    assert lg.relative_error(found, lg.posterior_covariance()) > 0.3


def test_never_freezing_samples_another_law():
    """Why freezing is the default: on a heavy-tailed target an adapting G is wrong."""

    def log_density(x, batch):
        del batch
        return -2.0 * jnp.sum(jnp.log1p(x**2 / 3.0))  # Student t with 3 degrees of freedom

    target = Target(log_density, lambda x: log_density(x, None), 1)
    spread = {}
    for name, adapt in (("frozen", 500), ("adapting", None)):
        sampler = psgld(target, constant(0.02), adapt, alpha=0.9, lmbd=0.02)
        result = samplers.run(
            jax.random.key(5), sampler, jnp.zeros((64, 4)), num_burn_in=3000, num_draws=300,
            thinning=50,
        )  # fmt: skip
        spread[name] = np.quantile(np.abs(result.draws), 0.5)
    exact = 0.7649  # median of |t_3|
    assert abs(spread["frozen"] / exact - 1) < 0.12
    assert abs(spread["adapting"] / exact - 1) > 0.2
