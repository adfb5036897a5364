"""Posterior means and standard deviations against the ground truth of the Inference Gym.

Only its ground-truth and data files are read, each by its path: its models need TensorFlow
Probability, which does not import beside the jax used here, so their densities are written out
below.  BrownianMotionUnknownScales is left out because its stated means are not those of its
density: quadrature over the two scales gives an observation noise 18 standard errors away (see
tensorflow/probability issue 1992).
"""

import functools
import importlib.util
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from scipy import stats

from samplers import Sampler, Target, convergence, nuts, run

pytestmark = pytest.mark.slow

GYM = importlib.util.find_spec("inference_gym")  # does not import it
if GYM is None:
    pytest.skip("no ground truth: pip install inference-gym", allow_module_level=True)

ALPHA = 0.001  # chance that a right sampler fails at one target
CHAINS = 16  # right ones, and as many wrong ones
WRONG = 1.5  # power of the likelihood in the control, as from a wrong N/B


class Reference(NamedTuple):
    """A density and what is known of it."""

    log_density: Callable[[jax.Array, Any], jax.Array]  # (unconstrained (size,), likelihood power)
    quantities: Callable[[jax.Array], jax.Array]  # (size,) -> (q,), what the moments are of
    size: int
    mean: np.ndarray
    mean_error: np.ndarray  # standard error of the stated mean, 0 where it is exact
    sd: np.ndarray
    squares: Any = slice(None)  # the quantities whose standard deviation is compared
    centre: Any = 0.0  # chains start near it


def _gym(path: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(GYM.submodule_search_locations[0], f"{path}.py")))


def _truth(name: str, *parts: str) -> tuple[np.ndarray, ...]:
    values = _gym(f"targets/ground_truth/{name}")
    return tuple(
        np.concatenate([np.ravel(values[f"IDENTITY_{part}{end}"]) for part in parts])
        for end in ("MEAN", "MEAN_STANDARD_ERROR", "STANDARD_DEVIATION")
    )


def _eight_schools() -> Reference:
    effects = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    errors = jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])

    def log_density(x, power):
        average, log_sd, school = x[0], x[1], x[2:]
        prior = norm.logpdf(average, 0, 10) + norm.logpdf(log_sd, 5, 1)
        prior += jnp.sum(norm.logpdf(school, average, jnp.exp(log_sd)))
        return prior + power * jnp.sum(norm.logpdf(effects, school, errors))

    truth = _truth("eight_schools", "AVG_EFFECT_", "LOG_STDDEV_", "SCHOOL_EFFECTS_")
    return Reference(log_density, lambda x: x, 10, *truth)


def _brownian_motion() -> Reference:
    name = "brownian_motion_missing_middle_observations"
    data = _gym(f"internal/datasets/{name}")
    seen = np.flatnonzero(~np.isnan(data["OBSERVED_LOC"]))
    observed = data["OBSERVED_LOC"][seen]

    def log_density(x, power):
        prior = norm.logpdf(jnp.diff(x, prepend=0.0), 0, data["INNOVATION_NOISE"])
        likelihood = norm.logpdf(observed, x[seen], data["OBSERVATION_NOISE"])
        return jnp.sum(prior) + power * jnp.sum(likelihood)

    return Reference(log_density, lambda x: x, 30, *_truth(name, ""))


def _lorenz_bridge() -> Reference:
    """Of the innovations: the path itself is stiff, each step known to a hundredth of its range."""
    data = _gym("internal/datasets/convection_lorenz_bridge")
    seen = np.flatnonzero(data["OBSERVATION_MASK"])
    observed = data["OBSERVED_VALUES"][seen]
    step = data["STEP_SIZE"]
    scale = float(np.sqrt(step) * data["INNOVATION_SCALE"])

    def advance(state, innovation):
        x, y, z = state
        drift = jnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])
        state = state + step * drift + scale * innovation
        return state, state

    def path(w):
        w = w.reshape(30, 3)
        return jnp.concatenate([w[:1], jax.lax.scan(advance, w[0], w[1:])[1]])

    def log_density(w, power):
        likelihood = norm.logpdf(
            observed, path(w)[seen, data["OBSERVATION_INDEX"]], data["OBSERVATION_SCALE"]
        )
        return jnp.sum(norm.logpdf(w)) + power * jnp.sum(likelihood)

    truth = _truth("convection_lorenz_bridge", "")
    # The origin is a saddle between two lobes: from there a chain may end in the unobserved one.
    centre = np.concatenate([truth[0][:3], np.zeros(87)])
    return Reference(log_density, lambda w: path(w).ravel(), 90, *truth, centre=centre)


