"""Schedules, preconditioners, gradient wrappers and noise: the parts recipes are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from samplers import (
    Target,
    clip_gradients,
    constant,
    control_variates,
    cosine_cycles,
    cyclical,
    diagonal_fisher,
    first_last,
    fixed,
    hold,
    polynomial,
    psgld,
    rmsprop,
    sgld,
    tempered,
    tree,
    warm_up,
)
from samplers.gradients import estimator


def test_schedules():
    h = first_last(1e-2, 1e-4, 1000, 0.5)
    assert float(h(0)) == pytest.approx(1e-2)
    assert float(h(1000)) == pytest.approx(1e-4, rel=1e-4)
    same = first_last(1e-3, 1e-3, 1000)  # jax-sgmc gives NaN here
    assert float(same(500)) == pytest.approx(1e-3)
    p = polynomial(2.0, 3.0, 0.55)
    assert float(p(7)) == pytest.approx(2.0 * 10**-0.55, rel=1e-5)
    for wrong in (lambda: first_last(1e-4, 1e-3, 10), lambda: constant(0.0)):
        with pytest.raises(ValueError, match="step size"):
            wrong()


def test_rmsprop_follows_its_formula():
    made = rmsprop(alpha=0.9, lmbd=0.1, adapt_steps=3)
    state = made.init(jnp.zeros(2))
    v = np.zeros(2)
    for step in range(5):
        g = np.array([1.0 + step, -2.0])
        state = made.update(state, jnp.asarray(g), jnp.asarray(step))
        if step < 3:
            v = 0.9 * v + 0.1 * g**2
    expected = 1 / (0.1 + np.sqrt(v / (1 - 0.9**3)))
    np.testing.assert_allclose(made.metric(state), expected, rtol=1e-5)


def test_diagonal_fisher_is_the_variance_of_one_datum_s_gradient():
    rng = np.random.default_rng(0)
    made = diagonal_fisher(batch_size=25, alpha=0.999, damping=1e-3)
    gradients = jnp.asarray(rng.normal(size=(4000, 25, 2)).mean(axis=1) * [1.0, 2.0])
    update = jax.jit(made.update)
    first = made.update(made.init(jnp.zeros(2)), jnp.asarray([3.0, 0.1]), jnp.asarray(0))
    assert np.all(made.metric(first) <= 1 / (25 * np.array([9.0, 0.01])))  # no wild first step
    state = made.init(jnp.zeros(2))
    for g in gradients:
        state = update(state, g.astype(jnp.float32), jnp.asarray(0))
    np.testing.assert_allclose(made.metric(state), [1.0, 0.25], rtol=0.12)


def test_fixed_metric_takes_a_number_or_a_tree():
    position = {"a": jnp.zeros(2), "b": jnp.zeros((2, 2))}
    made = fixed(0.5)
    np.testing.assert_array_equal(made.metric(made.init(position))["b"], np.full((2, 2), 0.5))
    made = fixed({"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(3.0)})
    metric = made.metric(made.init(position))
    np.testing.assert_array_equal(metric["a"], [1.0, 2.0])
    assert metric["b"].shape == (2, 2)


def test_cycles_warm_up_and_hold():
    h = cosine_cycles(1.0, 0.1, 10)
    np.testing.assert_allclose([h(0), h(5), h(10)], [1.0, 0.55, 1.0], rtol=1e-5)
    assert 0.1 < float(h(9)) < 0.15
    rise = warm_up(constant(2.0), 4)
    np.testing.assert_allclose([rise(0), rise(1), rise(3), rise(9)], [0.5, 1.0, 2.0, 2.0])
    held = hold(first_last(1e-2, 1e-4, 100), 100)
    assert float(held(1000)) == pytest.approx(1e-4, rel=1e-4)


def _quadratic():
    data = jnp.asarray(np.random.default_rng(1).normal(size=(20, 2)), jnp.float32)

    def log_density(x, batch):
        return -0.5 * 20 * jnp.mean(jnp.sum((batch - x) ** 2, axis=-1))

    return Target(log_density, lambda x: log_density(x, data), 20), data


def test_clipping_acts_on_the_norm_of_the_mean_gradient():
    target, data = _quadratic()
    far = jnp.asarray([30.0, 40.0])
    how = estimator(clip_gradients(target, 2.0))
    value, gradient = how.estimate(how.init(far), far, data)
    assert float(jnp.linalg.norm(gradient)) == pytest.approx(2.0 * 20, rel=1e-5)
    assert float(value) == pytest.approx(float(target.log_density(far, data)))
    near = data.mean(axis=0) + 0.1
    _, small = how.estimate(how.init(near), near, data)
    np.testing.assert_allclose(small, jax.grad(target.log_density)(near, data), rtol=1e-6)


def test_control_variates_are_unbiased_and_quiet_near_their_anchor():
    """On a density whose gradient noise depends on the position, unlike a Gaussian's."""
    data = jnp.asarray(np.random.default_rng(1).gamma(2.0, size=(40, 1)), jnp.float32)

    def log_density(x, batch):
        return -40 * jnp.mean(batch * jnp.cosh(x))

    target = Target(log_density, lambda x: log_density(x, data), 40)
    anchor = jnp.asarray([0.5])
    how, plain = estimator(control_variates(target, anchor)), estimator(target)
    batches = data[jax.random.randint(jax.random.key(0), (4000, 5), 0, 40)]

    def gradients(which, x):
        return jax.vmap(lambda b: which.estimate(which.init(x), x, b)[1])(batches)

    full = jax.grad(target.log_density_full)
    for x in (jnp.asarray([0.6]), jnp.asarray([1.5])):
        made = gradients(how, x)
        error = made.std() / np.sqrt(4000)
        assert abs(float(made.mean() - full(x)[0])) < 4 * float(error)
    near = jnp.asarray([0.55])
    assert gradients(how, near).std() < 0.2 * gradients(plain, near).std()
    np.testing.assert_allclose(gradients(how, anchor), full(anchor)[0], rtol=1e-4)


