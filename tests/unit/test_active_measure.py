"""What a measurement would tell: against exact posteriors, with observables that know nothing."""

import numpy as np
import pytest

from bayespot.active import Observed, by_weights, measure_next, observe
from bayespot.errors import UserError
from bayespot.md import Trajectories
from bayespot.observables import Context, MeanEnergy
from bayespot.uncertainty import draw_values

# Parameters w ~ N(0, 1) in 4 dimensions; observables are linear in them.
TARGET = np.array([1.0, 0.0, 0.0, 0.0])
ROWS = {
    "near": np.array([0.9, 0.5, 0.0, 0.0]),
    "far": np.array([0.3, 1.0, 0.6, 0.0]),
    "other": np.array([0.0, 0.0, 0.0, 1.0]),
}
CURVE = np.array([[0.5, 0.2, 0, 0], [0.8, -0.5, 0.3, 0], [0.0, 0.9, 0.1, 0], [0.1, 0.0, 1.0, 0]])


def exact(rows, error, noise=0.0):
    """Share of the target's variance that goes, by Bayes' rule on the parameters."""
    rows = np.atleast_2d(rows)
    precision = np.eye(4) + rows.T @ rows / (error**2 + noise)
    return 1 - TARGET @ np.linalg.solve(precision, TARGET)


def drawn(draws, seed, md=0.0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(draws, 4))
    values = {"target": w @ TARGET, **{k: w @ row for k, row in ROWS.items()}, "curve": w @ CURVE.T}
    if not md:
        return Observed(values), w
    noisy = {k: x + md * rng.normal(size=x.shape) for k, x in values.items()}
    covariance = {(k, k): md**2 * np.eye(len(x.T) if x.ndim > 1 else 1) for k, x in values.items()}
    return Observed(noisy, covariance), w


ERRORS = {"near": 0.4, "far": 0.4, "other": 0.4}


def test_many_draws_give_bayes_rule():
    observed, _ = drawn(8000, 0)
    found = {g.name: g for g in measure_next(observed, "target", ERRORS, resamples=60)}
    for name, row in ROWS.items():
        assert found[name].reduction == pytest.approx(exact(row, 0.4), abs=0.03)
        assert found[name].low <= exact(row, 0.4) + 1e-9 <= found[name].high + 2e-9
        left = np.sqrt(1 - found[name].reduction)
        assert found[name].after == pytest.approx(found[name].before * left)
    assert found["near"].before == pytest.approx(1, abs=0.03)
    # an error as large as the spread itself: less
    poor = measure_next(observed, "target", {"near": 2.0}, resamples=10)[0]
    assert poor.reduction == pytest.approx(exact(ROWS["near"], 2.0), abs=0.03)
    assert poor.reduction < 0.5 * found["near"].reduction


def test_a_whole_curve_gives_bayes_rule():
    observed, _ = drawn(8000, 1)
    error = np.array([0.3, 0.5, 0.4, 0.2])
    (found,) = measure_next(observed, "target", {"curve": error}, components=4, resamples=10)
    scaled = CURVE / error[:, None]
    assert found.reduction == pytest.approx(exact(scaled, 1.0), abs=0.03)
    assert found.components == 3  # the curve does not know the fourth parameter
    # errors in the wrong places tell another story
    assert abs(exact(scaled, 1.0) - exact(CURVE / error[::-1, None], 1.0)) > 0.03
    # and a curve as the target: the sum over its points
    (back,) = measure_next(observed, "curve", {"target": 0.4}, resamples=10)
    share = CURVE[:, 0] ** 2 / (1 + 0.16)
    assert back.reduction == pytest.approx(share.sum() / np.sum(CURVE**2), abs=0.03)


def test_md_noise_attenuates_and_is_taken_off():
    observed, _ = drawn(8000, 2, md=0.7)
    plain = Observed(observed.values)
    for again in (0.0, 1.0):
        (found,) = measure_next(observed, "target", {"near": 0.4}, again=again, resamples=10)
        assert found.reduction == pytest.approx(exact(ROWS["near"], 0.4, again * 0.49), abs=0.03)
        (wrong,) = measure_next(plain, "target", {"near": 0.4}, again=again, resamples=10)
        assert wrong.reduction < found.reduction - 0.1  # a control: noise taken for spread
    assert found.before == pytest.approx(1, abs=0.03)


def test_noise_of_one_trajectory_passes_for_knowledge_unless_it_is_known():
    rng = np.random.default_rng(3)
    shared = rng.normal(size=5000)  # two observables of the same trajectory
    w = rng.normal(size=(5000, 2))
    values = {"a": w[:, 0] + shared, "b": w[:, 1] + shared}
    one = np.ones((1, 1))
    known = Observed(values, {("a", "a"): one, ("b", "b"): one, ("a", "b"): one})
    (found,) = measure_next(known, "a", {"b": 0.1}, again=0.0, resamples=10)
    assert abs(found.reduction) < 0.02
    apart = Observed(values, {("a", "a"): one, ("b", "b"): one})
    (wrong,) = measure_next(apart, "a", {"b": 0.1}, again=0.0, resamples=10)
    assert wrong.reduction > 0.8


