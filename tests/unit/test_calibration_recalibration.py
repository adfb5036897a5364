"""Factors, maps and conformal intervals: what they recover, and what they guarantee."""

import dataclasses
import json

import numpy as np
import pytest

from bayespot.calibration import (
    Isotonic,
    Quantity,
    Recalibration,
    Scale,
    assess,
    predictive,
    recalibrate,
)
from bayespot.calibration.fitting import best_factor, conformal_intervals
from bayespot.errors import UserError
from tests.unit.synthetic import posterior


def _elements(frame, rng):
    return {"element": rng.choice(["H", "O"], len(frame))}


def _by_element(made):
    return np.where(made["element"] == "H", 3.0, 0.7)


def test_a_factor_makes_other_frames_right():
    wide = {"members": 40, "noise": 0.2, "stretch": 2.0}
    learnt = recalibrate([posterior(1, frames=400, **wide)])
    assert learnt.factor("forces") == pytest.approx(2.0, rel=0.05)
    test = posterior(2, **wide)
    assert assess(test, seed=0)["verdict"]["kind"] == "stretch"
    after = assess(test, seed=0, recalibration=learnt)
    assert after["verdict"]["kind"] == "trust"
    before = assess(test, seed=0)
    for name in ("nll", "crps", "crps_fair"):
        assert after["metrics"][name]["value"] < before["metrics"][name]["value"]
    assert after["metrics"]["coverage_95"]["value"] == pytest.approx(0.95, abs=0.02)
    assert after["parts"]["aleatoric"] == pytest.approx(0.2 * learnt.factor("forces"))
    # what nobody recalibrated stays as it is
    assert learnt.factor("energy") == 1.0
    assert learnt.apply("energy", 0.3) == 0.3


@pytest.mark.parametrize("score", ["nll", "crps"])
def test_factors_have_the_best_score(score):
    made = predictive(posterior(3, members=6, stretch=1.7))
    found = best_factor(made, score)
    ones = np.ones(len(made.error))
    scores = [np.mean(getattr(made.stretched(found * f * ones), score)()) for f in (0.9, 1.0, 1.1)]
    assert scores[1] == min(scores)
    if score == "nll":
        gaussian = predictive(posterior(3, members=6, stretch=1.7), "normal")
        expected = np.sqrt(np.mean(gaussian.squares()))
        assert best_factor(gaussian, "nll") == pytest.approx(expected, rel=1e-3)


def test_elements_have_their_own_factors():
    q = posterior(1, members=60, noise=0.2, groups=_elements, stretch=_by_element)
    learnt = recalibrate([q], by="element")
    assert learnt.factor("forces", "H") == pytest.approx(3.0, rel=0.06)
    assert learnt.factor("forces", 8) == pytest.approx(0.7, rel=0.06)
    assert learnt.factor("force_vectors", 8) == learnt.factor("forces", "O")
    assert learnt.factor("forces", "Xe") == learnt.factor("forces")  # unseen
    test = posterior(2, members=60, noise=0.2, groups=_elements, stretch=_by_element)
    for known, kinds in ((learnt, {"trust"}), (recalibrate([q]), {"stretch", "do_not_trust"})):
        found = assess(test, seed=0, recalibration=known)["groups"]["element"]
        assert {g["verdict"]["kind"] for g in found.values()} <= kinds
    # groups of few frames share the factor of all
    few = q.select(q.cluster < 4)
    assert recalibrate([few], by="element").factor("forces", "H") == pytest.approx(
        recalibrate([few]).factor("forces")
    )


def test_the_isotonic_map_repairs_what_no_factor_does():
    settings = {"members": 60, "noise": 0.0, "spread": 1.0, "stated": 0.4, "frames": 150}
    learnt = recalibrate([posterior(1, **settings)], kind="isotonic")
    made = learnt.maps["forces"]
    assert np.all(np.diff(made.made) > 0)
    # stated s = 0.3 exp(0.4 g) should be 0.3 exp(g)
    for g in (-1.0, 0.0, 1.0):
        found = learnt.apply("forces", np.array([0.3 * np.exp(0.4 * g)]))[0]
        assert found == pytest.approx(0.3 * np.exp(g), rel=0.25)
    test = posterior(2, **settings)
    p = {}
    for name, known in (("isotonic", learnt), ("scale", recalibrate([posterior(1, **settings)]))):
        found = assess(test, seed=0, recalibration=known)
        p[name] = found["curves"]["ence"]["value"]
    assert p["isotonic"] < 0.4 * p["scale"]
    # beyond the knots uncertainties keep growing
    largest = made.given[-1]
    far = learnt.apply("forces", np.array([largest, 10 * largest]))
    assert far[1] == pytest.approx(10 * far[0])


@pytest.mark.parametrize("kind", ["scale", "isotonic"])
def test_recalibrations_are_stored_applied_and_undone(kind):
    q = posterior(1, groups=_elements, stretch=_by_element)
    by = "element" if kind == "scale" else None
    learnt = recalibrate([q], kind=kind, by=by, conformal=True, source={"file": "a.extxyz"})
    text = json.dumps(learnt.to_json(), allow_nan=False)
    read = Recalibration.from_json(json.loads(text))
    assert read.to_json() == learnt.to_json()
    sigma = np.geomspace(1e-3, 30, 200)
    groups = {"element": np.array(["H", "O"] * 100)}
    applied = read.apply("forces", sigma, groups)
    np.testing.assert_array_equal(applied, learnt.apply("forces", sigma, groups))
    np.testing.assert_allclose(read.undo("forces", applied, groups), sigma, rtol=1e-12)
    assert not np.allclose(applied, sigma, rtol=0.2)
    width = read.interval("forces", sigma, 0.9, groups)
    np.testing.assert_array_equal(width, learnt.interval("forces", sigma, 0.9, groups))
    assert read.kind == f"{kind} + conformal"
    with pytest.raises(UserError, match="no recalibration"):
        Recalibration.from_json({"schema": "other"})
    with pytest.raises(UserError, match=r"level 0\.8"):
        read.interval("forces", sigma, 0.8, groups)
    if kind == "isotonic":
        with pytest.raises(UserError, match="no factor"):
            read.factor("forces")


