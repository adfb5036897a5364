"""Metrics agree with uncertainty-toolbox, scoringrules, scikit-learn, and netcal's formula."""

import warnings

import numpy as np
import pytest
from scipy import integrate, stats

from bayespot.calibration import assess, predictive
from bayespot.calibration.bootstrap import Resampling
from bayespot.calibration.ence import ence
from bayespot.calibration.predictive import student_crps
from bayespot.calibration.ranks import Ranked, area, auroc
from bayespot.calibration.scores import fair_crps
from tests.unit.synthetic import posterior

toolbox = pytest.importorskip("uncertainty_toolbox")
rules = pytest.importorskip("scoringrules")
Q = posterior(1, members=12, frames=40, size=10, stretch=1.4)
MEAN, SIGMA = Q.samples.mean(axis=0), np.sqrt(Q.samples.var(axis=0, ddof=1) + Q.noise_variance)
MADE = predictive(Q, "normal")
FOUND = assess(Q, seed=0, tails="normal")


def _value(name):
    return FOUND["metrics"][name]["value"]


def test_gaussian_scores_of_uncertainty_toolbox():
    args = (MEAN, SIGMA, Q.truth)
    assert _value("nll") == pytest.approx(toolbox.nll_gaussian(*args), rel=1e-9)
    assert _value("crps") == pytest.approx(toolbox.crps_gaussian(*args), rel=1e-9)
    assert _value("sharpness") == pytest.approx(toolbox.sharpness(SIGMA), rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = toolbox.miscalibration_area(*args, num_bins=1000, vectorized=True)
    assert _value("miscalibration_area") == pytest.approx(theirs, abs=2e-3)
    for level in (0.5, 0.68, 0.9, 0.95):
        share = toolbox.get_proportion_in_interval(*args, level)
        assert _value(f"coverage_{round(100 * level)}") == pytest.approx(share)
    errors = toolbox.metrics_accuracy.prediction_error_metrics(MEAN, Q.truth)
    assert _value("rmse") == pytest.approx(errors["rmse"], rel=1e-9)
    assert _value("mae") == pytest.approx(errors["mae"], rel=1e-9)


def test_scores_of_scoringrules():
    ours = student_crps(Q.truth - MEAN, SIGMA, np.full(len(MEAN), 3.7))
    np.testing.assert_allclose(ours, rules.crps_t(Q.truth, 3.7, MEAN, SIGMA), rtol=1e-6)
    np.testing.assert_allclose(MADE.crps(), rules.crps_normal(Q.truth, MEAN, SIGMA), rtol=1e-9)
    made = predictive(Q)
    assert np.unique(made.dof).size == len(MEAN)
    theirs = rules.crps_t(Q.truth, made.dof, MEAN, made.scale)
    np.testing.assert_allclose(made.crps(), theirs, rtol=1e-6)
    density = stats.t.logpdf(Q.truth, made.dof, MEAN, made.scale)
    np.testing.assert_allclose(made.nll(), -density, rtol=1e-9)
    fair = rules.crps_ensemble(Q.truth, Q.samples.T, estimator="fair")
    none = np.zeros(len(MEAN))
    np.testing.assert_allclose(fair_crps(Q.truth, Q.samples, none), fair, rtol=1e-9, atol=1e-12)
    # by pairs, as with noise
    tiny = np.full(len(MEAN), 1e-14)
    np.testing.assert_allclose(fair_crps(Q.truth, Q.samples, tiny), fair, rtol=1e-5, atol=1e-6)


def test_crps_is_its_integral():
    for dof in (1.0, 2.5, np.inf):
        for error, sigma in ((0.7, 0.4), (-1.2, 2.0)):
            law = stats.norm(scale=sigma) if np.isinf(dof) else stats.t(dof, scale=sigma)
            f = lambda x, d=law, e=error: (d.cdf(x) - (x >= e)) ** 2  # noqa: E731
            ends = ((-np.inf, error), (error, np.inf))
            expected = sum(integrate.quad(f, *ab)[0] for ab in ends)
            found = student_crps(np.array([error]), np.array([sigma]), np.array([dof]))[0]
            assert found == pytest.approx(expected, rel=1e-4)


def test_fair_crps_of_noisy_members_is_that_of_their_noisy_copies():
    rng = np.random.default_rng(0)
    members, noise = rng.normal(size=(5, 1)), 0.7
    copies = members[:, :, None] + noise * rng.normal(size=(5, 1, 40_000))
    truth = np.array([0.4])
    theirs = rules.crps_ensemble(np.full(40_000, 0.4), copies[:, 0].T, estimator="fair")
    found = fair_crps(truth, members, np.array([noise**2]))[0]
    assert found == pytest.approx(theirs.mean(), abs=4 * theirs.std() / 200)


def test_the_fair_score_does_not_depend_on_the_number_of_members():
    few, many = posterior(2, members=3, noise=0.0), posterior(2, members=60, noise=0.0)
    fair = [fair_crps(q.truth, q.samples, q.noise_variance).mean() for q in (few, many)]
    assert fair[0] == pytest.approx(fair[1], rel=0.05)
    standard = [
        rules.crps_ensemble(q.truth, q.samples.T, estimator="nrg").mean() for q in (few, many)
    ]
    assert standard[0] > 1.2 * standard[1]


def test_ence_is_the_formula_of_netcal():
    """netcal needs PyTorch; its ENCE.py: mean over bins of |RMV - RMSE| / RMV."""
    made = ence(MADE, Q.samples, np.ones(len(MEAN)), Resampling.of(Q.cluster, 0), 0, "normal")
    order, bins = np.argsort(SIGMA), len(made.predicted)
    gaps = []
    for part in np.array_split(order, bins):
        rmv = np.sqrt(np.mean(SIGMA[part] ** 2))
        rmse = np.sqrt(np.mean((Q.truth - MEAN)[part] ** 2))
        gaps.append(np.abs(rmv - rmse) / rmv)
    assert made.value == pytest.approx(np.mean(gaps), rel=0.03)
    assert len(SIGMA) % bins == 10  # bins of two sizes: theirs may differ by a number


def test_rank_metrics():
    sigma, size = np.round(SIGMA, 1), MADE.size  # with ties
    found = Ranked(sigma, size, 0).metrics()
    assert found["spearman"][0] == pytest.approx(stats.spearmanr(sigma, size)[0], rel=1e-9)
    # sparsification by hand
    n = len(size)
    curves = []
    for order in (np.argsort(-SIGMA), np.argsort(-size)):
        left = [np.sqrt(np.mean(size[order[k:]] ** 2)) for k in range(n)]
        curves.append(np.trapezoid(left, np.arange(n) / n))
    expected = (curves[0] - curves[1]) / np.sqrt(np.mean(size**2))
    assert Ranked(SIGMA, size, 0).metrics()["ause"][0] == pytest.approx(expected, rel=1e-6)
    assert Ranked(size, size, 0).metrics()["ause"][0] == pytest.approx(0, abs=1e-9)


def test_auroc_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    outside, score = rng.random(50) < 0.4, np.round(rng.normal(size=50), 1)
    expected = metrics.roc_auc_score(outside, score)
    assert auroc(score, outside, np.ones((1, 50)))[0] == pytest.approx(expected)
    weights = rng.integers(0, 3, (1, 50))
    expected = metrics.roc_auc_score(outside, score, sample_weight=weights[0])
    assert auroc(score, outside, weights)[0] == pytest.approx(expected)


def test_weights_of_the_bootstrap_are_copies():
    """Every replicate is what one gets from the numbers of the frames drawn."""
    resampling = Resampling.of(Q.cluster, 3)
    part = next(resampling.parts())
    level = MADE.inside()
    ranked = Ranked(SIGMA, MADE.size, 0).metrics(part)
    areas = area(level, part)
    means = resampling.means(MADE.squares()[:, None])
    for row in range(3):
        copies = np.repeat(np.arange(len(level)), resampling.weights[row][resampling.frame])
        assert areas[row] == pytest.approx(area(level[copies])[0], abs=1e-6)
        expected = stats.spearmanr(SIGMA[copies], MADE.size[copies])[0]
        assert ranked["spearman"][row] == pytest.approx(expected, rel=1e-5)
        assert means[row, 0] == pytest.approx(np.mean(MADE.squares()[copies]))
    # of many numbers the distribution function is straight between points
    many = np.random.default_rng(0).random(3000) ** 1.2
    same = Resampling(np.arange(3000), np.ones((1, 3000), np.uint16))
    assert area(many, same)[0] == pytest.approx(area(many)[0], abs=3e-4)
