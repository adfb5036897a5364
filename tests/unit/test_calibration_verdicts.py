"""Synthetic posteriors of known calibration get the right verdict; wrong ones are caught."""

import json
from importlib import resources

import numpy as np
import pytest
from scipy import stats

from bayespot.calibration import Method, Quantity, assess, assessment, predictive, recalibrate
from bayespot.calibration.bootstrap import Resampling
from bayespot.calibration.curves import pit
from bayespot.calibration.ence import ence
from bayespot.calibration.predictive import VectorPredictive
from bayespot.calibration.stretch import Ladder
from bayespot.calibration.verdicts import Verdict, of_method
from tests.unit.synthetic import posterior


def _verdict(q, **more):
    return assess(q, seed=0, **more)["verdict"]


@pytest.mark.parametrize("members", [5, 8, 50])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_right_uncertainties_are_trusted(members, noise):
    q = posterior(members, members=members, noise=noise)
    assert _verdict(q)["kind"] == "trust"
    if members == 5 and noise == 0:  # the Gaussian is too narrow by construction
        assert _verdict(q, tails="normal")["kind"] == "stretch"


@pytest.mark.parametrize("stretch", [2.0, 0.5])
@pytest.mark.parametrize("members", [6, 40])
def test_wrong_widths_are_stretched(members, stretch):
    found = _verdict(posterior(1, members=members, stretch=stretch, noise=0.2))
    assert found["kind"] == "stretch"
    # the mean over members has an error of its own, which no one stretched
    expected = np.sqrt((stretch**2 + 1 / members) / (1 + 1 / members))
    assert found["stretch"] == pytest.approx(expected, rel=0.12)
    assert f"{found['stretch']:.2f}" in found["sentence"]


def test_few_frames_are_unknown_not_trusted():
    assert _verdict(posterior(frames=4))["kind"] == "unknown"
    assert _verdict(posterior(frames=8, size=1, stretch=1.2))["kind"] == "unknown"
    # few frames suffice to see what is far off
    assert _verdict(posterior(frames=12, size=20, stretch=4.0))["kind"] == "stretch"


def test_intervals_of_the_factor_hold_where_numbers_of_a_frame_are_alike():
    held, naive = 0, 0
    for seed in range(60):
        q = posterior(seed, frames=30, size=20, shared=0.9, noise=0.0, spread=0.2)
        ladder = Ladder(predictive(q))
        own = ladder.stretch(Resampling.of(q.cluster, seed))
        held += own.low <= 1 <= own.high
        each = ladder.stretch(Resampling.of(np.arange(len(q.truth)), seed))
        naive += each.low <= 1 <= each.high
    assert held >= 51  # 57 expected
    assert naive < 40


def test_intervals_of_the_factor_hold_where_numbers_are_few():
    held, percentiles = 0, 0
    for seed in range(200):
        q = posterior(seed, frames=10, size=1, noise=0.3)
        own, resampling = Ladder(predictive(q)), Resampling.of(q.cluster, seed)
        found = own.stretch(resampling)
        held += found.low <= 1 <= found.high
        squares = resampling.means(predictive(q).squares()[:, None])[:, 0]
        low, high = resampling.interval(squares)
        percentiles += low <= 1 <= high
    assert held >= 182  # 190 expected
    assert percentiles < 182  # what a few squares show of themselves


def test_a_vector_counts_as_its_three_components():
    one, ten = np.ones(10), np.arange(10)
    # all squares are 1: what is left of the interval is that of as many Gaussian errors
    made = VectorPredictive(one, 3 * one, 0 * one, np.inf * one, one / 3, 0 * one)
    found = Ladder(made).stretch(Resampling.of(ten, 0))
    low, high = np.sqrt(30 / stats.chi2.ppf([0.975, 0.025], 30))
    assert (found.value, found.low, found.high) == pytest.approx((1.0, low, high), rel=1e-5)
    assert found.spread == pytest.approx(60**-0.5)


def test_heavy_tails_that_nobody_foresees_are_not_trusted():
    """Deviations differ by a factor of 10; the same ones in another order are useless."""
    right = posterior(5, spread=1.2, noise=0.0, frames=100)
    assert _verdict(right)["kind"] == "trust"
    mean = right.samples.mean(axis=0)
    other = np.random.default_rng(0).permutation(len(mean))
    members = mean + (right.samples - mean)[:, other]
    q = Quantity("forces", "", right.truth, members, right.noise_variance, right.cluster)
    found = _verdict(q)
    assert found["kind"] == "do_not_trust"
    assert "heavy tails" in found["sentence"]
    # all alike and Gaussian: nothing to rank, nothing wrong
    assert _verdict(posterior(6, spread=0.0, members=200, noise=0.5))["kind"] == "trust"


def _types(bad):
    def groups(frame, rng):
        return {"config_type": np.where(frame % 10 < bad, "Surface", "Bulk")}

    return groups


def test_a_group_that_fails_is_named():
    def worse(made):
        return np.where(made["config_type"] == "Surface", 4.0, 1.0)

    found = assess(posterior(3, groups=_types(2), stretch=worse), seed=0)
    assert found["verdict"]["kind"] == "do_not_trust"
    assert "config_type Surface" in found["verdict"]["sentence"]
    assert "Elsewhere they are as stated" in found["verdict"]["sentence"]
    kinds = {k: v["verdict"]["kind"] for k, v in found["groups"]["config_type"].items()}
    assert kinds == {"Bulk": "trust", "Surface": "do_not_trust"}
    # a group that is most of the data is the rule, not the exception
    most = assess(posterior(3, groups=_types(9), stretch=worse), seed=0)
    assert most["verdict"]["kind"] == "stretch"
    fine = assess(posterior(3, groups=_types(2)), seed=0)
    assert fine["verdict"]["kind"] == "trust"


