"""The truth behind benchmark part ``bands``, its training sets, and what its bands count."""

import itertools
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

from bayespot.neighbors import AllPairs
from bayespot.potentials import energy_and_forces
from benchmarks.common import plain
from benchmarks.uq import bands, bands_table, polar_fluid
from benchmarks.uq.beads import Case, Plan
from benchmarks.uq.methods import Recipe

TEMPERATURES = polar_fluid.TEMPERATURES


def _shaken(seed=0):
    system = polar_fluid.molecules()
    noise = 0.15 * np.random.default_rng(seed).normal(size=system.positions.shape)
    return system.replace(positions=jnp.asarray(np.asarray(system.positions, float) + noise))


def _by_loops(positions, edge):
    """Molecule by molecule and atom by atom, with numpy."""
    atoms = positions.reshape(-1, 3, 3)
    weights = polar_fluid.MASSES / polar_fluid.MASSES.sum()
    centres = np.einsum("a,max->mx", weights, atoms)
    total = 0.0
    for o, h, k in atoms:
        for end in (h, k):
            total += polar_fluid.STRETCH / 2 * (np.linalg.norm(end - o) - polar_fluid.BOND) ** 2
        cosine = (h - o) @ (k - o) / np.linalg.norm(h - o) / np.linalg.norm(k - o)
        total += polar_fluid.BEND / 2 * (np.arccos(cosine) - polar_fluid.ANGLE) ** 2
    for i, j in itertools.combinations(range(len(atoms)), 2):
        image = edge * np.round((centres[j] - centres[i]) / edge)
        far = np.linalg.norm(centres[j] - centres[i] - image)
        x = np.clip((far - polar_fluid.FIRST) / (polar_fluid.LAST - polar_fluid.FIRST), 0, 1)
        pair = 0.0
        for a, b in itertools.product(range(3), repeat=2):
            d = np.linalg.norm(atoms[j, b] - image - atoms[i, a])
            pair += polar_fluid.COULOMB * polar_fluid.CHARGES[a] * polar_fluid.CHARGES[b] / d
            if a == b == 0:
                pair += 4 * polar_fluid.EPSILON * ((polar_fluid.SIGMA / d) ** 12
                                                 - (polar_fluid.SIGMA / d) ** 6)  # fmt: skip
        total += (1 - 10 * x**3 + 15 * x**4 - 6 * x**5) * pair
    return total


@pytest.mark.usefixtures("x64", "compile_fast")
def test_molecules_meet_by_the_image_of_their_centres():
    """Energies by loops; mapped forces and the stress as slopes where molecules move whole."""
    system, none = _shaken(), AllPairs(jnp.zeros((), bool))
    x, edge = np.asarray(system.positions), polar_fluid.EDGE
    energy, forces = energy_and_forces(polar_fluid.PolarMolecules(), {}, system, none)
    assert float(energy) == pytest.approx(_by_loops(x, edge), rel=1e-10)

    centres = polar_fluid.MAP.of_positions(x[None])[0]
    mapped = polar_fluid.MAP.of_forces(np.asarray(forces)[None])[0]
    rng, h = np.random.default_rng(1), 1e-5
    ahead = rng.normal(size=centres.shape)

    def moved(step):
        return _by_loops(x + np.repeat(step, 3, axis=0), edge)

    slope = (moved(h * ahead) - moved(-h * ahead)) / (2 * h)
    assert slope == pytest.approx(-np.sum(mapped * ahead), rel=1e-6)

    def swollen(strain):
        return _by_loops(x + np.repeat(strain * centres, 3, axis=0), edge * (1 + strain))

    # the fading of the interaction follows centres, its images follow the cell
    stress = np.asarray(polar_fluid.stress_of_centres(system.positions))
    slope = (swollen(h) - swollen(-h)) / (2 * h)
    assert np.trace(stress) * edge**3 == pytest.approx(slope, rel=1e-6)
    np.testing.assert_allclose(stress, stress.T, atol=1e-12)


@pytest.fixture(scope="module")
def truth():
    """Frames of nothing in particular, of which each is known by its first coordinate."""
    rng, made = np.random.default_rng(0), {}
    sites = np.asarray(polar_fluid.BEADS.positions)
    for t in TEMPERATURES:
        centres = sites + 0.2 * rng.normal(size=(60, 32, 3))
        made[f"centres {t:g}"] = centres
        made[f"forces {t:g}"] = np.tile(centres[:, :1, :1], (1, 32, 3))
        made[f"stress {t:g}"] = np.tile(np.eye(3), (60, 1, 1))
        made[f"pressure {t:g}"], made[f"pressure {t:g} error"] = 0.1, 0.01
        for o in polar_fluid.CURVES:
            made[f"{o.name} {t:g}"] = np.ones(o.axis.shape)
            made[f"{o.name} {t:g} error"] = np.full(o.axis.shape, 0.01)
    return types.SimpleNamespace(made=made, size=polar_fluid.Size())


