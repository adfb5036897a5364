"""Metrics against simulation and closed forms; miscalibrated predictions must be caught."""

import numpy as np
import pytest
from scipy import integrate, stats

from bayespot.calibration import (
    calibrate,
    gaussian_crps,
    miscalibration_area,
    quantile,
    reliability_curve,
)

RNG = np.random.default_rng(0)


def _made(stretch: float):
    """Truth and 50 draws whose spread plus noise is the true error, times ``stretch``."""
    n, draws = 4000, 200
    centre = RNG.normal(size=n)
    truth = centre + np.sqrt(0.5**2 + 0.3**2) * stretch * RNG.normal(size=n)
    samples = centre + 0.5 * RNG.normal(size=(draws, n))
    return calibrate(truth, samples, np.full(draws, 0.3**2))


def test_a_calibrated_prediction_is_calibrated():
    made = _made(1.0)
    assert made.coverage["0.68"] == pytest.approx(0.68, abs=0.03)
    assert made.coverage["0.95"] == pytest.approx(0.95, abs=0.015)
    assert made.mean_squared_z == pytest.approx(1.0, abs=0.1)
    assert made.miscalibration_area < 0.02
    assert made.epistemic == pytest.approx(0.5, rel=0.03)
    assert made.aleatoric == pytest.approx(0.3)
    assert made.spread == pytest.approx(np.hypot(0.5, 0.3), rel=0.03)
    assert made.rmse == pytest.approx(np.hypot(0.5, 0.3), rel=0.05)
    assert made.nll == pytest.approx(stats.norm.entropy(scale=np.hypot(0.5, 0.3)), abs=0.05)


def test_over_and_underconfidence_are_seen():
    over, under = _made(2.0), _made(0.5)
    assert over.coverage["0.95"] < 0.75
    assert over.mean_squared_z > 3
    assert under.coverage["0.68"] > 0.9
    assert under.mean_squared_z < 0.35
    assert min(over.miscalibration_area, under.miscalibration_area) > 0.15
    right = _made(1.0)
    assert right.nll < over.nll
    assert right.crps < over.crps


def test_crps_is_its_integral():
    for error, sigma in ((0.7, 0.4), (-1.2, 2.0)):
        f = lambda x, s=sigma, e=error: (stats.norm.cdf(x, scale=s) - (x >= e)) ** 2  # noqa: E731
        expected = sum(integrate.quad(f, *ab)[0] for ab in ((-30, error), (error, 30)))
        assert gaussian_crps(np.array(error), np.array(sigma)) == pytest.approx(expected, rel=1e-5)


def test_miscalibration_area_of_known_cases():
    level = np.linspace(0, 1, 10_001)[1:-1]
    z = stats.norm.ppf(0.5 + level / 2)
    assert miscalibration_area(z) == pytest.approx(0, abs=1e-3)
    assert miscalibration_area(np.zeros(50)) == pytest.approx(0.5, abs=1e-6)
    assert miscalibration_area(np.full(50, 40.0)) == pytest.approx(0.5, abs=1e-6)
    observed = stats.norm.ppf(0.5 + np.sqrt(level) / 2)  # curve p**2
    assert miscalibration_area(observed) == pytest.approx(1 / 6, abs=1e-3)


def test_reliability_curve_and_quantiles():
    assert quantile(0.95) == pytest.approx(1.95996, abs=1e-4)
    curve = dict(reliability_curve(np.array([0.1, 1.0, 3.0, 0.5])))
    assert list(curve.values()) == sorted(curve.values())
    assert curve[min(curve, key=lambda p: abs(p - 0.5))] == 0.5  # |z| <= 0.674


def test_one_draw_is_refused():
    with pytest.raises(ValueError, match="draws >= 2"):
        calibrate(np.zeros(3), np.zeros((1, 3)), np.ones(1))
