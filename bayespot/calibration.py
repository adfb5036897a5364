"""How far the predicted uncertainties of energies and forces can be trusted.

All metrics are of Gaussian predictions with a mean and a standard deviation per number.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

LEVELS = np.linspace(0.05, 0.95, 19)
"""Nominal levels of the reliability curve."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Metrics of one quantity over a test set.

    Attributes:
        rmse, mae: of the mean prediction, in the quantity's unit.
        nll: mean negative log likelihood, nats per number.
        crps: mean continuous ranked probability score of the Gaussian prediction, in the unit.
        coverage: nominal level ("0.68", "0.95") -> fraction of numbers inside.
        miscalibration_area: area between reliability curve and diagonal over [0, 1].
        mean_squared_z: 1 where the standard deviations are right.
        spread: root mean square of the predicted standard deviation.
        epistemic, aleatoric: root mean squares of its two parts.
        reliability: (nominal level, observed fraction) for central intervals.
        count: numbers evaluated.
    """

    rmse: float
    mae: float
    nll: float
    crps: float
    coverage: dict[str, float]
    miscalibration_area: float
    mean_squared_z: float
    spread: float
    epistemic: float
    aleatoric: float
    reliability: tuple[tuple[float, float], ...]
    count: int


def calibrate(truth: np.ndarray, samples: np.ndarray, noise_variance: np.ndarray) -> Calibration:
    """Compare the predictive distribution of draws with labels.

    The prediction is the mean over draws; its variance the variance over draws (ddof=1,
    epistemic) plus the mean of the noise variances (aleatoric; methods.md section 1).

    Args:
        truth: (n,).
        samples: (draws, n); at least 2 draws.
        noise_variance: (draws,) sigma^2 of each draw.

    Raises:
        ValueError: fewer than two draws, or shapes that do not fit.
    """
    truth, samples = np.asarray(truth, float), np.asarray(samples, float)
    if samples.ndim != 2 or samples.shape[0] < 2 or samples.shape[1:] != truth.shape:
        raise ValueError(f"samples {samples.shape} must be (draws >= 2, n) for truth {truth.shape}")
    epistemic = samples.var(axis=0, ddof=1)
    aleatoric = float(np.mean(noise_variance))
    sigma = np.sqrt(epistemic + aleatoric)
    error = truth - samples.mean(axis=0)
    z = error / sigma
    curve = reliability_curve(z)
    return Calibration(
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.mean(np.abs(error))),
        nll=float(-np.mean(stats.norm.logpdf(error, scale=sigma))),
        crps=float(np.mean(gaussian_crps(error, sigma))),
        coverage={f"{p:.2f}": float(np.mean(np.abs(z) <= quantile(p))) for p in (0.68, 0.95)},
        miscalibration_area=miscalibration_area(z),
        mean_squared_z=float(np.mean(z**2)),
        spread=float(np.sqrt(np.mean(sigma**2))),
        epistemic=float(np.sqrt(np.mean(epistemic))),
        aleatoric=float(np.sqrt(aleatoric)),
        reliability=curve,
        count=len(truth),
    )


def quantile(level: float) -> float:
    """Half-width of the central interval of a standard normal: 1.96 for 0.95."""
    return float(stats.norm.ppf(0.5 + level / 2))


def gaussian_crps(error: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """CRPS of ``N(m, sigma^2)`` at ``m + error`` (Gneiting & Raftery 2007, eq. 21)."""
    z = error / sigma
    score = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    return np.asarray(sigma * score)


def reliability_curve(z: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Observed fraction inside the central interval of each nominal level."""
    return tuple((float(p), float(np.mean(np.abs(z) <= quantile(p)))) for p in LEVELS)


def miscalibration_area(z: np.ndarray) -> float:
    """Area between observed and nominal level of central intervals, exactly.

    With u_i the nominal level at which number i is just inside, it is the integral of
    |ECDF_u(p) - p| over [0, 1], which is piecewise quadratic.
    """
    level = np.sort(2 * stats.norm.cdf(np.abs(z)) - 1)
    edges = np.concatenate([[0.0], level, [1.0]])
    height = np.arange(len(edges) - 1) / len(level)
    a, b = height - edges[:-1], height - edges[1:]  # a >= b: the line falls over each step
    crossing = (a > 0) & (b < 0)
    same_side = np.abs(a + b) / 2 * (edges[1:] - edges[:-1])
    return float(np.sum(np.where(crossing, (a**2 + b**2) / 2, same_side)))