def test_what_cannot_be_learnt_is_refused():
    q = posterior(0)
    with pytest.raises(UserError, match="by likelihood"):
        recalibrate([q], kind="isotonic", score="crps")
    with pytest.raises(UserError, match="nothing to recalibrate"):
        recalibrate([])
    exact = dataclasses.replace(q, truth=q.samples.mean(axis=0))
    for kind in ("scale", "isotonic"):
        with pytest.raises(UserError, match="exact"):
            recalibrate([exact], kind=kind)


def _frames(rng, frames):
    """Heavy-tailed errors whose size is that of the frame: larger where there are more of them."""
    scale = np.exp(1.2 * rng.normal(size=frames))
    size = np.where(scale > 1, 40, 4)
    frame = np.repeat(np.arange(frames), size)
    error = scale[frame] * rng.standard_t(3, len(frame))
    members = rng.normal(size=(3, len(frame)))
    members -= members.mean(axis=0)
    members /= members.std(axis=0, ddof=1)
    kind = np.where(frame % 2, "a", "b")
    error *= np.where(frame % 2, 4.0, 1.0)
    return Quantity(
        "forces", "", error, members, np.zeros(len(frame)), frame, {"config_type": kind}
    )


def _coverage(rng, width, q, chosen=None):
    """Of a number picked at random from a frame picked at random."""
    inside = np.abs(q.truth) <= width
    frames = np.unique(q.cluster if chosen is None else q.cluster[chosen])
    return np.mean([inside[q.cluster == f].mean() for f in frames])


def test_conformal_intervals_hold_with_few_frames_of_any_law():
    """Frames are exchangeable, their numbers are not."""
    rng = np.random.default_rng(0)
    frames, level = 19, 0.9
    ours, naive, grouped, pooled = [], [], [], []
    for _ in range(400):
        q, new = _frames(rng, frames), _frames(rng, 6)
        made = conformal_intervals(q, Scale(1.0))
        ours.append(_coverage(rng, made.multiple(level, 1, None)[0], new))
        score = np.sort(np.abs(q.truth))
        n = len(score)
        naive.append(_coverage(rng, score[min(n - 1, int(np.ceil((n + 1) * level)) - 1)], new))
        by = conformal_intervals(q, Scale(1.0), "config_type")
        hard = new.groups["config_type"] == "a"
        width = by.multiple(0.68, len(hard), new.groups)
        grouped.append(_coverage(rng, width, new, hard))
        pooled.append(_coverage(rng, made.multiple(0.68, 1, None)[0], new, hard))
    error = np.std(ours) / 20
    assert level - 3 * error <= np.mean(ours) <= level + 1 / (frames + 1) + 3 * error
    assert np.mean(grouped) >= 0.68 - 3 * np.std(grouped) / 20
    assert np.mean(grouped) <= 0.68 + 1 / 9 + 3 * np.std(grouped) / 20
    # the easy group makes up for the hard one where nobody looks
    assert np.mean(pooled) < 0.68 - 5 * np.std(pooled) / 20
    # pooled numbers hold another promise: frames of many numbers count more
    assert abs(np.mean(naive) - level) > 3 * np.std(naive) / 20


def test_too_few_frames_give_infinite_intervals():
    q = _frames(np.random.default_rng(0), 9)
    made = conformal_intervals(q, Scale(1.0))
    assert np.isfinite(made.multiples[""]).tolist() == [True, True, True, False]
    assert "at random from a new frame" in made.guarantee
    learnt = recalibrate([q], conformal=True)
    assert learnt.to_json()["conformal"]["forces"]["multiples"][""][-1] is None
    assert np.isinf(learnt.interval("forces", 1.0, 0.95))
    single = q.select(np.unique(q.cluster, return_index=True)[1])
    assert "at random" not in conformal_intervals(single, Scale(1.0)).guarantee


def test_factors_cancel_in_conformal_intervals_and_maps_have_frames_of_their_own():
    q = posterior(1, groups=_elements, stretch=_by_element)
    sigma = np.array([0.1, 0.4])
    widths = []
    for factor in (1.0, 3.0):
        learnt = Recalibration({"forces": Scale(factor)}, {
            "forces": conformal_intervals(q, Scale(factor))
        })  # fmt: skip
        widths.append(learnt.interval("forces", sigma, 0.9))
    np.testing.assert_allclose(widths[0], widths[1])
    learnt = recalibrate([q], kind="isotonic", conformal=True, seed=1)
    assert learnt.conformal["forces"].frames[""] == len(np.unique(q.cluster)) // 2
    assert isinstance(learnt.maps["forces"], Isotonic)


def test_coverage_is_that_of_conformal_intervals_where_there_are_some():
    rng = np.random.default_rng(4)

    def heavy(frames):
        made = posterior(5, frames=frames, size=1, noise=0.0, spread=0.0)
        error = 0.3 * rng.standard_t(1.5, frames)
        return dataclasses.replace(made, truth=made.samples.mean(axis=0) + error)

    learn, test = heavy(400), heavy(400)
    found = [
        assess(test, seed=0, recalibration=recalibrate([learn], conformal=c))["metrics"]
        for c in (False, True)
    ]
    gap = [abs(f["coverage_68"]["value"] - 0.68) for f in found]
    assert gap[0] > 0.08
    assert gap[1] < gap[0] / 2
