"""One suite over all samplers: a new one is tested by adding a row."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from samplers import (
    Target,
    amagold,
    baoab,
    clip_gradients,
    constant,
    control_variates,
    cyclical,
    diagonal_fisher,
    ensemble,
    hmc,
    laplace,
    mclmc,
    nuts,
    obabo,
    psgld,
    resgld,
    run,
    sggmc,
    sghmc,
    sgld,
    sgnht,
    swag,
    tempered,
)

DATA = jnp.asarray(np.random.default_rng(0).normal(1.5, 1.0, (40, 2)), jnp.float32)
H = constant(1e-3)


pytestmark = pytest.mark.usefixtures("compile_fast")


def _log_density(p, batch):
    values = DATA if batch is None else batch
    gap = jnp.mean(jnp.sum((values - p["mean"]["x"]) ** 2, axis=1))
    return -0.5 * 40 * gap - 0.5 * jnp.sum(p["other"] ** 2)


def _target(traces=None):
    def counted(p, batch):
        if traces is not None:
            traces.append(1)
        return _log_density(p, batch)

    return Target(counted, lambda p: counted(p, None), 40)


ROWS = {
    "sgld": lambda t: sgld(t, H),
    "sgld, fisher": lambda t: sgld(t, H, diagonal_fisher(8, adapt_steps=20)),
    "sgld, cold": lambda t: sgld(tempered(t, 0.1), H),
    "sgld, clipped control variates": lambda t: sgld(clip_gradients(control_variates(t), 100.0), H),
    "psgld": lambda t: psgld(t, H, adapt_steps=20),
    "psgld, adapting": lambda t: psgld(t, H, adapt_steps=None),
    "psgld, gamma": lambda t: psgld(t, H, adapt_steps=None, gamma_term=True),
    "sghmc": lambda t: sghmc(t, H, 0.1),
    "baoab": lambda t: baoab(t, constant(0.02), 5.0),
    "obabo": lambda t: obabo(t, constant(0.02), 5.0),
    "sgnht": lambda t: sgnht(t, constant(0.02), 5.0),
    "sggmc": lambda t: sggmc(t, 0.02, 5.0, 3, adapt_steps=20),
    "amagold": lambda t: amagold(t, 0.02, 0.1, 3, adapt_steps=20),
    "amagold, control variates": lambda t: amagold(control_variates(t), 0.02, 0.1, 3),
    "resgld": lambda t: resgld(t, H, (1.0, 2.0, 4.0), swap_every=3, num_estimates=2),
    "resgld, full": lambda t: resgld(control_variates(t), H, (1.0, 4.0), 2, 0),
    "cyclical sgld": lambda t: cyclical(functools.partial(sgld, t), 2e-3, 8, 0.25),
    "cyclical sghmc": lambda t: cyclical(functools.partial(sghmc, t), 2e-3, 8, 0.25),
    "nuts": lambda t: nuts(t, num_warmup=20, max_doublings=4),
    "hmc": lambda t: hmc(t, num_warmup=20, num_integration_steps=3),
    "mclmc": lambda t: mclmc(t, num_warmup=20),
    "ensemble": lambda t: ensemble(t, optax.adam(1e-2)),
    "ensemble, validated": lambda t: ensemble(
        t, optax.adam(1e-2), lambda p: jnp.sum(p["mean"]["x"] ** 2)
    ),
    "swag": lambda t: swag(t, optax.sgd(1e-2), 8, rank=3),
    "laplace": lambda t: laplace(t, min_precision=1e-3),
}
METROPOLIS = ("sggmc", "amagold", "amagold, control variates", "nuts", "hmc")
# Full-data samplers whose law has no mini-batch: nothing to stream
FULL = ("nuts", "hmc", "mclmc", "laplace")
EACH = pytest.mark.parametrize("name", list(ROWS))
TRACES = {}


@functools.cache
def _sampler(name):
    """One object a row: what was compiled for it in one test serves the next."""
    TRACES[name] = []
    return ROWS[name](_target(TRACES[name]))


def _start(chains, dtype=jnp.float32):
    return {"mean": {"x": jnp.zeros((chains, 2), dtype)}, "other": jnp.ones((chains, 3), dtype)}


def _run(name, sampler=None, key=0, start=None, **more):
    settings = {
        "batch_size": 8, "num_burn_in": 20, "num_draws": 7, "thinning": 4,
        "periods_per_block": 2, **more,
    }  # fmt: skip
    sampler = sampler or _sampler(name)
    data = settings.pop("data", DATA)
    return run(jax.random.key(key), sampler, start or _start(3), data, **settings)


def _equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@EACH
def test_pytrees_shapes_and_dtypes_are_kept(name):
    made = _run(name)
    assert jax.tree.structure(made.draws) == jax.tree.structure(_start(1))
    assert made.draws["other"].shape == (3, 7, 3)
    assert {x.dtype for x in jax.tree.leaves(made.draws)} == {np.dtype("float32")}
    periods = len(made.kept)
    assert made.info.log_density.shape == (3, periods)
    assert made.kept.sum() == 7
    assert not made.kept[:5].any()
    assert made.alive.all()
    assert made.stopped == "draws"


@EACH
def test_float64_is_kept(name):
    with jax.enable_x64(True):
        sampler = ROWS[name](_target())
        count = sampler.num_batches
        batch = jnp.zeros((8, 2) if count is None else (count, 8, 2), jnp.float64)
        position = jax.tree.map(lambda x: x[0], _start(1, jnp.float64))

        def whole(key, position):
            state = sampler.init(key, position)
            new, _ = sampler.step(key, state, batch)
            same = jax.tree.map(lambda a, b: a.dtype == b.dtype, new, state)
            assert all(jax.tree.leaves(same))  # or the loop could not carry it
            return sampler.draw(new)

        made = jax.eval_shape(whole, jax.random.key(0), position)
    assert {x.dtype for x in jax.tree.leaves(made)} == {np.dtype("float64")}


@pytest.mark.parametrize("name", ["psgld", "sggmc", "resgld", "nuts"])
def test_runs_in_float64(name):
    with jax.enable_x64(True):
        made = _run(name, ROWS[name](_target()), start=_start(2, jnp.float64), num_draws=1)
    assert {x.dtype for x in jax.tree.leaves(made.draws)} == {np.dtype("float64")}
    assert made.alive.all()


@EACH
def test_a_second_call_repeats_the_first_and_compiles_nothing(name):
    a = _run(name)
    compiled = len(TRACES[name])
    b, c = _run(name), _run(name, key=1)
    assert len(TRACES[name]) == compiled
    _equal(a.draws, b.draws)
    assert not np.array_equal(a.draws["mean"]["x"], c.draws["mean"]["x"])


@EACH
def test_chains_from_one_start_are_independent(name):
    """Catches one key shared by the chains (or one batch: see the ensemble, which has no noise)."""
    last = _run(name).draws["mean"]["x"][:, -1]
    assert len(np.unique(last, axis=0)) == 3


@EACH
def test_adding_chains_does_not_change_a_lone_step(name):
    """vmap over chains is a loop over chains: the sampler alone gives what the loop gave."""
    sampler = _sampler(name)
    keys = jax.random.split(jax.random.key(1), 3)
    count = sampler.num_batches
    batch = DATA[:8] if count is None else jnp.stack([DATA[i : i + 8] for i in range(count)])

    def whole(key, position):
        state = sampler.init(key, position)
        return sampler.draw(sampler.step(key, state, batch)[0])

    together = jax.jit(jax.vmap(whole))(keys, _start(3))
    alone = jax.jit(whole)
    for chain in range(3):
        made = alone(keys[chain], jax.tree.map(lambda x, c=chain: x[c], _start(3)))
        jax.tree.map(
            lambda a, b, c=chain: np.testing.assert_allclose(a[c], b, rtol=1e-4, atol=1e-5),
            together,
            made,
        )


@EACH
def test_a_dead_chain_is_frozen_reported_and_alone(name):
    start = _start(3)
    start["other"] = start["other"].at[1, 0].set(jnp.nan)
    made = _run(name, start=start)
    assert made.alive.tolist() == [True, False, True]
    assert made.failed_at[1] == 0
    assert "chain 1 met a non-finite number at step 0" in made.advice[0]
    whole = _run(name)
    for chain in (0, 2):
        np.testing.assert_array_equal(made.draws["other"][chain], whole.draws["other"][chain])


CLIFF = ("sgld", "psgld", "sghmc", "baoab", "sgnht", "resgld", "ensemble", *METROPOLIS)


@pytest.mark.parametrize("name", CLIFF)
def test_a_cliff_of_nan_gradients(name):
    """A chain that falls over it is frozen and reported; a Metropolis test refuses to go."""

    def cliff(p, batch):
        value = _log_density(p, batch)
        return value * jnp.where(jnp.sum(p["other"] ** 2) > 100.0, jnp.nan, 1.0)

    def pushed(p, batch):
        return cliff(p, batch) + 50.0 * jnp.sum(p["other"])

    start = _start(2)
    start["other"] = start["other"].at[0].set(5.72)  # steps from the cliff, pushed uphill
    sampler = ROWS[name](Target(pushed, lambda p: pushed(p, None), 40))
    made = _run(name, sampler, start=start, num_draws=31, periods_per_block=36)
    if name in METROPOLIS:
        assert made.alive.all()
        assert np.all(np.sum(made.draws["other"] ** 2, axis=-1) <= 100.0)
    else:
        assert not made.alive[0]
        assert made.failed_at[0] >= 0
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(made.draws))


@EACH
def test_resume_is_bit_exact(name, tmp_path):
    class Killed(Exception):
        pass

    def kill(block):
        if block.step >= 32:
            raise Killed

    settings = {"checkpoint": tmp_path, "fingerprint": "one"}
    with pytest.raises(Killed):
        _run(name, callback=kill, **settings)
    resumed = _run(name, **settings)
    _equal(tuple(resumed), tuple(_run(name)))
    _equal(tuple(_run(name, **settings)), tuple(resumed))  # a finished run answers at once
    with pytest.raises(ValueError, match="another run"):
        _run(name, **{**settings, "fingerprint": "two"})


@pytest.mark.parametrize("name", ["sgld", "amagold", "resgld", "swag"])
def test_streamed_data_are_the_data_on_the_device(name):
    on_device = _run(name)
    streamed = _run(name, data=np.asarray(DATA), stream=True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        streamed.draws,
        on_device.draws,
    )


def test_noise_of_chains_is_uncorrelated():
    flat = Target(lambda p, b: 0.0 * jnp.sum(p), lambda p: 0.0 * jnp.sum(p), 1)
    made = run(
        jax.random.key(0), sgld(flat, constant(1.0)), jnp.zeros((4, 5)), num_burn_in=0,
        num_draws=2000,
    )  # fmt: skip
    steps = np.diff(made.draws, axis=1).reshape(4, -1)
    correlation = np.corrcoef(steps) - np.eye(4)
    assert np.abs(correlation).max() < 5 / np.sqrt(steps.shape[1])


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
