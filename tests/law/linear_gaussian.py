"""A correlated, shifted target of non-unit scale with mini-batch noise, and its exact answers.

Data ``y_i ~ N(theta, S)`` (i = 1..N) under a flat prior give ``theta | y ~ N(mean(y), S/N)``.
Every SG sampler is then an affine map with additive noise, so its stationary law follows from one
step: no chain, no Monte-Carlo error but that of the one-step noise (tests/style of posteriors).
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from samplers import Sampler, Target

N, B = 50, 10
COVARIANCE = np.array([[4.0, 1.5, 0.0], [1.5, 2.0, -0.4], [0.0, -0.4, 0.5]])
SHIFT = np.array([3.0, -20.0, 0.7])


def data() -> jax.Array:
    rng = np.random.default_rng(7)
    return jnp.asarray(SHIFT + rng.multivariate_normal(np.zeros(3), COVARIANCE, N))


def target(temperature: float = 1.0, n_over_b: float = 1.0, sign: float = 1.0) -> Target:
    """``n_over_b`` other than 1 is a control: the factor N/B applied wrongly."""
    precision = jnp.asarray(np.linalg.inv(COVARIANCE))
    values = data()

    def log_density(theta, batch):
        d = theta - batch
        return (
            -0.5
            * n_over_b
            * N
            * jnp.mean(jnp.einsum("bi,ij,bj->b", d, precision, d))
            * (sign / temperature)
        )

    return Target(log_density, lambda theta: log_density(theta, values), N)


def posterior_covariance(temperature: float = 1.0) -> np.ndarray:
    return COVARIANCE / N * temperature


def gradient_noise(temperature: float = 1.0) -> np.ndarray:
    """Covariance of the mini-batch gradient, B drawn with replacement; constant in theta."""
    precision = np.linalg.inv(COVARIANCE)
    return (N / temperature) ** 2 / B * precision @ np.cov(data().T, ddof=0) @ precision


def one_step_law(
    sampler: Sampler, state, keys, fields: tuple[str, ...] = ("position",)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, Q, fixed point) of the affine map of phase space: drift, noise covariance, mean.

    ``fields`` of the state are the phase space, positions first; the rest of it stays fixed.
    """
    values = data()
    shape = (B,) if sampler.num_batches is None else (sampler.num_batches, B)
    parts = [getattr(state, name) for name in fields]
    sizes = np.cumsum([x.size for x in parts])[:-1]

    def step(key, point):
        batch_key, noise_key = jax.random.split(key)
        batch = values[jax.random.randint(batch_key, shape, 0, N)]
        pieces = jnp.split(point, sizes)
        new = {f: x.reshape(p.shape) for f, x, p in zip(fields, pieces, parts, strict=True)}
        moved = sampler.step(noise_key, state._replace(**new), batch)[0]
        return jnp.concatenate([jnp.ravel(getattr(moved, name)) for name in fields])

    origin = jnp.asarray(values.mean(axis=0))
    copies = [jnp.broadcast_to(origin, x.shape) if i == 0 else jnp.zeros_like(x)
              for i, x in enumerate(parts)]  # fmt: skip
    centre = jnp.concatenate([jnp.ravel(x) for x in copies])
    drift = np.asarray(jax.jit(jax.jacfwd(lambda p: step(keys[0], p)))(centre))
    ends = np.asarray(jax.jit(jax.vmap(lambda k: step(k, centre)))(keys))
    offset = ends.mean(axis=0) - np.asarray(centre)
    mean = np.asarray(centre) + np.linalg.solve(np.eye(len(drift)) - drift, offset)
    return drift, np.cov(ends.T), mean


def stationary_covariance(drift: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return solve_discrete_lyapunov(drift, noise)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest error of a covariance, in units of the expected standard deviations."""
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    return float(np.abs((found - expected) / scale).max())


def moments(draws: np.ndarray, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """z-scores and relative errors of first and second moments of (chain, draw, 3) draws."""
    from samplers import convergence

    flat = draws - np.asarray(data()).mean(axis=0)
    covariance = posterior_covariance(temperature)
    i, j = np.triu_indices(3)
    values = np.concatenate([flat, flat[..., i] * flat[..., j]], axis=-1)
    exact = np.concatenate([np.zeros(3), covariance[i, j]])
    gap = values.mean(axis=(0, 1)) - exact
    spread = np.sqrt(np.diag(covariance))
    scale = np.concatenate([spread, spread[i] * spread[j]])
    return gap / convergence(values).mcse_mean, gap / scale
