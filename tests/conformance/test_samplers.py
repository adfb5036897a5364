"""One suite over all samplers: a new one is tested by adding a row."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samplers import (
    Target,
    constant,
    convergence,
    ensemble,
    first_last,
    nuts,
    polynomial,
    psgld,
    rmsprop,
    run,
    sgld,
)

DATA = jnp.asarray(np.random.default_rng(0).normal(1.5, 1.0, (40, 2)), jnp.float32)


def _target(sign=1.0):
    def log_density(p, batch):
        values = DATA if batch is None else batch
        gap = jnp.mean(jnp.sum((values - p["mean"]["x"]) ** 2, axis=1))
        return sign * -0.5 * 40 * gap - 0.5 * jnp.sum(p["other"] ** 2)

    return Target(log_density, lambda p: log_density(p, None), 40)


ROWS = {
    "sgld": lambda t: sgld(t, constant(1e-3)),
    "psgld": lambda t: psgld(t, constant(1e-3), adapt_steps=20),
    "psgld, adapting": lambda t: psgld(t, constant(1e-3), adapt_steps=None),
    "ensemble": lambda t: ensemble(t, optax.adam(1e-2)),
    "ensemble, validated": lambda t: ensemble(
        t, optax.adam(1e-2), lambda p: jnp.sum(p["mean"]["x"] ** 2)
    ),
    "nuts": lambda t: nuts(t, num_warmup=20, max_doublings=4),
}
EACH = pytest.mark.parametrize("name", ROWS)


def _start(chains, dtype=jnp.float32):
    return {"mean": {"x": jnp.zeros((chains, 2), dtype)}, "other": jnp.ones((chains, 3), dtype)}


def _run(name, chains=3, target=None, key=0, start=None, **more):
    settings = {"batch_size": 8, "num_burn_in": 20, "num_draws": 6, "thinning": 4, **more}
    sampler = ROWS[name](target or _target())
    return run(jax.random.key(key), sampler, start or _start(chains), DATA, **settings)


@EACH
def test_pytrees_shapes_and_dtypes_are_kept(name):
    made = _run(name)
    assert jax.tree.structure(made.draws) == jax.tree.structure(_start(1))
    assert made.draws["other"].shape == (3, 6, 3)
    assert {x.dtype for x in jax.tree.leaves(made.draws)} == {np.dtype("float32")}
    assert made.info.log_density.shape == (3, 11)
    assert made.num_burn_in_periods == 5
    assert made.alive.all()


@EACH
@pytest.mark.usefixtures("x64")
def test_float64(name):
    made = _run(name, start=_start(2, jnp.float64))
    assert {x.dtype for x in jax.tree.leaves(made.draws)} == {np.dtype("float64")}


@EACH
def test_equal_seeds_repeat_and_others_differ(name):
    a, b, c = _run(name), _run(name), _run(name, key=1)
    jax.tree.map(np.testing.assert_array_equal, a.draws, b.draws)
    assert not np.array_equal(a.draws["mean"]["x"], c.draws["mean"]["x"])


@EACH
def test_chains_from_one_start_are_independent(name):
    """Catches one key shared by the chains (or one batch: see the ensemble, which has no noise)."""
    x = _run(name, chains=4).draws["mean"]["x"]
    last = x[:, -1]
    assert len(np.unique(last, axis=0)) == 4


def test_noise_of_chains_is_uncorrelated():
    flat = Target(lambda p, b: 0.0 * jnp.sum(p), lambda p: 0.0 * jnp.sum(p), 1)
    made = run(
        jax.random.key(0), sgld(flat, constant(1.0)), jnp.zeros((4, 5)), num_burn_in=0,
        num_draws=2000,
    )  # fmt: skip
    steps = np.diff(made.draws, axis=1).reshape(4, -1)
    correlation = np.corrcoef(steps) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(steps.shape[1])


@EACH
def test_adding_chains_does_not_change_a_lone_step(name):
    """vmap over chains is a loop over chains: the sampler alone gives what the loop gave."""
    sampler = ROWS[name](_target())
    states = jax.vmap(sampler.init)(jax.random.split(jax.random.key(0), 3), _start(3))
    keys = jax.random.split(jax.random.key(1), 3)
    together = jax.vmap(sampler.step, (0, 0, None))(keys, states, DATA[:8])[0]
    for chain in range(3):
        state = jax.tree.map(lambda x, c=chain: x[c], states)
        alone = sampler.step(keys[chain], state, DATA[:8])[0]
        jax.tree.map(
            lambda a, b, c=chain: np.testing.assert_allclose(a[c], b, rtol=2e-5, atol=1e-6),
            together.position,
            alone.position,
        )


@EACH
def test_a_second_block_does_not_recompile(name):
    traces = []

    def counted(p, batch):
        traces.append(1)
        return _target().log_density(p, batch)

    target = Target(counted, lambda p: counted(p, None), 40)
    counts = []
    _run(name, target=target, periods_per_block=1, callback=lambda _: counts.append(len(traces)))
    assert len(counts) == 11
    assert counts[-1] == counts[0]


@EACH
def test_a_dead_chain_is_frozen_reported_and_alone(name):
    start = _start(3)
    start["other"] = start["other"].at[1, 0].set(jnp.nan)
    made = _run(name, start=start)
    assert made.alive.tolist() == [True, False, True]
    assert made.failed_at[1] == 0
    whole = _run(name)
    for chain in (0, 2):
        np.testing.assert_array_equal(made.draws["other"][chain], whole.draws["other"][chain])


@pytest.mark.parametrize("name", ["sgld", "psgld", "ensemble"])
def test_a_chain_that_diverges_on_the_way_is_caught(name):
    def cliff(p, batch):
        value = _target().log_density(p, batch)
        return value * jnp.where(jnp.sum(p["other"] ** 2) > 100.0, jnp.nan, 1.0)

    start = _start(2)
    start["other"] = start["other"].at[0].set(5.77)  # a step from the cliff, pushed uphill
    pushed = Target(
        lambda p, b: cliff(p, b) + 50.0 * jnp.sum(p["other"]), lambda p: cliff(p, None), 40
    )
    made = _run(name, target=pushed, start=start, num_draws=40)
    assert not made.alive[0]
    assert made.failed_at[0] >= 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(made.draws))


@EACH
def test_resume_is_bit_exact(name, tmp_path):
    class Killed(Exception):
        pass

    def kill(block):
        if block.step >= 24:
            raise Killed

    settings = {"periods_per_block": 2, "checkpoint": tmp_path, "fingerprint": "one"}
    with pytest.raises(Killed):
        _run(name, callback=kill, **settings)
    resumed = _run(name, **settings)
    whole = _run(name, periods_per_block=2)
    jax.tree.map(np.testing.assert_array_equal, tuple(resumed), tuple(whole))
    with pytest.raises(ValueError, match="another run"):
        _run(name, **{**settings, "fingerprint": "two"})


def test_ensemble_keeps_the_best_validation_loss():
    """The loss is lowest where the optimum is passed, not where it ends."""

    def loss(p):
        return jnp.sum((p["mean"]["x"] - 0.7) ** 2)  # the data pull on to 1.5

    sampler = ensemble(_target(), optax.sgd(2e-2), loss)
    made = run(
        jax.random.key(0), sampler, _start(2), DATA, batch_size=40, num_burn_in=0, num_draws=150
    )
    best = made.draws["mean"]["x"][:, -1]
    np.testing.assert_allclose(best, 0.7, atol=0.05)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"num_burn_in": 21}, "multiple of thinning"),
        ({"batch_size": 41}, "between 1 and N=40"),
        ({"batch_size": None}, "between 1 and N=40"),
        ({"num_draws": 0}, "at least 1"),
    ],
)
def test_wrong_requests_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        _run("sgld", **change)


def test_data_of_different_length_is_refused():
    with pytest.raises(ValueError, match="disagree"):
        run(
            jax.random.key(0), ROWS["sgld"](_target()), _start(1), (DATA, DATA[:3]),
            batch_size=2, num_burn_in=0, num_draws=1,
        )  # fmt: skip


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


def test_convergence_sees_stuck_and_slow_chains():
    rng = np.random.default_rng(0)
    good = rng.normal(size=(4, 500))
    stuck = good + np.array([0, 0, 0, 4.0])[:, None]
    slow = np.cumsum(good, axis=1)
    made = convergence(np.stack([good, stuck, slow], axis=-1))
    assert made.rhat[0] < 1.01
    assert made.rhat[1] > 1.5
    assert made.ess_bulk[0] > 1500
    assert made.ess_bulk[2] < 100
    assert made.mcse_mean[0] == pytest.approx(1 / np.sqrt(2000), rel=0.15)
    with pytest.raises(ValueError, match="chain, draw, quantity"):
        convergence(good)
