"""Rules of verdicts, intervals and null distributions, case by case and against other formulas."""

import dataclasses

import numpy as np
import pytest
from scipy import special, stats

from bayespot.calibration import Method, Quantity, assess, assessment, predictive, recalibrate
from bayespot.calibration.bootstrap import Resampling
from bayespot.calibration.curves import reliability
from bayespot.calibration.ence import Ence, ence
from bayespot.calibration.ranks import Ranked
from bayespot.calibration.recalibration import Conformal, Scale
from bayespot.calibration.stretch import Ladder, Stretch
from bayespot.calibration.verdicts import (
    HeavyTails,
    Verdict,
    failing,
    judge,
    of_method,
    of_quantity,
)
from tests.unit.synthetic import posterior

NAN = float("nan")
FINE = HeavyTails(0.003, 0.0, 0.6)


def _stretch(value, low=None, high=None, spread=0.05, count=10):
    low, high = low or value / 1.1, high or value * 1.1
    return Stretch(value, low, high, spread, 50, count)


@pytest.mark.parametrize(
    ("value", "low", "high", "kind"),
    [
        (1.0, 0.9, 1.1, "trust"),
        (1.24, 1.05, 1.45, "trust"),
        (0.81, 0.7, 0.9, "trust"),
        (1.24, 1.05, 1.55, "unknown"),
        (0.81, 0.65, 0.9, "unknown"),
        (1.3, 1.01, 1.6, "stretch"),
        (0.75, 0.6, 0.95, "stretch"),
        (1.3, 0.95, 1.8, "unknown"),
        (0.75, 0.5, 1.05, "unknown"),
        (1.3, NAN, NAN, "unknown"),
        (NAN, NAN, NAN, "unknown"),
    ],
)
def test_one_set_of_numbers(value, low, high, kind):
    made = judge(_stretch(value, low, high))
    assert made.kind == kind
    assert made.stretch == (value if kind == "stretch" else None)


def test_which_groups_fail():
    right = _stretch(1.0)

    def found(own, rest=right, kind="element", name="O", others=0):
        groups = {kind: {name: own, **{f"other {i}": right for i in range(others)}}}
        known = {(kind, n): rest for n in groups[kind]}
        return failing(groups, known, 100).get((kind, name))

    assert found(_stretch(2.0)) == 2.0
    assert found(_stretch(1.4)) is None
    # surely more than 1.5, or perhaps; of many groups one is far off by chance
    assert found(_stretch(2.0, spread=0.13)) == 2.0
    assert found(_stretch(2.0, spread=0.16)) is None
    assert found(_stretch(2.0, spread=0.13), others=9) is None
    # most of the numbers are the rule; frames from outside never are
    assert found(_stretch(2.0, count=49)) == 2.0
    assert found(_stretch(2.0, count=50)) is None
    assert found(_stretch(2.0, count=80), kind="domain", name="out") == 2.0
    assert found(_stretch(2.0, count=20), kind="domain", name="in") is None
    # beside a rest that is stretched by 2
    assert found(_stretch(2.6), rest=_stretch(2.0)) is None
    assert found(_stretch(5.0), rest=_stretch(2.0)) == 2.5


def test_lower_ends_hold_together():
    own = _stretch(2.0, spread=0.1)
    for k in (1, 7):
        t = stats.t(df=49).isf(0.025 / k)
        assert own.lower(k) == pytest.approx(2.0 * np.exp(-0.1 * t))
    assert Stretch(2.0, NAN, NAN, NAN, 3, 10).lower(1) == 0.0


def test_the_worst_group_is_named_and_so_are_tails():
    groups = {"element": {"H": _stretch(2.0), "O": _stretch(4.0), "C": _stretch(1.0)}}
    rest = {("element", n): _stretch(1.0) for n in "HOC"}
    made, each = of_quantity(_stretch(1.1, count=100), groups, rest, FINE, [])
    assert made.kind == "do_not_trust"
    assert made.sentence.startswith("Do not trust the uncertainties on O")
    assert "Elsewhere they are as stated" in made.sentence
    assert {n: v.kind for n, v in each["element"].items()} == {
        "H": "do_not_trust", "O": "do_not_trust", "C": "trust",
    }  # fmt: skip
    whole = _stretch(1.0, count=100)
    for tails, kind in (
        (HeavyTails(0.02, 0.015, 0.1), "do_not_trust"),
        (HeavyTails(0.02, 0.015, 0.3), "trust"),  # they are foreseen
        (HeavyTails(0.02, 0.005, 0.1), "trust"),  # perhaps by chance
        (HeavyTails(0.003, 0.002, 0.1), "trust"),
    ):
        assert of_quantity(whole, {}, {}, tails, [])[0].kind == kind