def _stochastic_volatility() -> Reference:
    """100 days of log returns.

    The coordinates are the logit of the persistence, the log of the shock, the first volatility's
    distance from the mean in its own standard deviations, the first volatility, and innovations:
    with the mean instead of the first volatility there is a funnel where the persistence nears 1.
    There the mean wanders off, so that its square mixes too badly for an honest standard error,
    here and in the ground truth.
    """
    prices = _gym("internal/datasets/sp500_closing_prices")["CLOSING_PRICES"]
    returns = np.diff(np.log(prices))[-100:]
    returns = (returns - returns.mean()).astype(np.float32)

    def parts(u):
        persistence, shock, first = jnp.tanh(u[0] / 2), jnp.exp(u[1]), u[3]
        mean = first - u[2] * shock * jnp.cosh(u[0] / 2)  # cosh: 1 / sqrt(1 - persistence²)

        def advance(h, innovation):
            h = mean + persistence * (h - mean) + shock * innovation
            return h, h

        later = jax.lax.scan(advance, first, u[4:])[1]
        return persistence, mean, shock, jnp.concatenate([first[None], later])

    def quantities(u):
        *scalars, log_volatility = parts(u)
        return jnp.concatenate([jnp.stack(scalars), log_volatility])

    def log_density(u, power):
        _, mean, shock, log_volatility = parts(u)
        prior = 20 * jax.nn.log_sigmoid(u[0]) + 1.5 * jax.nn.log_sigmoid(-u[0])  # beta
        prior += u[1] - jnp.log1p((shock / 2) ** 2) - jnp.log1p((mean / 5) ** 2)  # Cauchy
        prior += norm.logpdf(u[2]) + jnp.sum(norm.logpdf(u[4:]))
        return prior + power * jnp.sum(norm.logpdf(returns, 0, jnp.exp(log_volatility / 2)))

    truth = _truth(
        "stochastic_volatility_log_sp500_small",
        "PERSISTENCE_OF_VOLATILITY_",
        "MEAN_LOG_VOLATILITY_",
        "WHITE_NOISE_SHOCK_SCALE_",
        "LOG_VOLATILITY_",
    )
    return Reference(log_density, quantities, 103, *truth, squares=np.delete(np.arange(103), 1))


def _banana() -> Reference:
    """Less bent than by default (0.03), where tails are too rarely met for honest errors."""
    curvature = 0.01

    def log_density(x, power):
        bent = norm.logpdf(x[1], curvature * (x[0] ** 2 - 100), 1)
        return power * (norm.logpdf(x[0], 0, 10) + bent)

    sd = np.array([10, np.sqrt(1 + 2 * curvature**2 * 1e4)])
    return Reference(log_density, lambda x: x, 2, np.zeros(2), np.zeros(2), sd)


def _ill_conditioned_gaussian() -> Reference:
    """20 dimensions, so that a dense mass matrix has something to learn and time to learn it."""
    size = 20
    rng = np.random.RandomState(10)  # the stream that defines the target
    variances = 1 / np.sort(rng.gamma(shape=0.5, scale=1.0, size=size))
    q, r = np.linalg.qr(rng.randn(size, size))
    q *= np.sign(np.diag(r))
    axes, deviations = q.astype(np.float32), np.sqrt(variances).astype(np.float32)

    def log_density(x, power):
        return power * jnp.sum(norm.logpdf(x @ axes / deviations))

    sd = np.sqrt(np.diag((q * variances) @ q.T))
    return Reference(log_density, lambda x: x, size, np.zeros(size), np.zeros(size), sd)


REFERENCES = {
    "eight schools": _eight_schools,
    "Brownian motion": _brownian_motion,
    "Lorenz bridge": _lorenz_bridge,
    "stochastic volatility": _stochastic_volatility,
    "banana": _banana,
    "ill-conditioned Gaussian": _ill_conditioned_gaussian,
}

