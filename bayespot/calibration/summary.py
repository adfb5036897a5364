"""The few numbers of a run's report: Gaussian predictions of energies and forces."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import special

from bayespot.calibration import curves, ranks
from bayespot.calibration.predictive import Predictive, predictive
from bayespot.calibration.quantity import Quantity


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
    """Compare the Gaussian predictive distribution of draws with labels.

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
    noise = np.full(len(truth), np.mean(noise_variance))
    quantity = Quantity("labels", "", truth, samples, noise, np.arange(len(truth)))
    made = predictive(quantity, "normal")
    assert isinstance(made, Predictive)
    level = made.inside()
    return Calibration(
        rmse=float(np.sqrt(np.mean(made.error**2))),
        mae=float(np.mean(made.size)),
        nll=float(np.mean(made.nll())),
        crps=float(np.mean(made.crps())),
        coverage={f"{p:.2f}": float(np.mean(level <= p)) for p in (0.68, 0.95)},
        miscalibration_area=float(ranks.area(level)[0]),
        mean_squared_z=float(np.mean(made.squares())),
        spread=float(np.sqrt(np.mean(made.sigma**2))),
        epistemic=float(np.sqrt(np.mean(made.epistemic))),
        aleatoric=float(np.sqrt(np.mean(made.aleatoric))),
        reliability=tuple((p, seen) for p, seen in curves.reliability(level)[1:-1]),
        count=len(truth),
    )


def miscalibration_area(z: np.ndarray) -> float:
    """Area between observed and nominal coverage of central intervals, exactly.

    With u_i the nominal level at which number i is just inside, it is the integral of
    |ECDF_u(p) - p| over [0, 1], which is piecewise quadratic.

    Args:
        z: (n,) errors over standard deviations.
    """
    return float(ranks.area(1 - 2 * special.ndtr(-np.abs(z)))[0])