def test_a_method_is_as_its_worst_quantity():
    kinds = {
        "a": Verdict("stretch", 1.5, "A."), "b": Verdict("stretch", 2.0, "B."),
        "c": Verdict("trust", None, "C."), "d": Verdict("unknown", None, "D."),
        "e": Verdict("do_not_trust", None, "E."),
    }  # fmt: skip

    def of(names):
        return of_method({n: kinds[n] for n in names})

    assert (of("abcd").kind, of("abcd").stretch) == ("stretch", 2.0)
    assert of("abcde").kind == "do_not_trust"
    assert of("abcde").stretch is None
    assert of("cd").kind == "trust"
    assert of("d").kind == "unknown"


def test_the_p_value_counts_what_is_judged_among_the_null():
    """Of 19 null values none is as large: the chance is a twentieth, not nothing."""
    none = np.zeros(2)
    found = Ence(none, none, value=0.01, fewer=0.5, null=np.linspace(0.1, 0.4, 19), replicates=none)
    assert found.p == pytest.approx(1 / 20)
    assert dataclasses.replace(found, fewer=0.25).p == pytest.approx(11 / 20)
    assert dataclasses.replace(found, fewer=0.0).p == 1.0


def test_percentiles_of_few_frames_are_those_of_a_t_interval():
    for frames in (6, 30):
        x = np.random.default_rng(frames).normal(size=frames)
        resampling = Resampling.of(np.arange(frames), 0)
        normal = special.ndtri((np.arange(200_000) + 0.5) / 200_000)
        replicates = x.mean() + x.std(ddof=0) / np.sqrt(frames) * normal
        t = stats.t.interval(0.95, frames - 1, x.mean(), stats.sem(x))
        assert resampling.interval(replicates) == pytest.approx(t, abs=1e-3)
    for frames, known in ((4, False), (5, True)):
        made = Resampling.of(np.arange(frames), 0).interval(np.arange(500.0))
        assert np.isfinite(made).all() == known


def test_the_error_of_the_factor_is_how_it_scatters():
    found = []
    for seed in range(80):
        q = posterior(seed, frames=30, size=4, shared=0.8, noise=0.0, spread=0.2)
        made = Ladder(predictive(q, "normal")).stretch(Resampling.of(q.cluster, seed))
        found.append((np.log(made.value), made.spread))
    logs, spreads = np.transpose(found)
    assert np.sqrt(np.mean(spreads**2)) == pytest.approx(logs.std(ddof=1), rel=0.2)


def _groups(frame, rng):
    return {"config_type": np.where(frame % 3, "Bulk", "Surface")}


def test_copies_within_a_frame_are_no_evidence():
    """Each number ten times: the same values with the same intervals, of the whole and of groups;
    as frames of their own they would be ten times the evidence."""
    q = posterior(1, frames=40, size=1, groups=_groups)
    copies = np.repeat(np.arange(40), 10)
    many = q.select(copies)
    once, again = (assess(x, seed=0) for x in (q, many))
    apart = assess(dataclasses.replace(many, cluster=np.arange(400)), seed=0)
    for name in ("rmse", "mae", "nll", "coverage_95", "mean_squared_z", "sharpness"):
        for key in ("value", "low", "high"):
            same = pytest.approx(once["metrics"][name][key], rel=1e-9)
            assert again["metrics"][name][key] == same
    for group in ("Bulk", "Surface"):
        parts = [x["groups"]["config_type"][group]["metrics"]["mae"] for x in (once, again, apart)]
        assert parts[1] == pytest.approx(parts[0], rel=1e-9)
        widths = [p["high"] - p["low"] for p in parts]
        assert widths[2] < 0.5 * widths[0]


def test_large_frames_are_not_from_outside_for_being_large():
    """The score of a frame is the mean of its variances, whatever its number of atoms."""
    rng = np.random.default_rng(0)
    size = np.where(np.arange(20) % 2, 2, 40)
    frame = np.repeat(np.arange(20), size)
    out = frame % 2 == 1
    members = rng.normal(size=(12, len(frame))) * np.where(out, 2.0, 1.0)
    q = Quantity(
        "energy", "", rng.normal(size=len(frame)), members, np.zeros(len(frame)), frame,
        {"domain": np.where(out, "out", "in")},
    )  # fmt: skip
    assert assess(q, seed=0)["metrics"]["ood_auroc"]["value"] == 1.0