def test_training_sets_share_no_frames_and_tell_temperatures(truth):
    case = Case(truth, Plan(sets=2, train=4, validation=2, recipe=Recipe(members=2)))
    seen = []
    for number in range(2):
        train, validation = case.posterior("thermal", bands.BOTH, number)
        for batch, frames in ((train.data, 4), (validation, 2)):
            kelvin = np.asarray(batch.system.temperature)
            assert kelvin.tolist() == sorted([*bands.BOTH] * (frames // 2))
            seen += np.asarray(batch.system.positions)[:, 0, 0].tolist()
            np.testing.assert_allclose(batch.forces[:, 0, 0], batch.system.positions[:, 0, 0])
    seen += np.asarray(case._test.system.positions)[:, 0, 0].tolist()
    assert len(set(seen)) == len(seen) == 2 * 6 + 40
    with pytest.raises(ValueError, match="too few"):
        case.posterior("thermal", bands.BOTH, 20)


def test_bands_of_right_draws_hold_and_narrow_ones_do_not():
    rng = np.random.default_rng(0)
    shares = {1.0: [], 0.25: []}
    for stretch, found in shares.items():
        for _ in range(200):
            centre = 10 + rng.normal(size=40)
            values = centre + stretch * rng.normal(size=(8, 40))
            given = bands.band(values, centre + rng.normal(size=40), np.full(40, 1e-3))
            found.append(given["share"])
    # two deviations of eight draws hold one more of them like Student's t with 7 freedoms
    assert np.mean(shares[1.0]) == pytest.approx(0.90, abs=0.01)
    assert np.mean(shares[0.25]) < 0.5
    assert bands.band(np.ones((2, 40)), np.ones(40), np.ones(40)) is None
    few = bands.band(np.ones((8, 40)), np.r_[np.ones(20), np.zeros(20)], np.full(40, 0.01))
    assert few["share"] == 1.0, "bins where there is nothing do not count"


def test_matching_takes_away_an_error_of_all_temperatures_and_no_other(truth):
    rng = np.random.default_rng(0)
    offset = 0.5 + 0.3 * rng.normal(size=(6, 1))
    slope = np.array([[-0.2, 0.0, 0.2]])
    for given, held in ((offset + 0 * slope, [1, 1, 1]), (offset + slope, [0, 1, 0])):
        noise = 0.02 * rng.normal(size=(6, 3))
        errors = bands.matched(given + noise, (298.0,))
        assert bands._held(errors, truth)["held"] == held
    assert bands._held(errors[:2], truth) is None


def _set(share, broken=0):
    curve = {"share": share, "width": 0.1, "error": 0.05, "mean": [1.0], "sd": [0.1], "draws": 6}
    kelvin = [f"{t:g}" for t in TEMPERATURES]
    pressure = {"held": [1.0, 0.0, 1.0], "mean": [0.1, 0.0, 0.1], "sd": [0.1] * 3}
    return {
        "unstable": dict.fromkeys(kelvin, broken),
        "curves": {
            f"{o.name} {t}": None if broken > 3 else curve
            for o in polar_fluid.CURVES for t in kelvin
        },
        "pressure": dict.fromkeys(("plain", "matched"), None if broken > 3 else pressure),
        "force_rmse": 0.15, "diverged": 0,
    }  # fmt: skip


def test_sets_that_break_hold_nothing_and_are_counted():
    found = [{"methods": {"ensemble": _set(0.9)}}, {"methods": {"ensemble": _set(0.9, 5)}}]
    row = bands_table.tallied(found, "ensemble", 6)
    assert row["unstable"] == {f"{t:g}": 5 for t in TEMPERATURES}
    assert row["trajectories"] == 12
    assert row["curves"]["ADF 298"]["share"][0] == pytest.approx(0.45)
    assert row["pressure"]["matched"]["260"]["held"][0] == pytest.approx(0.5)
    result = {
        "rows": [row], "sets": 2, "members": 6, "temperatures": TEMPERATURES, "trained": 298.0,
        "axes": {o.name: o.axis for o in polar_fluid.CURVES}, "force_rms": 0.26,
        "settings": {"plan": {"train": 8}},
    }  # fmt: skip
    text = bands_table.table(json.loads(json.dumps(plain(result))))
    assert "| ensemble | 150 | 45 (" in text
    assert "| ensemble | 5 | 5 | 5 | 12 | 0 |" in text
    assert "+100 ± 100; 50 (" in text
