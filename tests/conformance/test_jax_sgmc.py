"""A JaxSGMC program runs on our kernels, and samples what it means to sample."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from jax_sgmc import potential
from jax_sgmc.data.core import HostDataLoader
from jax_sgmc.data.numpy_loader import DeviceNumpyDataLoader, NumpyDataLoader

import samplers
from samplers import constant, psgld
from samplers import jax_sgmc as alias
from samplers.jax_sgmc.alias import _rms_prop, _schedule
from samplers.jax_sgmc.problem import Problem, gradient_variance
from samplers.jax_sgmc.solver import Task, plan_draws
from samplers.run import run

QUIET = {"progress_bar": False}


# --- the documented quick start: linear regression of four weights and the noise -----------------


class Regression:
    """The model of JaxSGMC's quick start, and the law of its posterior by quadrature."""

    def __init__(self, copies=1.0):
        key_x, key_noise, key_w = jax.random.split(jax.random.PRNGKey(0), 3)
        u = jax.random.uniform(key_x, minval=-10, maxval=10, shape=(1000, 4))
        columns = [u[:, 0] + u[:, 1], u[:, 1], 0.1 * u[:, 2] - 0.5 * u[:, 3], u[:, 3]]
        x = jnp.stack(columns).transpose()
        w = jax.random.uniform(key_w, minval=-1, maxval=1, shape=(4, 1))
        y = jnp.matmul(x, w) + 0.5 * jax.random.normal(key_noise, shape=(1000, 1))
        self.x, self.y = np.asarray(x, float), np.asarray(y, float)[:, 0]
        self.loader = NumpyDataLoader(x=x, y=y)

        def likelihood(sample, observations):
            predicted = jnp.dot(observations["x"], sample["w"])
            scale = jnp.exp(sample["log_sigma"])
            return copies * norm.logpdf(observations["y"] - predicted, scale=scale)

        def prior(sample):
            return 1 / jnp.exp(sample["log_sigma"])

        self.model = {"prior": prior, "likelihood": likelihood, "strategy": "vmap"}
        self.start = {"w": jnp.zeros((4, 1)), "log_sigma": jnp.array(1.0)}

    def exact(self):
        """Mean and standard deviation of the weights and of log sigma."""
        inverse = np.linalg.inv(self.x.T @ self.x)
        best = inverse @ self.x.T @ self.y
        squares = np.sum((self.y - self.x @ best) ** 2)
        log_sigma = np.linspace(-1.5, 0.5, 20001)
        # the weights, integrated out, take four of the thousand powers of sigma
        log_p = -996 * log_sigma - 0.5 * squares * np.exp(-2 * log_sigma) + np.exp(-log_sigma)
        p = np.exp(log_p - log_p.max())
        p /= p.sum()
        mean = p @ log_sigma
        spread = np.sqrt((p @ np.exp(2 * log_sigma)) * np.diag(inverse))
        return np.append(best, mean), np.append(spread, np.sqrt(p @ (log_sigma - mean) ** 2))


def _flat(variables):
    return np.concatenate([variables["w"][..., 0], variables["log_sigma"][..., None]], axis=-1)


SLOW = np.array([False, False, True, True, False])  # a pair of correlation 0.98


def test_the_quick_start():
    problem = Regression()
    potential_fn = potential.minibatch_potential(**problem.model)
    sgld = alias.sgld(
        potential_fn,
        problem.loader,
        cache_size=512,
        batch_size=2,
        burn_in=20000,
        accepted_samples=1000,
        rms_prop=True,
        progress_bar=False,
    )
    results = sgld(problem.start, iterations=50000)
    assert len(results) == 1
    assert results[0]["sample_count"] == 1000
    variables = results[0]["samples"]["variables"]
    assert variables["w"].shape == (1000, 4, 1)
    assert variables["log_sigma"].shape == (1000,)
    mean, sd = problem.exact()
    made = _flat(variables)
    shift, ratio = (made.mean(axis=0) - mean) / sd, made.std(axis=0) / sd
    assert np.all(np.abs(shift) < np.where(SLOW, 1.5, 0.9))
    # batches of two of a thousand data widen it twofold, in JaxSGMC as here
    assert np.all((ratio > np.where(SLOW, 0.4, 0.9)) & (ratio < 2.5))