@pytest.mark.parametrize("vectors", [False, True])
def test_tails_are_heavy_beyond_three_deviations(vectors):
    rng = np.random.default_rng(2)
    shape = (400, 3) if vectors else (1200,)

    def verdict(error):
        members = rng.normal(size=(30, *shape))
        q = Quantity(
            "force_vectors" if vectors else "energy", "", error + members.mean(axis=0), members,
            np.zeros(shape[0]), np.arange(shape[0]) // 2,
        )  # fmt: skip
        return assess(q, seed=0)["verdict"]

    right = verdict(rng.normal(size=shape))
    assert right["kind"] == "trust"
    assert not any("beyond three" in line for line in right["reasons"])
    scale = np.where(rng.random(shape[0]) < 0.06, 4.0, 0.5)
    heavy = verdict(rng.normal(size=shape) * (scale[:, None] if vectors else scale))
    assert any("beyond three" in line for line in heavy["reasons"])
    assert heavy["kind"] == "do_not_trust"


def test_the_order_of_the_data_does_not_rank_equal_uncertainties():
    size = np.sort(np.abs(np.random.default_rng(0).normal(size=400)))
    same = np.ones(400)
    up, down = (float(Ranked(same, s, 0).metrics()["ause"][0]) for s in (size, size[::-1]))
    best = float(Ranked(size, size, 0).metrics()["ause"][0])
    worst = float(Ranked(-size, size, 0).metrics()["ause"][0])
    assert best == pytest.approx(0, abs=1e-9)
    for found in (up, down):
        assert 0.3 * worst < found < 0.7 * worst


def test_reliability_is_observed_against_nominal():
    found = dict(map(tuple, reliability(0.5 * (np.arange(1000) + 0.5) / 1000)))
    assert found[0.3] == pytest.approx(0.6, abs=2e-3)
    assert found[0.6] == 1.0


def test_groups_without_a_number_of_their_own_have_that_of_all():
    names = {"element": np.array(["H", "O", "Xe"])}
    many = Conformal((0.9,), {"": (2.0,), "H": (3.0,), "O": (1.0,)}, "element", {"": 9}, "")
    np.testing.assert_array_equal(many.multiple(0.9, 3, names), [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(many.multiple(0.9, 3, None), [2.0, 2.0, 2.0])
    scale = Scale(2.0, "element", {"H": 3.0, "O": 1.0})
    np.testing.assert_array_equal(scale.ratio(np.ones(3), names), [3.0, 1.0, 2.0])


def test_advice_follows_what_was_found():
    q = posterior(2, size=1, frames=80, name="energy", members=12)
    data = {"file": "f", "frames": 80, "sha256": "0" * 64}

    def following(q):
        made = assessment([Method("a", [q])], title="t", data=data, versions={}, seed=0)
        return made["next"]

    assert following(q) == ["Nothing: use the uncertainties as they are."]
    spread = np.std(q.truth - q.samples.mean(axis=0))
    # a fifth of the squared error, and nearly all of it
    for shift, named in ((0.5, False), (4.0, True)):
        lines = following(dataclasses.replace(q, truth=q.truth + shift * spread))
        assert any("constant offset" in line for line in lines) == named


def _ence(q, seed=0):
    factor, resampling = np.ones(len(q.truth)), Resampling.of(q.cluster, seed)
    return ence(predictive(q), q.samples, factor, resampling, seed)


def test_one_member_fewer_is_one_of_those_committees():
    q = posterior(1, members=5, frames=1, size=200)
    found = _ence(q)
    fewer = [dataclasses.replace(q, samples=np.delete(q.samples, j, axis=0)) for j in range(5)]
    assert min(abs(_ence(p).value - found.fewer) for p in fewer) < 1e-9
    assert len(found.predicted) == 10  # twenty numbers a bin


def test_the_null_of_ence_is_as_wide_as_right_uncertainties_scatter():
    z = []
    for seed in range(120):
        shape = {"members": 5, "frames": 25, "size": 4, "noise": 0.0, "shared": 0.0, "spread": 0.3}
        made = _ence(posterior(seed, **shape), seed)
        z.append((made.fewer - made.null.mean()) / made.null.std())
    # 1.2 without the truth's own distance from the mean of the members
    assert 0.85 < np.std(z) < 1.12


def test_groups_of_five_frames_have_their_own_factor():
    """One frame fewer, and it is that of all."""
    for frames, own in ((4, False), (5, True)):
        q = posterior(3, frames=20, size=10, groups=lambda frame, rng, few=frames: {
            "config_type": np.where(frame < few, "few", "many")
        }, stretch=lambda made: np.where(made["config_type"] == "few", 4.0, 1.0))  # fmt: skip
        made = recalibrate([q], by="config_type").maps["forces"]
        assert ("few" in made.factors) == own
        if own:
            assert made.factors["few"] > 2 * made.factors["many"]