def test_tempering_comes_first_and_once():
    target, data = _quadratic()
    cold = tempered(target, 0.1)
    x = jnp.asarray([1.0, 2.0])
    assert float(cold.log_density(x, data)) == pytest.approx(
        10 * float(target.log_density(x, data)), rel=1e-5
    )
    assert float(cold.log_density_full(x)) == pytest.approx(
        10 * float(target.log_density_full(x)), rel=1e-5
    )
    with pytest.raises(ValueError, match="temper the target first"):
        tempered(clip_gradients(target, 1.0), 0.5)


def test_noise_is_standard_normal_to_the_tails_and_independent():
    leaves = {"a": jnp.zeros((301, 700)), "b": jnp.zeros((300, 101))}
    made = tree.random_normal_like(jax.random.key(0), leaves)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), made) == jax.tree.map(
        lambda x: (x.shape, x.dtype), leaves
    )
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(made)])
    assert stats.kstest(flat, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(flat)) < 0.05
    assert 4.0 < np.abs(flat).max() < 6.0
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 0.01
    half = len(flat) // 2  # the two words of one Threefry block lie half an array apart
    assert abs(np.corrcoef(flat[:half], flat[half : 2 * half])[0, 1]) < 0.01
    other = tree.random_normal_like(jax.random.key(1), leaves)
    assert abs(np.corrcoef(np.ravel(made["a"]), np.ravel(other["a"]))[0, 1]) < 0.01
    # a control that must fail: uniform numbers of the same mean and variance
    uniform = np.random.default_rng(0).uniform(-np.sqrt(3), np.sqrt(3), flat.size)
    assert stats.kstest(uniform, "norm").pvalue < 1e-3


WRONG = {
    "exploration": lambda t: cyclical(lambda h, temperature: sgld(t, h), 1.0, 10, 1.0),
    "cycle has at least 2": lambda t: cyclical(lambda h, temperature: sgld(t, h), 1.0, 1),
    "max_norm must be positive": lambda t: clip_gradients(t, 0.0),
    "temperature must be positive": lambda t: tempered(t, 0.0),
    "alpha must be": lambda t: psgld(t, constant(1.0), 10, alpha=1.0),
    "num_steps": lambda t: warm_up(constant(1.0), 0),
    "step sizes must satisfy": lambda t: cosine_cycles(0.1, 0.2, 10),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_parts_are_refused(text):
    with pytest.raises(ValueError, match=text):
        WRONG[text](_quadratic()[0])
