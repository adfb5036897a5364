"""Parameter spread and MD noise are told apart, and intervals cover at their nominal rate."""

import numpy as np
import pytest
from scipy import stats

from bayespot.md import Trajectories
from bayespot.observables import Context, HeatCapacity, MeanEnergy
from bayespot.uncertainty import (
    coverage,
    draw_values,
    estimate,
    jackknife,
    stability_weights,
)

CONTEXT = Context(300.0, 3)
RNG = np.random.default_rng(1)


def _estimates(parameter, md, draws=24, repeats=400):
    """``repeats`` independent experiments at once, with known truth 0."""
    centre = parameter * RNG.normal(size=repeats)  # the truth is one more draw of the posterior
    values = centre + parameter * RNG.normal(size=(draws, repeats))
    values = values + md * RNG.normal(size=values.shape)
    chi = RNG.chisquare(2, size=values.shape) / 2  # MD variance from three replicas
    return estimate(values, md**2 * chi)


@pytest.mark.parametrize(("parameter", "md"), [(1.0, 0.1), (1.0, 1.0), (0.3, 1.0)])
def test_intervals_cover_at_their_nominal_rate(parameter, md):
    made = _estimates(parameter, md)
    covered = np.mean((made.low95 <= 0) & (made.high95 >= 0))
    assert 0.92 < covered <= 1.0
    covered = np.mean((made.low68 <= 0) & (made.high68 >= 0))
    assert 0.62 < covered < 0.95


def test_parts_are_recovered():
    made = _estimates(1.0, 0.5)
    assert np.mean(made.parameter**2) == pytest.approx(1.0, rel=0.1)
    assert np.mean(made.md**2) == pytest.approx(0.25, rel=0.1)
    np.testing.assert_allclose(made.md_of_mean, made.md / np.sqrt(24))
    resolved = made.values.var(axis=0, ddof=1) * np.sqrt(2 / 23)
    counted = np.maximum(made.parameter**2, resolved)
    np.testing.assert_allclose(made.total**2, counted + made.md_of_mean**2)
    free = _estimates(1.0, 0.0)  # without MD noise the parameter part is all
    np.testing.assert_allclose(free.total, free.parameter)


def test_ignoring_the_parameter_part_would_fail():
    """Control: the error of the mean alone covers far too rarely."""
    made = _estimates(1.0, 0.5)
    assert np.mean(np.abs(made.mean) < 2 * made.md_of_mean) < 0.5


def test_without_parameter_spread_the_interval_stays_below_one_draws_noise():
    made = _estimates(0.0, 1.0)
    assert np.mean(made.parameter == 0) > 0.3
    assert np.mean(made.total) < 0.75 * np.mean(made.md)


def test_jackknife_of_a_mean_is_its_standard_error():
    cells = {"energy": RNG.normal(size=50)}
    value, variance = jackknife(MeanEnergy("u"), cells, CONTEXT)
    assert value == pytest.approx(cells["energy"].mean())
    assert variance == pytest.approx(cells["energy"].var(ddof=1) / 50)


def test_jackknife_of_a_heat_capacity_matches_repetition():
    def cells():
        energy = RNG.normal(0, 0.1, (40, 30))
        return {"energy": energy.mean(axis=1), "energy_squared": (energy**2).mean(axis=1)}

    made = [jackknife(HeatCapacity("c"), cells(), CONTEXT) for _ in range(300)]
    spread = np.var([float(v) for v, _ in made], ddof=1)
    assert np.mean([float(s) for _, s in made]) == pytest.approx(spread, rel=0.25)


def _trajectories(reason):
    reason = np.asarray(reason)
    blocks = RNG.normal(size=(5, *reason.shape))
    blocks[:, reason > 0] = 1e6  # must never be averaged in
    return Trajectories({"u": {"energy": blocks}}, blocks, reason, np.where(reason, 10, -1), 0)


