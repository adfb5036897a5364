"""Predictive distributions and their summary, against simulation and closed forms."""

import numpy as np
import pytest
from scipy import special, stats

from bayespot.calibration import Quantity, calibrate, miscalibration_area, predictive
from bayespot.calibration.predictive import chi_square_deviate, normal_deviate
from bayespot.errors import UserError
from tests.unit.synthetic import posterior

RNG = np.random.default_rng(0)


def _made(stretch: float):
    """Truth and 200 draws whose spread plus noise is the true error, times ``stretch``."""
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
    nominal, observed = np.array(right.reliability).T
    np.testing.assert_allclose(observed, nominal, atol=0.03)


def test_miscalibration_area_of_known_cases():
    level = np.linspace(0, 1, 10_001)[1:-1]
    z = stats.norm.ppf(0.5 + level / 2)
    assert miscalibration_area(z) == pytest.approx(0, abs=1e-3)
    assert miscalibration_area(np.zeros(50)) == pytest.approx(0.5, abs=1e-6)
    assert miscalibration_area(np.full(50, 40.0)) == pytest.approx(0.5, abs=1e-6)
    observed = stats.norm.ppf(0.5 + np.sqrt(level) / 2)  # curve p**2
    assert miscalibration_area(observed) == pytest.approx(1 / 6, abs=1e-3)


def test_one_draw_is_refused():
    with pytest.raises(ValueError, match="draws >= 2"):
        calibrate(np.zeros(3), np.zeros((1, 3)), np.ones(1))
    with pytest.raises(UserError, match="at least two members"):
        Quantity("x", "", np.zeros(3), np.zeros((1, 3)), np.ones(3), np.arange(3))


@pytest.mark.parametrize("dof", [1.0, 4.0, 14.9, 15.1, 40.0, 1e4])
def test_normal_deviates_have_the_probability_of_student_t(dof):
    t = np.array([-6.0, -1.0, -0.3, 0.0, 0.5, 2.0, 7.0])
    found = normal_deviate(t, np.full(7, dof))
    np.testing.assert_allclose(
        special.ndtr(-np.abs(found)), stats.t.cdf(-np.abs(t), dof), rtol=5e-3
    )
    assert (np.sign(found) == np.sign(t)).all()
    # far away the logarithm of the probability is right, and nothing ends
    far = normal_deviate(np.array([1e3]), np.array([dof]))
    log_p = stats.t.logsf(1e3, dof)
    if np.isfinite(log_p):
        assert stats.norm.logsf(far[0]) == pytest.approx(log_p, rel=0.01)


def test_chi_square_deviates_have_the_probability_of_hotelling():
    rng = np.random.default_rng(1)
    members, n = 6, 20_000
    x = rng.normal(size=(members, n, 3)) @ np.diag([1.0, 3.0, 0.2])
    centred = x - x.mean(axis=0)
    covariance = np.einsum("kni,knj->nij", centred, centred) / (members - 1)
    mean = x.mean(axis=0) * np.sqrt(members)  # N(0, truth), independent of the covariance
    distance = np.einsum("ni,ni->n", mean, np.linalg.solve(covariance, mean[..., None])[..., 0])
    found = chi_square_deviate(distance, np.full(n, members - 1.0))
    assert stats.kstest(found, stats.chi2(3).cdf).pvalue > 1e-3
    assert stats.kstest(distance, stats.chi2(3).cdf).pvalue < 1e-20


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("members", [5, 20])
def test_few_members_have_the_tails_of_student_t(members, noise):
    q = posterior(members=members, noise=noise, frames=3000, size=1, spread=0.0)
    z = predictive(q).z()
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.15)  # degrees of freedom are estimated
    assert np.mean(np.abs(z) < 1.96) == pytest.approx(0.95, abs=0.015)
    gaussian = predictive(q, "normal").z()
    if members < 20 and noise < 1:
        assert np.mean(np.abs(gaussian) < 1.96) < 0.92
    if members == 20 and noise == 1:
        np.testing.assert_allclose(z, gaussian, rtol=0.02)


def test_degrees_of_freedom_are_those_of_satterthwaite():
    samples = np.sqrt(2.5 / 10) * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]  # variance 0.625
    for noise, dof in ((0.0, 4.0), (0.75, 16.0), (1.5, 36.0)):
        made = predictive(Quantity("x", "", np.ones(1), samples, np.full(1, noise), np.zeros(1)))
        assert made.dof[0] == pytest.approx(dof)
        assert made.scale[0] == pytest.approx(np.sqrt(0.75 + noise))
        assert made.sigma[0] == pytest.approx(np.sqrt(0.625 + noise))


@pytest.mark.parametrize(("members", "noise"), [(6, 0.003), (40, 0.05)])
def test_force_vectors_use_the_whole_covariance(members, noise):
    rng = np.random.default_rng(2)
    n = 4000
    turn = np.linalg.qr(rng.normal(size=(n, 3, 3)))[0] * np.array([1.0, 0.3, 0.05])
    draws = np.einsum("nij,knj->kni", turn, rng.normal(size=(members + 1, n, 3)))
    truth = draws[0] + noise * rng.normal(size=(n, 3))
    args = (np.full(n, noise**2), np.arange(n))
    made = predictive(Quantity("force_vectors", "", truth, draws[1:], *args))
    assert np.mean(made.squares()) == pytest.approx(1.0, abs=0.08)
    assert np.mean(made.inside() < 0.9) == pytest.approx(0.9, abs=0.025)
    # of axes turned another way nothing is right
    wrong = predictive(Quantity("force_vectors", "", truth[:, ::-1], draws[1:], *args))
    assert np.mean(wrong.squares()) > 2


def test_density_of_vectors():
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(8, 5, 3)) * [1.0, 0.5, 0.3]
    truth, noise = rng.normal(size=(5, 3)), np.full(5, 0.01)
    q = Quantity("force_vectors", "", truth, samples, noise, np.arange(5))
    exact = Quantity("force_vectors", "", truth, samples, 0 * noise, np.arange(5))
    normal, student = predictive(q, "normal"), predictive(exact)
    twice = student.stretched(np.full(5, 2.0))
    for i in range(5):
        mean, spread = samples[:, i].mean(axis=0), np.cov(samples[:, i].T)
        law = stats.multivariate_normal(mean, spread + 0.01 * np.eye(3))
        assert normal.nll()[i] == pytest.approx(-law.logpdf(truth[i]), rel=1e-9)
        # Hotelling: 7 degrees of freedom of the covariance are 5 of the distribution
        for made, factor in ((student, 1), (twice, 4)):
            shape = factor * spread * (1 + 1 / 8) * 7 / 5
            law = stats.multivariate_t(mean, shape, 5)
            assert made.nll()[i] == pytest.approx(-law.logpdf(truth[i]), rel=1e-6)
