"""A recalibration stored with the posterior reaches intervals of observables and the monitor."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ase.build import molecule
from scipy import stats

from bayespot import config, files, pipeline, recalibrated
from bayespot.calibration import Isotonic, Recalibration, Scale
from bayespot.committee import remove_recalibration, save_recalibration
from bayespot.data import Shift
from bayespot.draws import Draws
from bayespot.intervals import Ways
from bayespot.intervals.stored import load_ways, save_ways
from bayespot.intervals.ways import watched_with
from bayespot.md import Trajectories
from bayespot.observables import Context, MeanEnergy, Stiffness
from bayespot.progress import Progress
from bayespot.report.table import numbers, table
from bayespot.results import observable_json
from bayespot.run_report import Answers
from bayespot.uncertainty import estimate, stretched

RNG = np.random.default_rng(7)
KNOWN = Recalibration(
    {"forces": Scale(1.8, "element", {"O": 2.5, "H": 1.2}), "energy": Scale(3.0)},
    text="Factors by element, learnt on 30 frames by NLL.",
)
MONOTONE = Recalibration({"forces": Isotonic((0.1, 0.2), (0.2, 0.5))}, text="Monotone map.")
RAW = {
    "data": {"train": "train.extxyz", "test": "test.extxyz"},
    "potential": {"kind": "pair_mlp"},
    "sampler": {"method": "ensemble", "chains": 2},
    "md": {"temperature": 300.0, "draws": 6, "replicas": 3, "mean": {"threshold": 0.5}},
    "observables": [{"kind": "mean_energy"}],
}


def _job(folder, sampler=None, **md):
    raw = {**RAW, "md": {**RAW["md"], **md}, "sampler": sampler or RAW["sampler"]}
    job = pipeline.Job(config.parse(raw), folder, Progress(enabled=False))
    job.observables = (MeanEnergy("u"),)
    return job


def _answers(job):
    known = {"u": (np.array(0.1), np.array(0.01))}
    return Answers(job.config, job.folder, job.observables, known, Context(300.0, 3))


def _trajectories():
    energy = 0.2 * RNG.normal(size=(1, 6, 1)) + 0.05 * RNG.normal(size=(4, 6, 3))
    none = np.zeros((6, 3), int)
    return Trajectories({"u": {"energy": energy}}, np.zeros((4, 6, 3)), none, none - 1, 0)


def _experiments(factor, repeats=4000, draws=20):
    """Draws whose spread is too small by ``factor``, about truths that are 0."""
    centre = factor * RNG.normal(size=repeats)
    values = centre + RNG.normal(size=(draws, repeats)) + 0.5 * RNG.normal(size=(draws, repeats))
    return estimate(values, np.full(values.shape, 0.25))


def test_stretching_covers_and_neither_more_nor_less_does():
    raw = _experiments(4.0)

    def inside(made):
        return np.mean((made.low95 <= 0) & (made.high95 >= 0))

    assert 0.93 < inside(stretched(raw, 4.0)) < 0.97
    assert inside(raw) < 0.6  # not at all
    assert inside(stretched(raw, 2.0)) < 0.85
    assert inside(stretched(raw, 16.0)) > 0.99  # twice


@pytest.mark.parametrize("weighted", [False, True])
def test_only_the_parameter_part_is_stretched(weighted):
    values, variances = RNG.normal(size=(8, 5)), RNG.uniform(0.1, 0.4, (8, 5))
    weights = RNG.uniform(0.5, 1.0, 8) if weighted else None
    raw = estimate(values, variances, weights)
    made = stretched(raw, 2.5)
    part = raw.total**2 - raw.md_of_mean**2
    np.testing.assert_allclose(made.total**2, 6.25 * part + raw.md_of_mean**2)
    np.testing.assert_allclose(made.parameter, 2.5 * raw.parameter)
    for name in ("mean", "md", "md_of_mean", "values"):
        np.testing.assert_array_equal(getattr(made, name), getattr(raw, name))
    count = 8 if weights is None else np.sum(weights) ** 2 / np.sum(weights**2)
    for level, name in ((0.68, "68"), (0.95, "95")):
        half = stats.t.ppf(0.5 + level / 2, count - 1) * made.total
        np.testing.assert_allclose(getattr(made, f"high{name}"), raw.mean + half)
        np.testing.assert_allclose(getattr(made, f"low{name}"), raw.mean - half)
    same = stretched(raw, 1.0)
    for field in ("total", "low68", "high68", "low95", "high95"):
        np.testing.assert_allclose(getattr(same, field), getattr(raw, field))
    # draws that are all alike: MD noise is no reason to stretch
    alike = estimate(np.ones(8), np.zeros(8))
    noisy = dataclasses.replace(alike, md_of_mean=np.array(0.3), total=np.array(0.3))
    assert stretched(noisy, 5.0).total == pytest.approx(0.3)


def test_a_stored_factor_stands_beside_the_interval_until_it_is_undone(tmp_path):
    job, trajectories = _job(tmp_path), _trajectories()
    plain = _answers(job).of(trajectories)
    assert plain["recalibration"]["text"] is None
    assert plain["recalibration"]["sentence"].startswith("uncalibrated:")
    assert "recalibrated" not in plain["observables"]["u"]

    save_recalibration(tmp_path, KNOWN)
    made = _answers(job).of(trajectories)
    u = made["observables"]["u"]
    wide = u.pop("recalibrated")
    assert u == plain["observables"]["u"]  # the draws' own is untouched
    assert made["recalibration"]["factor"] == 1.8  # of all atoms, whatever elements have
    assert "stretched by 1.8" in made["recalibration"]["sentence"]
    assert "approximation" in made["recalibration"]["sentence"]
    part = u["total"] ** 2 - u["md_of_mean"] ** 2
    total = np.sqrt(1.8**2 * part + u["md_of_mean"] ** 2)
    assert wide["total"] == pytest.approx(total)
    assert wide["high95"] - u["mean"] == pytest.approx(stats.t.ppf(0.975, 5) * total)
    assert wide["coverage"]["inside95"] == float(wide["low95"] <= 0.1 <= wide["high95"])

    other = _job(tmp_path, recalibrated=False)
    off = _answers(other).of(trajectories)
    assert off["observables"] == plain["observables"]
    assert "not applied" in off["recalibration"]["sentence"]
    assert "Factors by element" in off["recalibration"]["sentence"]
    assert pipeline.without_paths(other.config) == pipeline.without_paths(job.config)

    save_recalibration(tmp_path, MONOTONE)
    odd = _answers(job).of(trajectories)
    assert odd["observables"] == plain["observables"]
    assert "not by a factor" in odd["recalibration"]["sentence"]
    remove_recalibration(tmp_path)
    assert _answers(job).of(trajectories) == plain
    json.dumps(made)


def test_members_of_a_fit_are_recalibrated_where_they_lie(tmp_path):
    fit = tmp_path / "fit"
    fit.mkdir()
    save_recalibration(fit, KNOWN)
    settings = _job(tmp_path / "run", {"method": "fit", "fit": str(fit)}).config
    found = recalibrated.stored(settings, tmp_path / "run")
    assert recalibrated.factor(found, True) == 1.8
    assert recalibrated.stored(_job(tmp_path).config, tmp_path) is None


def test_energies_alone_stretch_no_observable():
    known = Recalibration({"energy": Scale(3.0)}, text="Factors.")
    assert recalibrated.factor(known, True) is None
    assert recalibrated.scales(known, True, (8,))["energy_scale"] == 3.0


def test_the_table_and_components_show_both():
    values = RNG.normal(100.0, 5.0, (6, 3))
    c = observable_json(Stiffness("c"), estimate(values, np.ones((6, 3))), None, None, 2.0)
    rows = numbers(c)
    for i, row in enumerate(rows):
        assert row["recalibrated"]["high95"] == c["recalibrated"]["high95"][i]
        assert row["recalibrated"]["high95"] > row["high95"]
    u = observable_json(MeanEnergy("u"), estimate(values[:, 0], np.ones(6)), None, None)
    both = table({"c": c})
    assert both[1].split()[-1] == "recalibrated"
    ends = rows[0]["recalibrated"]
    assert float(both[2].split()[-1]) == pytest.approx(
        (ends["high95"] - ends["low95"]) / 2, rel=0.05
    )
    assert "recalibrated" not in "\n".join(table({"u": u}))


def test_the_monitor_has_the_factors_of_each_element(tmp_path, monkeypatch):
    """And the mean is watched anew where they are others than before."""
    seen = []
    healthy, each = np.ones(2, bool), np.zeros((2, 1))
    draws = Draws({"potential": {"x": np.zeros((2, 1, 4))}}, each, healthy, ("", ""), {})

    def simulated(*arguments, folder, **more):
        seen.append((arguments[5].monitor, folder))
        nowhere = (np.zeros((0, 0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3), int))
        return Ways({}, {}, {}, (), nowhere, watched_with(arguments[5].monitor))

    monkeypatch.setattr(pipeline, "other_ways", simulated)

    def look(**md):
        job = _job(tmp_path, **md)
        job.potential = job.ensemble = job.stability = None
        frame = SimpleNamespace(atoms=molecule("H2O"))
        job.starts = SimpleNamespace(frames=[frame])
        job.splits = SimpleNamespace(shift=Shift((1, 8), (0.0, 0.0)))
        job.fingerprint = ""
        return job._other_ways(jax.random.key(0), draws)

    look()
    look()
    assert len(seen) == 1  # made once, and read
    assert not seen[0][0].recalibrated
    save_recalibration(tmp_path, KNOWN)
    made = look()
    look()
    assert len(seen) == 2
    monitor, folder = seen[1]
    assert monitor.scale == 1.8
    assert dict(monitor.element_scales) == {1: 1.2, 8: 2.5}
    assert monitor.energy_scale == 3.0
    assert monitor.threshold == 0.5  # of the uncertainties, not of the members' spread
    assert folder != seen[0][1]  # no checkpoint of the other
    assert made.scales["element_scales"] == [[1, 1.2], [8, 2.5]]
    look(recalibrated=False)
    assert len(seen) == 3
    assert not seen[2][0].recalibrated
    look()
    save_recalibration(tmp_path, dataclasses.replace(KNOWN, maps={"forces": Scale(1.8)}))
    look()
    assert len(seen) == 5
    assert seen[-1][0].energy_scale == 1.0


def test_ways_of_before_have_no_factors(tmp_path):
    """A mean.npz that says nothing of them was watched without."""
    nowhere = (np.zeros((0, 0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3), int))
    path = tmp_path / "mean.npz"
    save_ways(path, Ways({}, {}, {}, (), nowhere, {"scale": 2.0}))
    arrays, header = files.load_arrays(path)
    assert header.pop("scales") == {"scale": 2.0}
    files.save_arrays(path, arrays, header)
    assert load_ways(path).scales == {}