def _exactly(copies, iterations):
    """The quick start by SGGMC: (shift of the mean, ratio of sds), in exact standard deviations."""
    problem = Regression(copies)
    mean, sd = problem.exact()
    curvature = copies * np.append(np.sum(problem.x**2, axis=0) / 0.25, 2000.0)
    mass = {"w": jnp.asarray(curvature[:4, None]), "log_sigma": jnp.asarray(curvature[4])}
    sggmc = alias.sggmc(
        potential.minibatch_potential(**problem.model),
        potential.full_potential(**problem.model),
        problem.loader,
        batch_size=500,
        integration_steps=6,
        friction_coefficient=0.3,
        first_step_size=0.25,
        last_step_size=0.25,
        burn_in=40,
        mass=mass,
        **QUIET,
    )
    start = {"w": jnp.asarray(mean[:4, None], jnp.float32), "log_sigma": jnp.array(mean[4])}
    results = sggmc(*[start] * 16, iterations=iterations)
    made = np.stack([_flat(r["samples"]["variables"]) for r in results])
    return (made.mean(axis=(0, 1)) - mean) / sd, made.std(axis=(0, 1)) / sd


def test_the_quick_start_has_its_posterior():
    shift, ratio = _exactly(1.0, 300)
    assert np.all(np.abs(shift) < np.where(SLOW, 0.9, 0.25))
    assert np.all(np.abs(ratio - 1) < np.where(SLOW, 0.5, 0.15))
    assert ratio[~SLOW].mean() == pytest.approx(1.0, abs=0.08)


def test_control_a_wrong_scale_is_seen():
    _, ratio = _exactly(2.0, 100)  # as if N/B were twice too large
    assert ratio[~SLOW].mean() < 0.85


# --- every call -------------------------------------------------------------------------------

SD = 0.5


class Gaussian:
    """Four means, each of posterior standard deviation 0.5; gradients without noise if asked."""

    def __init__(self, size=100, scatter=0.0, **more):
        scale = SD * np.sqrt(size)
        y = 2.0 + scatter * np.random.default_rng(0).normal(size=(size, 4))
        self.loader = NumpyDataLoader(y=y.astype(np.float32))

        def likelihood(sample, observations):
            return -0.5 * jnp.sum((sample["m"] - observations["y"]) ** 2) / scale**2

        model = {"prior": lambda _: 0.0, "likelihood": likelihood, "strategy": "vmap", **more}
        self.potential_fn = potential.minibatch_potential(**model)
        self.full_potential_fn = potential.full_potential(**model)
        self.start = {"m": jnp.full(4, 2.5)}


def _call(name, problem, loader=None, **settings):
    """(solver, start) of each alias, quiet."""
    loader = loader or problem.loader
    call = getattr(alias, name)
    potentials = (problem.potential_fn,)
    if name in ("amagold", "sggmc"):
        potentials += (problem.full_potential_fn,)
    start = (problem.start, problem.start) if name == "re_sgld" else problem.start
    return call(*potentials, loader, **QUIET, **settings), start


