"""The bookkeeping of the coverage benchmark: what it counts, and that it can say no."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayespot.draws import Draws
from bayespot.neighbors import allocate
from bayespot.uncertainty import estimate
from benchmarks.uq import argon, argon_truth, curves
from benchmarks.uq.case import PLACES
from benchmarks.uq.counting import MISSED, Interval, expected, share
from benchmarks.uq.found import members
from benchmarks.uq.store import kept
from benchmarks.uq.tally import AFTER, CONTROL, NARROW, tables, tally

SETS, DRAWS = 600, 8
BINS = 12
RHO = 0.6  # correlation of bins


def _simulated(rng, stretch=1.0, md=0.3):
    """Judgements of one training set whose posterior is right by construction: the truth is one
    more draw of it, and MD noise of known size is on top of each value."""
    cholesky = np.linalg.cholesky(RHO + (1 - RHO) * np.eye(BINS))
    centre = 10 + cholesky @ rng.normal(size=BINS)
    truth = centre + cholesky @ rng.normal(size=BINS)
    values = centre + (rng.normal(size=(DRAWS, BINS)) @ cholesky.T) / stretch
    values += md * rng.normal(size=values.shape)
    made = Interval.of(estimate(values, np.full(values.shape, md**2)))
    noise = Interval.of_noise(values[0], np.full(BINS, md**2), 10)
    nothing = np.zeros(BINS)
    return {
        "plain": made.judged(truth, nothing),
        "recalibrated": made.judged(truth, nothing, stretch),
        "third": made.judged(truth, nothing, 1 / 3),
        "noise": noise.judged(truth, nothing),
        "parameter_share": 0.9,
    }


def _set(judged):
    cost = {"seconds": 1.0, "core_seconds": 2.0, "gradients": 30, "factor": 3.0,
            "md": {"core_seconds": 1.0}}  # fmt: skip
    errors = {f"forces_{what}_{p}": 0.01 for what in ("rmse", "spread") for p in PLACES}
    return cost | errors | {p: {"unstable": 0.0, "curve": judged} for p in PLACES}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    found = {
        "exact": [_set(_simulated(rng)) for _ in range(SETS)],
        "too sure": [_set(_simulated(rng, stretch=3.0)) for _ in range(SETS)],
    }
    return {row["method"]: row["in"]["curve"] for row in tally(found, ["curve"])}


def test_a_posterior_that_is_right_is_counted_at_its_nominal_rate(rows):
    for level, error in ((68, 0.03), (95, 0.015)):
        assert rows["exact"][str(level)][0] == pytest.approx(expected(level, DRAWS), abs=error)


@pytest.mark.parametrize("control", ["too sure", CONTROL, NARROW])
def test_one_that_is_too_sure_is_caught(rows, control):
    for level in (68, 95):
        mean, low, high = rows[control][str(level)]
        assert low <= mean <= high < level / 100


def test_a_factor_that_is_known_repairs_it(rows):
    assert rows["too sure" + AFTER]["95"][0] == pytest.approx(expected(95, DRAWS), abs=0.03)
    assert rows["too sure" + AFTER]["width"] > 2 * rows["too sure"]["width"]


def _judged(interval, truth, error=0.0, factor=1.0):
    made = interval.judged(np.asarray(truth), np.asarray(error), factor)
    assert made is not None
    return made


def test_a_factor_leaves_md_noise_alone():
    only_noise = Interval(np.asarray(0.0), np.asarray(0.0), np.asarray(1.0), 1e6)
    plain, stretched = (_judged(only_noise, 1.5, factor=factor) for factor in (1.0, 10.0))
    assert plain == stretched
    assert (plain["68"], plain["95"]) == (0.0, 1.0)


def test_the_error_of_the_truth_widens_the_interval():
    interval = Interval(np.asarray(10.0), np.asarray(1.0), np.asarray(0.0), 1e6)
    assert _judged(interval, 13.0)["95"] == 0.0
    assert _judged(interval, 13.0, error=2.0)["95"] == 1.0


def test_error_bars_are_those_of_sets_not_of_bins():
    """Means of 20 sets: the interval holds the true share in 95 % of repetitions, within error;
    counting correlated bins as if they were independent does not."""
    rng = np.random.default_rng(1)
    held = wrong = 0
    repetitions = 400
    for _ in range(repetitions):
        rate = rng.beta(1.4, 0.6, size=20)  # bins of one set go together
        shares = rng.binomial(BINS, rate) / BINS
        made = share(list(shares))
        held += made.holds(0.7)
        spread = np.sqrt(made.mean * (1 - made.mean) / (20 * BINS))
        wrong += abs(made.mean - 0.7) <= 1.96 * spread
    assert held / repetitions > 0.92
    assert wrong / repetitions < 0.75


@pytest.mark.parametrize(("inside", "low"), [(20, 0.83), (0, 0.0)])
def test_all_or_none_of_twenty_still_has_an_error_bar(inside, low):
    made = share([1.0] * inside + [0.0] * (20 - inside))
    assert made.low == pytest.approx(low, abs=0.01)
    assert made.high - made.low > 0.15


def test_sets_without_an_interval_hold_nothing():
    good = _set(_simulated(np.random.default_rng(0)))
    nothing = {"unstable": 1.0, "curve": dict.fromkeys(("plain", "recalibrated", "noise"), MISSED)}
    broken = dict.fromkeys(PLACES, nothing)
    failed = {"failed": "all chains diverged", "seconds": 1.0, "core_seconds": 1.0}
    row = tally({"x": [good, {**good, **broken}, failed]}, ["curve"])[0]
    assert row["failed"] == 1
    assert row["in"]["curve"]["sets"] == 3
    assert row["in"]["curve"]["95"][0] <= 1 / 3
    assert row["in"]["unstable"] == pytest.approx(0.5)


def test_the_table_marks_what_is_not_nominal():
    rng = np.random.default_rng(2)
    found = {"exact": [_set(_simulated(rng)) for _ in range(40)]}
    case = {
        "title": "made up", "sets": 40, "draws": DRAWS, "temperatures": {"in": 1.0, "away": 2.0},
        "observables": ["curve"], "rows": tally(found, ["curve"]),
        "one_model": {"gradients": 10, "core_seconds": 0.5},
    }  # fmt: skip
    lines = tables(json.loads(json.dumps(case))).splitlines()
    first = next(line for line in lines if line.startswith("| exact |"))
    narrow = next(line for line in lines if line.startswith(f"| {NARROW} |"))
    assert "**" not in first
    assert narrow.count("**") == 4
    assert any(line.startswith("| exact | 3.0 | 4.0 |") for line in lines), "costs"


def test_finished_parts_are_not_repeated_and_others_are(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"x": np.float64(1.5), "missing": np.nan}

    path = tmp_path / "part.json"
    assert kept(path, {"n": 1}, make) == kept(path, {"n": 1}, make) == {"x": 1.5, "missing": None}
    assert len(calls) == 1
    kept(path, {"n": 2}, make)
    assert len(calls) == 2


def test_a_method_gives_draws_or_parameters():
    params = {"potential": {"w": np.arange(12.0).reshape(4, 3)}, "noise": {"s": np.zeros(4)}}
    bare, cost = members(params["potential"], 2)
    assert cost == {}
    np.testing.assert_array_equal(bare["potential"]["w"], params["potential"]["w"][[0, 3]])
    by_chain = jax.tree.map(lambda x: x[:, None], params)
    draws = Draws(by_chain, np.zeros((4, 1)), np.array([True, False, True, True]), ("",) * 4,
                  {"gradients": 7})  # fmt: skip
    healthy, cost = members(draws, 8)
    assert cost == {"gradients": 7}
    np.testing.assert_array_equal(healthy["potential"]["w"], params["potential"]["w"][[0, 2, 3]])


def test_the_model_holds_the_truth_and_the_fine_spline_both(tmp_path):
    """Energies of a configuration, by the coarse spline, by the fine one that MD runs on, and by
    the way of other pair potentials through energies of two atoms."""
    truth = argon_truth.Truth(argon_truth.FLUID, argon_truth.Size(), tmp_path)
    rng = np.random.default_rng(0)
    system = argon_truth.FLUID.system.replace(
        positions=argon_truth.FLUID.system.positions
        + jnp.asarray(0.3 * rng.normal(size=(32, 3)), float)
    )
    neighbors = allocate(system, argon_truth.RANGE)
    coarse = {"pair": jnp.asarray(truth.coarse[None], float)}
    wanted = float(argon_truth.MODEL.energy(coarse, system, neighbors))
    assert float(argon_truth.FINE.energy(truth.params, system, neighbors)) == pytest.approx(
        wanted, abs=1e-4
    )
    curve = curves.pair_curve(argon_truth.MODEL, 18, curves.knots(argon_truth.FINE))
    energies = np.asarray(curve(jax.tree.map(lambda x: x[None], coarse)), float)
    fine = {"pair": jnp.asarray(curves.through(argon_truth.FINE, energies), float)}
    assert float(argon_truth.FINE.energy(fine, system, neighbors)) == pytest.approx(
        wanted, abs=1e-4
    )
    assert wanted < -0.5


def test_a_perfect_crystal_has_the_energy_of_its_shells(tmp_path):
    """Twelve, six and twenty-four neighbours within the cut-off, counted by hand."""
    matter = argon_truth.CRYSTAL
    truth = argon_truth.Truth(matter, argon_truth.Size(), tmp_path)
    near = matter.edge / matter.cells / np.sqrt(2)
    shells = curves.design(argon_truth.MODEL, near * np.sqrt([1.0, 2.0, 3.0])) @ truth.coarse
    wanted = len(matter.atoms) / 2 * np.dot([12, 6, 24], shells)
    batch = truth.labelled(matter.atoms.positions[None], None)
    assert float(batch.energy[0]) == pytest.approx(wanted, rel=1e-5)
    assert np.abs(batch.forces).max() < 1e-5


def test_the_exact_posterior_is_exact(tmp_path):
    """z-scores of the true coefficients, over data sets with labels of the stated noise, have the
    covariance of the posterior; with labels twice as noisy as stated they do not."""
    size = argon_truth.Size(train=6)
    truth = argon_truth.Truth(argon_truth.FLUID, size, tmp_path)
    rng = np.random.default_rng(3)
    start = np.asarray(argon_truth.FLUID.system.positions, float)
    positions = (start + 0.35 * rng.normal(size=(6, 32, 3))) % argon_truth.FLUID.edge
    clean = truth.labelled(positions, None)
    chi2 = {1.0: [], 2.0: []}
    for noise, found in chi2.items():
        for _ in range(25):
            data = clean._replace(
                energy=clean.energy + noise * size.energy_noise * rng.normal(size=6),
                forces=clean.forces + noise * size.force_noise * rng.normal(size=(6, 32, 3)),
            )
            mean, root = argon.exact(data, size)
            found.append(
                np.sum(np.linalg.solve(root, truth.coarse - mean) ** 2) / argon_truth.COARSE
            )
    # the prior takes directions without data at a fixed truth, so a little less than 1
    assert 0.6 < np.mean(chi2[1.0]) < 1.2
    assert np.mean(chi2[2.0]) > 1.8
