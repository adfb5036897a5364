"""Averages as smooth functions of the parameters, and exact posteriors from them."""

import itertools
from typing import NamedTuple

import jax
import numpy as np

from bayespot.observables import Context
from bayespot.prior import WeightPrior
from benchmarks.observed import fluid

REACH = np.array([0.012, 0.12])  # half the width of the grid in log sigma and log epsilon
PRIOR = WeightPrior.normal(10.0)


class Oracle(NamedTuple):
    """Polynomial of second degree for each output.

    Attributes:
        coefficients: (6, outputs).
        misfit: root mean square of residuals over their standard errors, all outputs.
        variance: (outputs,) of the mean over one point's simulations.
        frames: of one point's simulations.
    """

    coefficients: np.ndarray
    misfit: float
    variance: np.ndarray
    frames: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(..., outputs) at (..., 2) log parameters."""
        return _features(x) @ self.coefficients


def _features(x: np.ndarray) -> np.ndarray:
    u, v = np.moveaxis((x - fluid.TRUTH) / REACH, -1, 0)
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def errors() -> np.ndarray:
    """Of the measurements, one for each output."""
    return np.append(np.full(fluid.CURVE.bins, fluid.CURVE_ERROR)[fluid.SEEN], fluid.PRESSURE_ERROR)


def make(key: jax.Array, frames: int, points: int = 4) -> Oracle:
    """Simulate on a grid of parameters around the truth and fit."""
    steps = np.linspace(-1, 1, points)
    x = fluid.TRUTH + REACH * np.array(list(itertools.product(steps, steps)))
    simulation = fluid.simulation(frames, 0, (fluid.CURVE, fluid.PRESSURE))
    made = simulation.run(key, fluid.params(x), replicas=2)
    assert (made.reason == 0).all()
    context = Context(fluid.TEMPERATURE, 64)
    curve = fluid.CURVE.reduce(made.means["g(r)"], context)[..., fluid.SEEN]
    pressure = fluid.PRESSURE.reduce(made.means["pressure"], context)[..., None]
    y = np.concatenate([curve, pressure], axis=-1)  # (block, draw, replica, outputs)
    pieces = np.moveaxis(y, 1, 0).reshape(len(x), -1, y.shape[-1])
    mean, error = pieces.mean(1), pieces.std(1, ddof=1) / np.sqrt(pieces.shape[1])
    coefficients = np.linalg.lstsq(_features(x), mean, rcond=None)[0]
    degrees = 1 - coefficients.shape[0] / len(x)
    typical = np.sqrt(np.mean(error**2, axis=0))
    gap = (_features(x) @ coefficients - mean) / typical
    misfit = float(np.sqrt(np.mean(gap**2) / degrees))
    return Oracle(coefficients, misfit, typical**2, 2 * frames)


class Exact(NamedTuple):
    """Moments of a posterior on a grid: means, standard deviations, and central intervals."""

    mean: np.ndarray
    sd: np.ndarray
    correlation: float
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]


def posterior(oracle: Oracle, measured: np.ndarray, error: np.ndarray, points: int = 241) -> Exact:
    """Normal likelihood times the prior, on a fine grid."""
    axes = [
        np.linspace(t - 2 * r, t + 2 * r, points) for t, r in zip(fluid.TRUTH, REACH, strict=True)
    ]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    log_p = -0.5 * np.sum(((oracle(x) - measured) / error) ** 2, axis=-1)
    log_p += -0.5 * np.sum((x / 10.0) ** 2, axis=-1)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = np.array([np.sum(p * x[..., i]) for i in range(2)])
    sd = np.array([np.sqrt(np.sum(p * (x[..., i] - mean[i]) ** 2)) for i in range(2)])
    both = np.sum(p * (x[..., 0] - mean[0]) * (x[..., 1] - mean[1]))
    marginals = [np.cumsum(p.sum(1 - i)) for i in range(2)]

    def quantile(level: float) -> np.ndarray:
        return np.array([np.interp(level, c, a) for c, a in zip(marginals, axes, strict=True)])

    return Exact(
        mean, sd, float(both / sd.prod()),
        {str(level): quantile((1 - level / 100) / 2) for level in (68, 95)},
        {str(level): quantile((1 + level / 100) / 2) for level in (68, 95)},
    )  # fmt: skip