LAYOUT = {
    "sgld": {"likelihood"},
    "re_sgld": {"likelihood"},
    "amagold": {"energy", "acceptance_ratio", "step_size"},
    "sggmc": {"energy", "acceptance_ratio", "step_size", "kinetic_energy", "potential"},
    "sghmc": {"energy"},
    "obabo": {"energy"},
}
# Gradients without noise, so that the width is the sampler's own: 1/sqrt(1 - eps G P / 2) of SGLD,
# 1 of the others up to a percent.  JaxSGMC has 0.61 of pSGLD, 0.87 of reSGLD and 0.89 of SGHMC at
# these settings, where 0.5 is right.
LAWS = {
    "sgld": ({"first_step_size": 0.1, "rms_prop": True}, 1500, 1 / np.sqrt(0.9)),
    "re_sgld": ({"first_step_size": 0.02, "temperature": 3.0}, 1200, 1 / np.sqrt(0.96)),
    "amagold": ({"first_step_size": 0.4, "accepted_samples": 100}, 400, 1.0),
    "sggmc": (
        {
            "first_step_size": 0.3,
            "adaptive_step_size": True,
            "target_acceptance_rate": 0.9,
            "accepted_samples": 100,
        },
        400,
        1.0,
    ),
    "sghmc": ({"first_step_size": 0.05, "friction": 4.0}, 600, 1.0),
    "sghmc, mass": (
        {"first_step_size": 0.1, "friction": {"m": 1.0}, "mass": {"m": jnp.full(4, 4.0)}},
        400,
        1.0,
    ),
    "obabo": ({"first_step_size": 0.1}, 400, 1.0),
}
CHAINS = 32


