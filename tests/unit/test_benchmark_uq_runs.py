"""What a run of the coverage benchmark keeps apart: sets, temperatures, noise, recalibration."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from scipy import stats

from bayespot.errors import UserError
from bayespot.md import Trajectories
from bayespot.observables import Context, MeanEnergy
from bayespot.uncertainty import estimate
from benchmarks.uq import argon, argon_truth
from benchmarks.uq.case import PLACES
from benchmarks.uq.counting import Interval, share
from benchmarks.uq.coverage import make_cases
from benchmarks.uq.methods import Recipe
from benchmarks.uq.runner import VARIANTS, Runner

BLOCKS, DRAWS = 5, 4
MD = 0.5  # of one block


def _trajectories(values, kelvin=()):
    """Energies (draws,) with blocks that scatter by exactly ``MD``."""
    scatter = np.array([-1, 1, -1, 1, 0]) * MD
    energy = np.asarray(values, float)[None, :, None] + scatter[:, None, None]
    shape = (len(values), max(1, len(kelvin)))
    energy = np.broadcast_to(energy, (BLOCKS, *shape))
    heat = np.broadcast_to(np.asarray(kelvin or (1.0,), float), (BLOCKS, *shape))
    return Trajectories(
        {"energy": {"energy": energy}}, heat, np.zeros(shape, int), np.full(shape, -1), 0
    )


@pytest.fixture
def runner(tmp_path):
    """Of a case with one observable, whose truth is 10 at one temperature and 20 at the other."""
    case = types.SimpleNamespace(
        name="made_up", recipe=Recipe(members=DRAWS), methods=(), blocks=BLOCKS,
        observables=(MeanEnergy("energy"),), own_methods=dict, settings=dict, sets=2,
        reference=lambda place: {"energy": (np.array(10.0 if place == "in" else 20.0),
                                            np.array(0.0))},
        context=lambda place, given: Context(300.0, 1),
        training_set=lambda number: types.SimpleNamespace(train=None, validation=None),
    )  # fmt: skip
    return Runner(case, tmp_path)


def test_intervals_are_judged_with_the_factor_and_the_truth_of_their_place(runner):
    values = np.array([7.0, 8.0, 9.0, 8.0])
    spread, md = np.var(values, ddof=1), 4 * MD**2 / (BLOCKS - 1) / BLOCKS
    told = {p: runner._judged(_trajectories(values), p, None, 3.0)["energy"] for p in PLACES}
    assert set(VARIANTS) <= set(told["in"])
    reach = stats.t.ppf(0.975, DRAWS - 1)
    for variant, factor in (("plain", 1.0), ("recalibrated", 3.0), ("third", 1 / 3)):
        half = reach * np.sqrt(factor**2 * (spread - md) + md / DRAWS)
        assert told["in"][variant]["width"] == pytest.approx(half / 10)
        assert told["away"][variant]["width"] == pytest.approx(half / 20)
    alone = stats.t.ppf(0.975, BLOCKS - 1) * np.sqrt(md)
    assert told["in"]["noise"]["width"] == pytest.approx(alone / 10)
    assert [told["in"][v]["95"] for v in VARIANTS] == [1, 1, 0, 0]
    assert told["away"]["plain"]["95"] == 0
    assert told["in"]["parameter_share"] == pytest.approx(
        (spread - md) / (spread - md + md / DRAWS)
    )


def test_errors_spreads_and_the_factor_are_those_of_forces(runner):
    """Draws half as far apart are given twice the factor; spreads are a sample's."""
    rng = np.random.default_rng(6)
    labels = rng.normal(size=(40, 5, 3))
    batch = types.SimpleNamespace(
        energy=rng.normal(size=40), forces=labels,
        system=types.SimpleNamespace(species=np.ones((40, 5), int)),
    )  # fmt: skip
    truth = types.SimpleNamespace(**{**vars(batch), "forces": labels + 0.5})
    runner.case.test = {"in": batch, "away": truth}.get
    given = types.SimpleNamespace(calibration=batch)
    centre = labels + 0.1 * rng.normal(size=labels.shape)
    apart = rng.normal(size=(DRAWS, *labels.shape))
    apart -= apart.mean(0)
    factors = {}
    for size in (0.02, 0.04):
        runner._predict = lambda params, batch, size=size: (
            np.asarray(batch.energy) + 0.1 * rng.normal(size=(DRAWS, 1)), centre + size * apart
        )  # fmt: skip
        made = {}
        factors[size] = runner._recalibrated(given, {"potential": {}}, made)["forces"]
        spread = size * np.sqrt(np.mean(apart.var(0, ddof=1)))
        for place in PLACES:
            assert made[f"forces_spread_{place}"] == pytest.approx(spread)
        gap = centre - labels
        assert made["forces_rmse_in"] == pytest.approx(np.sqrt(np.mean(gap**2)))
        assert made["forces_rmse_away"] == pytest.approx(np.sqrt(np.mean((gap - 0.5) ** 2)))
    assert factors[0.02] == pytest.approx(2 * factors[0.04], rel=0.05)
    assert factors[0.04] > 1.5