def test_few_draws_are_unbiased_and_an_unrelated_observable_tells_nothing():
    sets = [measure_next(drawn(20, 100 + i)[0], "target", ERRORS, resamples=40) for i in range(100)]
    by_name = {name: [next(g for g in s if g.name == name) for s in sets] for name in ROWS}
    for name, row in ROWS.items():
        values = np.array([g.reduction for g in by_name[name]])
        error = values.std(ddof=1) / np.sqrt(len(values))
        # a ratio of estimates keeps a bias of the order of 1 / draws, of what it estimates
        assert abs(values.mean() - exact(row, 0.4)) < 4 * error + 0.05 * exact(row, 0.4)
    nothing = by_name["other"]
    assert np.mean([g.distinct for g in nothing]) < 0.1
    assert np.mean([g.low <= 0 <= g.high for g in nothing]) > 0.85
    assert np.mean([g.distinct for g in by_name["near"]]) > 0.95
    # the control: squares of sample covariances as they come promise 1 / 19 for nothing
    plain = []
    for i in range(100):
        x = drawn(20, 100 + i)[0].values
        c = np.cov(x["target"], x["other"])
        plain.append(c[0, 1] ** 2 / (c[1, 1] + 0.16) / c[0, 0])
    assert np.mean(plain) > 0.03
    assert abs(np.mean([g.reduction for g in nothing])) < 0.015


def test_curves_of_more_points_than_draws_promise_nothing_by_chance():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(40):
        values = {"a": rng.normal(size=16), "curve": rng.normal(size=(16, 60))}
        found += measure_next(Observed(values), "a", {"curve": 0.5}, resamples=20)
    assert abs(np.mean([g.reduction for g in found])) < 0.08
    # the plain formula on all points would be certain
    c = np.cov(values["a"], values["curve"], rowvar=False)
    noise = 0.25 * np.eye(60)
    assert c[0, 1:] @ np.linalg.solve(c[1:, 1:] + noise, c[0, 1:]) / c[0, 0] > 0.9


def test_importance_weights_agree_where_everything_is_linear():
    observed, _ = drawn(4000, 5)
    x = observed.values
    for name, row in ROWS.items():
        share, size = by_weights(x["target"], x[name], 0.4, tries=300)
        assert share == pytest.approx(exact(row, 0.4), abs=0.05)
        assert size > 500
    # few draws and a sharp measurement: it says itself that it is none to rely on
    few = drawn(30, 6)[0].values
    assert by_weights(few["target"], few["near"], 0.02)[1] < 3


def test_importance_weights_see_what_no_line_does():
    w = np.random.default_rng(7).normal(size=4000)
    observed = Observed({"square": w**2, "w": w})
    (linear,) = measure_next(observed, "square", {"w": 0.1}, resamples=10)
    assert abs(linear.reduction) < 0.05
    assert by_weights(w**2, w, 0.1)[0] > 0.9


def test_whole_chains_are_resampled():
    rng = np.random.default_rng(8)
    chain = np.repeat(np.arange(5), 8)
    w = rng.normal(size=(5, 2))[chain] + 0.05 * rng.normal(size=(40, 2))
    observed = Observed({"a": w[:, 0], "b": w[:, 1]})
    (alone,) = measure_next(observed, "a", {"b": 0.3})
    (whole,) = measure_next(observed, "a", {"b": 0.3}, cluster=chain)
    assert whole.high - whole.low > 1.5 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"target": "no"}, "there is no observable no"),
        ({"errors": {"near": 0.0}}, "the error of near is 0.0"),
        ({"draws": 5}, "need at least 8"),
    ],
)
def test_mistakes(change, text):
    observed, _ = drawn(change.get("draws", 20), 9)
    with pytest.raises(UserError, match=text):
        measure_next(observed, change.get("target", "target"), change.get("errors", ERRORS))


def test_observables_of_trajectories_share_their_noise():
    """Two energies that move together within a trajectory: the jackknife sees it."""
    rng = np.random.default_rng(10)
    blocks, draws, replicas = 4, 30, 6
    centre = rng.normal(size=(2, draws))
    wiggle = 0.5 * rng.normal(size=(draws, replicas))
    means = {}
    for i, name in enumerate(("a", "b")):
        x = centre[i, None, :, None] + wiggle + 0.1 * rng.normal(size=(blocks, draws, replicas))
        means[name] = {"energy": x}
    reason = np.zeros((draws, replicas), int)
    reason[3, 2] = 1  # left out whole
    made = Trajectories(means, np.zeros((blocks, draws, replicas)), reason, reason - 1, 0)
    context = Context(300.0, 3)
    pair = [MeanEnergy("a"), MeanEnergy("b")]
    observed, used = observe(pair, made, context)
    assert used.tolist() == [i for i in range(draws) if i != 3]
    values, variances, _ = draw_values(pair[0], made, context)
    np.testing.assert_allclose(observed.values["a"], np.delete(values, 3, axis=0))
    np.testing.assert_allclose(observed.noise("a", "a"), np.delete(variances, 3, axis=0).mean())
    expected = (0.25 + 0.01 / blocks) / replicas
    assert observed.noise("a", "a").item() == pytest.approx(expected, rel=0.3)
    assert observed.noise("a", "b").item() == pytest.approx(0.25 / replicas, rel=0.3)
    assert observed.noise("b", "a").item() == observed.noise("a", "b").item()
    with pytest.raises(UserError, match="no averages of c"):
        observe([MeanEnergy("c")], made, context)
    with pytest.raises(UserError, match="no draw is stable"):
        observe(pair, made._replace(reason=reason + 1), context)


def test_a_target_that_md_noise_hides_is_refused_with_what_to_do():
    observed, _ = drawn(40, 3, md=0.2)
    assert measure_next(observed, "target", {"near": 0.4}, resamples=10)
    hidden = {**observed.md, ("target", "target"): np.eye(1) * 2.0}
    with pytest.raises(UserError, match="no more than the noise") as told:
        measure_next(Observed(observed.values, hidden), "target", {"near": 0.4}, resamples=10)
    for word in ("longer", "replicas", "another target"):
        assert word in str(told.value)