NUTS = {  # warm-up, draws, settings
    "eight schools": (300, 500, {"target_acceptance": 0.9}),
    "Brownian motion": (250, 250, {}),
    "Lorenz bridge": (250, 150, {"max_doublings": 8}),
    "stochastic volatility": (300, 200, {"max_doublings": 7}),
    "banana": (300, 4000, {"target_acceptance": 0.9}),
    "ill-conditioned Gaussian": (300, 250, {"dense_mass_matrix": True}),
}


def _nuts(target: Target, name: str) -> tuple[Sampler, dict[str, int]]:
    warmup, draws, settings = NUTS[name]
    return nuts(target, warmup, **settings), {"num_burn_in": warmup, "num_draws": draws}


# name -> (target, name of the reference) -> the sampler, and how long `run` runs it
ROWS: dict[str, Callable[[Target, str], tuple[Sampler, dict[str, int]]]] = {"nuts": _nuts}
CASES = [(row, name) for row in ROWS for name in REFERENCES]


class _State(NamedTuple):
    inner: Any
    power: jax.Array

    @property
    def position(self):
        return self.inner.position


def _per_chain(build: Callable[[Any], Sampler]) -> Sampler:
    """Each chain has its own likelihood power, so test and control are compiled once."""
    common = build(1.0)

    def init(key, start):
        position, power = start
        return _State(build(power).init(key, position), power)

    def step(key, state, batch):
        inner, info = build(state.power).step(key, state.inner, batch)
        return state._replace(inner=inner), info

    def refresh(state):
        return state._replace(inner=build(state.power).refresh(state.inner))

    return common._replace(
        init=init,
        step=step,
        draw=lambda state: build(state.power).draw(state.inner),
        refresh=common.refresh and refresh,
    )


@functools.cache
def _draws(row: str, name: str) -> np.ndarray:
    """Quantities of interest (right and then wrong chain, draw, q)."""
    reference = REFERENCES[name]()

    def build(power):
        def full(x):
            return reference.log_density(x, power)

        return ROWS[row](Target(lambda x, batch: full(x), full, 1), name)[0]

    start = np.random.default_rng(1).normal(
        reference.centre, 0.1, size=(2 * CHAINS, reference.size)
    )
    powers = np.repeat([1.0, WRONG], CHAINS)
    start, powers = jnp.asarray(start, float), jnp.asarray(powers, float)
    lengths = ROWS[row](Target(lambda x, batch: x, lambda x: x, 1), name)[1]
    made = run(jax.random.key(2), _per_chain(build), (start, powers), **lengths)
    assert made.alive.all()
    return np.asarray(jax.jit(jax.vmap(jax.vmap(reference.quantities)))(made.draws), float)


def _scores(reference: Reference, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z-scores of means and variances, and R-hat."""
    squares = (values - reference.mean)[..., reference.squares] ** 2
    ours = convergence(np.concatenate([values, squares], axis=-1))
    # The ground truth states no error of its standard deviations.  Squares may mix worse than the
    # quantities do, so they get the effective sample size of the worst of these.
    effective = np.min((reference.sd / np.maximum(reference.mean_error, 1e-30)) ** 2)
    stated = [reference.mean_error, squares.std(axis=(0, 1)) / np.sqrt(effective)]
    gap = [values.mean(axis=(0, 1)) - reference.mean,
           squares.mean(axis=(0, 1)) - reference.sd[reference.squares] ** 2]  # fmt: skip
    return np.concatenate(gap) / np.hypot(ours.mcse_mean, np.concatenate(stated)), ours.rhat


def _limit(z: np.ndarray) -> float:
    return stats.norm.isf(ALPHA / 2 / len(z))  # Bonferroni


@pytest.mark.parametrize(("row", "name"), CASES)
def test_moments_are_those_of_the_ground_truth(row, name):
    z, rhat = _scores(REFERENCES[name](), _draws(row, name)[:CHAINS])
    assert rhat.max() < 1.05  # else the errors below mean nothing
    assert np.abs(z).max() < _limit(z)


@pytest.mark.parametrize(("row", "name"), CASES)
def test_a_wrong_density_is_noticed(row, name):
    z, rhat = _scores(REFERENCES[name](), _draws(row, name)[CHAINS:])
    assert rhat.max() < 1.1  # what is noticed is the density, not a lost chain
    assert np.abs(z).max() > 1.5 * _limit(z)