def test_md_noise_of_the_mean_is_in_the_interval_once():
    """Draws that differ by MD noise alone: the factor must not stretch what is left of it."""
    values, md = np.array([1.0, 2.0, 3.0]), 0.9
    made = Interval.of(estimate(values, np.full(3, md)))
    assert made.md == pytest.approx(md / 3)
    assert made.parameter == pytest.approx(1.0)  # no less than the standard error of the spread
    assert made.total() == pytest.approx(np.sqrt(1.0 + md / 3))
    assert made.total(error=2.0, factor=3.0) == pytest.approx(np.sqrt(9.0 + md / 3 + 4.0))


def test_the_standard_error_over_sets_is_that_of_a_sample():
    """Three shares: with the variance of a population the interval would be narrower."""
    values = [0.4, 0.6, 0.8]
    made = share(values)
    count = max(3, 0.6 * 0.4 / (np.var(values, ddof=1) / 3))
    assert count > 3
    z = stats.norm.ppf(0.975)
    half = z / (1 + z**2 / count) * np.sqrt(0.24 / count + z**2 / (4 * count**2))
    assert made.high - made.low == pytest.approx(2 * half)


def test_every_set_has_a_key_of_its_own(runner):
    keys = []

    def method(key, train, validation):
        keys.append(tuple(np.asarray(jax.random.key_data(key))))
        raise UserError("all chains diverged", "")

    runner.given["mine"] = method
    told = [runner.one(number, "mine") for number in (0, 1)]
    assert all("failed" in one for one in told)
    assert len(set(keys)) == 2


@pytest.fixture(
    scope="module", params=[argon_truth.FLUID, argon_truth.CRYSTAL], ids=lambda m: m.name
)
def case(request, tmp_path_factory):
    """Argon with made-up frames in place of those of a long simulation."""
    matter = request.param
    truth = argon_truth.Truth(
        matter, argon_truth.Size(2, 2, 1, 2), tmp_path_factory.mktemp(matter.name)
    )
    rng = np.random.default_rng(5)
    start = np.asarray(matter.system.positions, float)
    frames = (start + 0.3 * rng.normal(size=(26, 32, 3))) % matter.edge
    truth.made = {f"frames {place}": frames for place in PLACES}
    recipe = Recipe(members=DRAWS)
    return argon.Argon(truth, argon_truth.MODEL, "argon", "argon", recipe, ("exact",), True)


def test_samplers_are_given_the_posterior_that_is_solved_exactly(case):
    """One standard deviation along any axis takes a half off its logarithm; its scales of noise
    are about those of the labels."""
    size, train = case.truth.size, case.training_set(0).train
    mean, root = argon.exact(train.data, size)
    noise = {"log_sigma_energy": np.log(size.energy_noise),
             "log_sigma_forces": np.log(size.force_noise)}  # fmt: skip

    def log_density(pair):
        params = {"potential": {"pair": np.float32(pair)[None]}, "noise": noise}
        return float(train.log_density_full(jax.tree.map(jax.numpy.float32, params)))

    top = log_density(mean)
    drops = [log_density(mean + axis) - top for axis in root.T]
    np.testing.assert_allclose(drops, -0.5, atol=0.05)
    for prior, sigma in (
        (train.likelihood.energy_noise, size.energy_noise),
        (train.likelihood.forces_noise, size.force_noise),
    ):
        assert float(prior.icdf(0.5)) == pytest.approx(sigma, rel=1e-5)