def test_failed_replicas_are_never_averaged_in():
    made = _trajectories([[0, 0, 0], [0, 1, 0], [2, 1, 0], [0, 0, 3]])
    values, variances, used = draw_values(MeanEnergy("u"), made, CONTEXT)
    assert used.tolist() == [0, 1, 3]  # draw 2 kept one replica only
    assert np.all(np.abs(values) < 10)
    assert np.all(variances < 10)


def test_single_replicas_use_time_blocks():
    made = _trajectories([[0], [0], [1]])
    values, variances, used = draw_values(MeanEnergy("u"), made, CONTEXT)
    assert used.tolist() == [0, 1]
    blocks = made.means["u"]["energy"][:, 0, 0]
    assert values[0] == pytest.approx(blocks.mean())
    assert variances[0] == pytest.approx(blocks.var(ddof=1) / 5)


def test_coverage_counts_only_bins_above_noise():
    values = RNG.normal(0, 0.1, (30, 4)) + np.array([1.0, 2.0, 3.0, 0.001])
    made = estimate(values, np.full((30, 4), 1e-4))
    reference = np.array([1.0, 2.0, 9.0, 0.0])
    c = coverage(made, reference, np.array([0.01, 0.01, 0.01, 0.1]))
    assert c.points == 3
    assert c.inside95 == pytest.approx(2 / 3)
    assert c.relative_width95 > 0


def test_coverage_of_numbers_near_zero_and_of_empty_curves():
    made = estimate(RNG.normal(0, 0.1, 30), np.zeros(30))
    near = coverage(made, np.asarray(0.1), np.asarray(0.05))
    assert near is not None
    assert near.points == 1
    curve = estimate(RNG.normal(0, 0.1, (30, 2)), np.zeros((30, 2)))
    assert coverage(curve, np.zeros(2), np.ones(2)) is None


def test_one_draw_is_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        estimate(np.zeros((1, 3)), np.zeros((1, 3)))


def test_weights_are_importance_weights_of_the_draws():
    """Draws of one law weighed into another: the estimate is that of the other, and its error
    knows how few draws count."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(40, 4000))
    weights = np.exp(np.linspace(0, 3, 40))
    made = estimate(values, np.full(values.shape, 0.01), weights)
    w = weights / weights.sum()
    np.testing.assert_allclose(made.mean, w @ values)
    # the variance over draws is unbiased, and that of the mean is the spread times sum w^2
    assert np.mean(made.parameter**2) == pytest.approx(1 - 0.01, rel=0.03)
    np.testing.assert_allclose(made.md_of_mean**2, 0.01 * np.sum(w**2))
    assert made.mean.var() == pytest.approx(np.sum(w**2), rel=0.1)
    t = (made.high95 - made.mean)[0] / made.total[0]
    assert t == pytest.approx(stats.t.ppf(0.975, 1 / np.sum(w**2) - 1))  # 40 alike: 2.023
    assert t > 2.05
    alike = estimate(values, np.full(values.shape, 0.01), np.full(40, 7.0))
    plain = estimate(values, np.full(values.shape, 0.01))
    np.testing.assert_allclose(alike.low95, plain.low95)


def test_broken_trajectories_speak_against_their_draw():
    made = _trajectories([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 1]])
    _, _, used = draw_values(MeanEnergy("u"), made, CONTEXT)
    assert used.tolist() == [0, 1, 3]
    weights = stability_weights(made, used)
    np.testing.assert_allclose(weights, np.array([5, 3, 4]) / 12)
    # a trajectory that was begun again had broken once
    again = made._replace(restarted=np.array([[0, 0, 0, 0], [0, 0, 1, 1], [9] * 4, [0, 0, 0, 6]]))
    weights = stability_weights(again, used)
    expected = np.array([5 / 6, 3 / 8, 4 / 12])
    np.testing.assert_allclose(weights, expected / expected.sum())