@pytest.mark.parametrize("which", LAWS)
def test_law_layout_and_independent_chains(which):
    name = which.split(",")[0]
    settings, iterations, widening = LAWS[which]
    settings = {"accepted_samples": iterations // 4, **settings}
    settings = {"last_step_size": settings["first_step_size"], **settings}
    solver, start = _call(name, Gaussian(), batch_size=10, burn_in=iterations // 5, **settings)
    results = solver(*[start] * CHAINS, iterations=iterations)
    assert len(results) == CHAINS
    count = settings["accepted_samples"]
    for result in results:
        assert set(result) == {"sample_count", "samples"}
        assert result["sample_count"] == count
        samples = result["samples"]
        assert set(samples) == {"variables", "model_state"} | LAYOUT[name]
        assert samples["variables"]["m"].shape == (count, 4)
        assert samples["model_state"] is None
        for quantity in LAYOUT[name]:
            assert samples[quantity].shape == (count,)
            assert np.isfinite(samples[quantity]).all()
        assert all(type(x) is np.ndarray for x in jax.tree.leaves(samples))
    made = np.stack([r["samples"]["variables"]["m"] for r in results])
    assert len(np.unique(made[:, -1], axis=0)) == CHAINS  # JaxSGMC repeats one chain
    assert made.mean() == pytest.approx(2.0, abs=0.04)
    assert made.std() == pytest.approx(SD * widening, rel=0.04)
    if name in ("amagold", "sggmc"):
        sizes = np.stack([r["samples"]["step_size"] for r in results])
        assert np.all(np.ptp(sizes[:, 1:], axis=1) == 0)  # burn-in ends within the first
        adapted = np.abs(sizes[:, 1] / 0.3 - 1) > 1e-3
        assert adapted.mean() > 0.9 if name == "sggmc" else np.allclose(sizes, 0.4)


def test_control_a_metric_that_follows_the_chain_has_another_law():
    """What JaxSGMC's RMSProp does; the same step size as above."""
    problem = Gaussian()
    target = Problem(problem.potential_fn, problem.loader, 10).target(problem.start, None)
    made = run(
        jax.random.key(0), psgld(target, constant(0.2 / 100), None, 0.9, 1e-7),
        {"m": jnp.full((48, 4), 2.5)}, problem.loader.reference_data, batch_size=10,
        num_burn_in=400, num_draws=400, thinning=4,
    )  # fmt: skip
    assert made.draws["m"].std() > 1.08 * SD


def test_a_model_state_is_passed_and_returned():
    """The state scales the data, from a mean of 2 to one of 6."""

    def likelihood(state, sample, observations):
        gap = sample["m"] - state["c"] * observations["y"]
        return -0.02 * jnp.sum(gap**2), state

    solver, start = _call(
        "sggmc", Gaussian(likelihood=likelihood, has_state=True), batch_size=30, burn_in=50,
        accepted_samples=25, first_step_size=0.3, last_step_size=0.15,
    )  # fmt: skip
    samples = solver(start, iterations=100, init_model_state={"c": jnp.array(3.0)})[0]["samples"]
    np.testing.assert_array_equal(samples["model_state"]["c"], np.full(25, 3.0, np.float32))
    assert samples["variables"]["m"].mean() == pytest.approx(6.0, abs=0.7)
    assert samples["step_size"][0] > 0.155
    assert samples["step_size"][-1] == pytest.approx(0.15, rel=1e-2)


# --- parts ------------------------------------------------------------------------------------


def test_equal_step_sizes_at_the_ends_are_constant():
    target = Problem(Gaussian().potential_fn, Gaussian().loader, 10).target(
        {"m": jnp.zeros(4)}, None
    )
    task = Task(target, None, 100, 1)
    assert float(_schedule(0.001, 0.001, task)(50)) == pytest.approx(0.001)  # NaN in JaxSGMC
    falling = _schedule(0.05, 0.001, task, steps=10)
    assert float(falling(9)) == pytest.approx(0.05)
    assert float(falling(990)) == pytest.approx(0.001, rel=1e-4)


def test_the_full_potential_is_that_of_all_data():
    """Also where batches do not divide the data."""
    problem = Gaussian(45, 1.0)
    made = Problem(problem.potential_fn, problem.loader, 20, problem.full_potential_fn)
    target = made.target(problem.start, None)
    whole = jax.jit(target.log_density_full)(problem.start)
    everything = jax.tree.map(jnp.asarray, problem.loader.reference_data)
    assert float(whole) == pytest.approx(float(target.log_density(problem.start, everything)))


def test_gradient_noise_is_measured():
    problem = Gaussian(100, 3.0)
    made = Problem(problem.potential_fn, problem.loader, 10)
    target = made.target(problem.start, None)
    found = gradient_variance(jax.random.key(0), made, target, {"m": jnp.full((2, 4), 2.0)})["m"]
    y = problem.loader.reference_data["y"]
    exact = 100**2 / 10 * y.var(axis=0) / (SD**2 * 100) ** 2
    assert np.mean(found / exact) == pytest.approx(1.0, abs=0.4)


def test_the_noise_model_takes_heat_out():
    """Without it the noise of these batches widens the law by 1.15."""
    solver, start = _call(
        "sghmc", Gaussian(100, 5.0), batch_size=20, first_step_size=0.1, last_step_size=0.1,
        burn_in=50, accepted_samples=100, adapt_noise_model=True,
    )  # fmt: skip
    results = solver(*[start] * CHAINS, iterations=450)
    made = np.concatenate([r["samples"]["variables"]["m"] for r in results])
    assert np.sqrt(made.var(axis=0).mean()) == pytest.approx(SD, rel=0.05)


def test_rms_prop_follows_theirs_and_freezes_at_a_mean():
    made = _rms_prop(size=10, alpha=0.9, lmbd=0.1, adapt_steps=6)
    state, v, squares = made.init(jnp.zeros(2)), np.ones(2), []
    for step in range(9):
        g = np.array([1.0 + step, -0.2])
        state = made.update(state, jnp.asarray(g / 10), jnp.asarray(step))
        v = 0.9 * v + 0.1 * g**2
        squares.append(g**2)
        use = v if step < 6 else np.mean(squares[3:6], axis=0)
        np.testing.assert_allclose(made.metric(state), 1 / (0.1 + np.sqrt(use)), rtol=1e-5)


def test_both_starts_of_a_pair_are_used():
    problem = Gaussian(40)
    solver, _ = _call("re_sgld", problem, temperature=2.0)
    target = solver.problem.target(problem.start, None)
    pair = ({"m": jnp.zeros(4)}, {"m": jnp.ones(4)})
    state = solver.kernel(Task(target, pair, 100, 5)).init(jax.random.key(0), pair)
    np.testing.assert_array_equal(state.position["m"], [np.zeros(4), np.ones(4)])


def test_a_failed_chain_is_reported():
    solver, start = _call(
        "sgld", Gaussian(40), first_step_size=1e9, last_step_size=1e9, accepted_samples=40
    )
    with pytest.warns(UserWarning, match="chain 0 met a non-finite number"):
        solver(start, iterations=100)


def test_keys_loaders_and_kinds_of_array(capsys):
    """An old-style key, data on the device and arrays of JAX make no difference."""
    problem = Gaussian(40, 1.0)
    more = {"accepted_samples": 50, "burn_in": 50, "batch_size": 8}
    solver, start = _call("sgld", problem, **more)
    plain = solver(start, iterations=100)[0]["samples"]["variables"]["m"]
    assert capsys.readouterr() == ("", "")
    device = DeviceNumpyDataLoader(**problem.loader.reference_data)
    solver = alias.sgld(problem.potential_fn, device, save_to_numpy=False, **more)
    # JaxSGMC's examples give a state to potentials that have none
    result = solver(start, init_model_state=0, iterations=100, key=jax.random.PRNGKey(0))[0]
    np.testing.assert_array_equal(plain, result["samples"]["variables"]["m"])
    assert isinstance(result["samples"]["variables"]["m"], jax.Array)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert 5 <= len(shown.err.splitlines()) <= 10
    assert shown.err.splitlines()[-1].startswith("100 % done")


@pytest.mark.parametrize("multiple", [1, 4])
def test_draws_are_as_many_as_asked_even_and_after_burn_in(multiple):
    rng = np.random.default_rng(0)
    for _ in range(200):
        iterations = int(rng.integers(10, 400))
        burn_in = int(rng.integers(0, iterations // 2))
        draws = int(rng.integers(1, (iterations - burn_in) // multiple + 1))
        plan = plan_draws(iterations, burn_in, draws, multiple)
        assert len(plan.kept) == draws
        assert plan.kept[0] > burn_in
        assert plan.kept[-1] > iterations - 2 * plan.thinning
        assert plan.kept[-1] <= iterations
        assert not (plan.kept % plan.thinning).any()
        assert plan.thinning % multiple == 0
        gaps = np.diff(plan.kept)
        assert gaps.size == 0 or (gaps.min() > 0 and np.ptp(gaps) <= plan.thinning)


class Elsewhere(HostDataLoader):
    """Stands for the HDF5 and TensorFlow loaders, which need packages of their own."""

    static_information = {"observation_count": 40}  # noqa: RUF012
    _format = None

    def register_random_pipeline(self, cache_size=1, mb_size=None, **kwargs):
        raise NotImplementedError

    register_ordered_pipeline = register_random_pipeline

    def get_batches(self, chain_id):
        raise NotImplementedError


def test_wrong_requests_are_refused():
    problem = Gaussian(40)
    with pytest.raises(TypeError, match=r"not Elsewhere: load the arrays .* NumpyDataLoader"):
        _call("sgld", problem, Elsewhere())
    with pytest.raises(TypeError, match="rms_drop"):
        _call("sgld", problem, rms_drop=True)
    with pytest.raises(ValueError, match="between 1 and N=40"):
        _call("sgld", problem, batch_size=41)
    with pytest.raises(ValueError, match="integration_steps must be"):
        _call("sghmc", problem, integration_steps=0)
    solver, start = _call("sgld", problem)
    with pytest.raises(ValueError, match=r"accepted_samples=1000 must lie between 1 and .* = 99"):
        solver(start, iterations=99)
    with pytest.raises(ValueError, match="at least one initial sample"):
        solver(iterations=2000)
    solver, start = _call("sgld", problem, burn_in=50)
    with pytest.raises(ValueError, match="burn_in=50 must lie"):
        solver(start, iterations=50)
    solver, start = _call("sgld", problem, first_step_size=0.1, last_step_size=0.2)
    with pytest.raises(ValueError, match="first >= last"):
        solver(start)


def test_the_names_are_where_jax_sgmc_has_them():
    from samplers.jax_sgmc import alias as named
    from samplers.jax_sgmc import data
    from samplers.jax_sgmc import potential as theirs

    assert named.sgld is alias.sgld
    assert theirs is potential
    assert data.numpy_loader.NumpyDataLoader is NumpyDataLoader
    assert "jax_sgmc" not in inspect.getsource(samplers)