def test_sets_share_no_frames_and_no_noise(case):
    size, seen, errors = case.truth.size, [], []
    for number in (0, 1):
        given = case.training_set(number)
        parts = (given.train.data, given.validation, given.calibration)
        positions = np.concatenate([part.system.positions for part in parts])
        seen += [x.tobytes() for x in positions]
        clean = case.truth.labelled(positions, None)
        errors.append(np.concatenate([part.forces for part in parts]) - clean.forces)
    assert len(set(seen)) == 10
    first, second = (np.ravel(e) for e in errors)
    assert np.std(first) == pytest.approx(size.force_noise, rel=0.15)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def test_each_temperature_is_simulated_where_it_belongs(case, monkeypatch):
    matter = case.truth.matter
    kelvin = matter.ensemble(1).temperature
    asked = {}

    def run(key, params, starts):
        asked["starts"] = starts.shape
        return _trajectories(np.zeros(DRAWS), tuple(kelvin))

    assert case._simulation.system is matter.system
    monkeypatch.setitem(vars(case), "_simulation", types.SimpleNamespace(run=run))
    params = {"pair": np.repeat(case.truth.coarse[None, None], DRAWS, 0).astype(np.float32)}
    made = case.simulate(jax.random.key(0), params)
    assert asked["starts"] == (DRAWS, 2, 32, 3)
    for place in PLACES:
        assert (made[place].temperature == case.temperatures[place]).all()
        assert case.context(place, None).temperature == case.temperatures[place]
    assert case.temperatures["in"] == {"argon": 150.0, "argon_crystal": 60.0}[matter.name]


@pytest.mark.parametrize(
    ("setting", "only", "wanted"),
    [
        ("quick", (), ["argon_spline", "argon_network"]),
        ("quick", ("argon_crystal",), ["argon_crystal_spline", "argon_crystal_network"]),
        ("quick", ("peroxide", "argon_s"), ["argon_spline", "peroxide"]),
        ("full", ("ethanol",), ["ethanol"]),
    ],
)
def test_cases_are_chosen_by_how_their_names_begin(tmp_path, setting, only, wanted):
    made = make_cases(setting, tmp_path, 3, only)
    assert [case.name for case in made] == wanted
    assert {case.sets for case in made} == {3}


def test_a_crystal_is_learned_with_settings_of_its_own(tmp_path):
    """Labels a third as noisy; a full run takes four times the steps of either."""
    for only, noise, adam, first in (("argon_s", 0.03, 2000, 1e-3), ("argon_c", 0.01, 8000, 1e-4)):
        quick, full = (make_cases(how, tmp_path, None, (only,))[0] for how in ("quick", "full"))
        for case, more in ((quick, 1), (full, 4)):
            assert case.truth.size.force_noise == case.truth.size.energy_noise / 2 == noise
            assert (case.recipe.adam, case.recipe.first) == (more * adam, first)
            assert case.recipe.steps == 600 * more


def test_every_method_is_beside_the_exact_posterior_where_there_is_time(tmp_path):
    fluid, crystal = (
        make_cases("quick", tmp_path, 1, (f"argon_{x}",))[0] for x in ("s", "crystal")
    )
    full = make_cases("full", tmp_path, 1, ("argon_s",))[0]
    assert set(fluid.methods) < set(crystal.methods) == set(full.methods)


def test_another_box_is_another_truth_and_another_case(tmp_path, monkeypatch):
    """Nothing that was made for one edge or temperature is read for another."""
    made = []
    monkeypatch.setattr(
        argon_truth.Truth, "_simulated", lambda truth: made.append(truth.matter) or {}
    )
    given = argon_truth.CRYSTAL
    others = [dataclasses.replace(given, edge=10.7), dataclasses.replace(given, name="other"),
              dataclasses.replace(given, temperatures={"in": 61.0, "away": 160.0})]  # fmt: skip
    settings = []
    for matter in (given, *others, argon_truth.FLUID):
        for _ in range(2):  # the second is read
            truth = argon_truth.Truth(matter, argon_truth.Size(), tmp_path)
            assert truth.made == {}
        case = argon.Argon(truth, argon_truth.MODEL, "argon", "argon", Recipe(), (), True)
        settings.append(case.settings())
    assert [m.edge for m in made] == [10.6, 10.7, 10.6, 10.6, argon_truth.FLUID.edge]
    assert all(settings.count(one) == 1 for one in settings)
    assert len(list(tmp_path.glob("truth_*.json"))) == 3


def test_a_full_run_has_every_case(tmp_path):
    names = [case.name for case in make_cases("full", tmp_path, None)]
    assert len(set(names)) == 6
    assert {"argon_crystal_network", "peroxide", "ethanol"} < set(names)


def test_a_case_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no case ethanol; there are argon_spline, "):
        make_cases("quick", tmp_path, None, ("argon", "ethanol"))