def test_many_groups_do_not_fail_by_chance():
    def groups(frame, rng):
        return {"config_type": np.array([f"type {i}" for i in range(12)])[frame % 12]}

    kinds = [
        _verdict(posterior(seed, groups=groups, frames=72, size=6))["kind"] for seed in range(12)
    ]
    assert kinds.count("trust") >= 11


def test_frames_from_outside_are_told_apart():
    def groups(frame, rng):
        return {"domain": np.where(frame % 2, "out", "in")}

    def worse(made):
        return np.where(made["domain"] == "out", 3.0, 1.0)

    found = assess(posterior(4, groups=groups, stretch=worse), seed=0)
    assert found["verdict"]["kind"] == "do_not_trust"
    assert "outside the training distribution" in found["verdict"]["sentence"]
    # the spread does not see it
    auroc = found["metrics"]["ood_auroc"]
    assert auroc["low"] < 0.5 < auroc["high"]
    q = posterior(4, groups=groups)
    wide = np.where(q.groups["domain"] == "out", 4.0, 1.0)
    mean = q.samples.mean(axis=0)
    grown = Quantity(
        "forces", "", mean + wide * (q.truth - mean), mean + wide * (q.samples - mean),
        q.noise_variance * wide**2, q.cluster, q.groups,
    )  # fmt: skip
    found = assess(grown, seed=0)
    assert found["verdict"]["kind"] == "trust"
    assert found["metrics"]["ood_auroc"]["low"] > 0.9


def _gaps(q, seed):
    made = predictive(q)
    return ence(made, q.samples, np.ones(len(q.truth)), Resampling.of(q.cluster, seed), seed)


def test_the_null_of_ence_is_that_of_right_uncertainties():
    p = [_gaps(posterior(s, members=6, noise=0.05, size=12), s).p for s in range(12)]
    assert np.mean(np.array(p) < 0.1) < 0.3
    assert 0.3 < np.mean(p) < 0.75
    # errors drawn from the predictions, which take no account of few members, would call it wrong
    many = [_gaps(posterior(s, members=6, noise=0.05, frames=500), s) for s in range(2)]
    assert min(made.value for made in many) > 0.1
    assert min(made.p for made in many) > 0.01
    # right on average, wrong at each size
    caught = []
    for seed in range(2):
        wrong = posterior(seed, members=20, noise=0.05, size=12, spread=0.8, stated=0.3)
        caught.append(_gaps(wrong, seed).p)
    assert max(caught) < 0.05


def test_the_band_of_the_histogram():
    inside = 0
    for seed in range(60):
        q = posterior(seed, frames=40, size=15, shared=0.9, noise=0.0)
        made = pit(predictive(q).z(), Resampling.of(q.cluster, seed), seed)
        inside += made["band"][0] <= min(made["density"]) <= max(made["density"]) <= made["band"][1]
    assert inside >= 51  # 57 expected
    q = posterior(0, frames=400, stretch=1.6)
    made = pit(predictive(q).z(), Resampling.of(q.cluster, 0), 0)
    assert made["density"][0] > made["band"][1]


def test_words_follow_the_direction():
    kinds = {"a": 2.0, "b": 0.5, "c": 3.0}
    made = of_method({label: Verdict("stretch", x, "") for label, x in kinds.items()})
    assert made.sentence == "Stretch a by 2.00 and c by 3.00. Shrink b to 0.50."


def test_an_offset_is_named():
    q = posterior(2, size=1, frames=80, name="energy")
    shifted = Quantity("energy", "eV/atom", q.truth + 2, q.samples, q.noise_variance, q.cluster)
    content = assessment(
        [Method("a", [shifted])], title="t", data={"file": "f", "frames": 80, "sha256": "0" * 64},
        versions={}, seed=0,
    )  # fmt: skip
    # factors learnt with it would be factors of it
    assert "remove the constant offset of 2" in content["next"][0]
    assert not any("Multiply" in line for line in content["next"])
    assert content["methods"][0]["verdict"]["kind"] == "stretch"


def test_assessments_keep_to_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    path = resources.files("bayespot.report") / "calibration.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))

    def groups(frame, rng):
        return {"domain": np.where(frame % 3, "in", "out"), "element": rng.choice(["H", "O"], 300)}

    forces = posterior(0, frames=20, size=15, groups=groups, stretch=1.7)
    vectors = Quantity(
        "force_vectors", "eV/Å", forces.truth.reshape(-1, 3), forces.samples.reshape(20, -1, 3),
        forces.noise_variance[::3], forces.cluster[::3],
    )  # fmt: skip
    energy = posterior(1, frames=20, size=1, name="energy", noise=0.0)
    exact = Quantity(
        "pressure", "GPa", np.zeros(3), np.zeros((2, 3)), np.zeros(3), np.zeros(3, int)
    )
    methods = [Method("as made", [energy, forces, vectors, exact])]
    learnt = recalibrate([energy, forces], conformal=True)
    methods.append(Method("recalibrated", [energy, forces, vectors], learnt))
    data = {"file": "x.extxyz", "frames": 20, "sha256": "0" * 64}
    content = assessment(methods, title="t", data=data, versions={"bayespot": "0"}, seed=1)
    jsonschema.Draft202012Validator(schema).validate(
        json.loads(json.dumps(content, allow_nan=False))
    )
    first, second = content["methods"]
    assert first["verdict"]["kind"] in ("stretch", "do_not_trust")
    assert second["quantities"][1]["verdict"]["kind"] == "trust"
    assert set(content["reading"]) >= {"rmse", "ood_auroc", "chi2"}
    same = assessment(methods, title="t", data=data, versions={"bayespot": "0"}, seed=1)
    assert same == content
