"""Correlations in time against exact laws: Langevin particles, oscillators, free flight."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.errors import UserError
from bayespot.md import NPT, NVE, NVT, Length, Simulation, simulate
from bayespot.observables import (
    MSD,
    VACF,
    VDOS,
    Context,
    EinsteinDiffusion,
    Frame,
    GreenKuboDiffusion,
)
from bayespot.system import System
from bayespot.units import BOLTZMANN
from tests.physics.traps import Springs

CONTEXT = Context(300.0, 0)
UNIT = 1.602176634e-19 / 1.66053906660e-27 * 1e-10
"""1 eV/u in Angstrom^2/fs^2, in SI and not by the constants of the package."""


def _mean(made, observable):
    """Averages over the production of each replica, (draw, replica, ...)."""
    return {k: np.asarray(v, float).mean(axis=0) for k, v in made.means[observable.name].items()}


def _values(made, observable):
    """Of each replica."""
    return observable.reduce(_mean(made, observable), CONTEXT)


# Langevin particles without forces: an Ornstein-Uhlenbeck process of known velocities

HELIUM, ARGON = 2, 18
GAS = System.from_ase(Atoms([HELIUM] * 4 + [ARGON] * 4, np.zeros((8, 3))), 9)  # one is padding
MASS = {HELIUM: 4.002602, ARGON: 39.948}
TOTAL = 4 * MASS[HELIUM] + 4 * MASS[ARGON]
TEMPERATURE, FRICTION, STEP = 300.0, 0.005, 10.0
SETTINGS = {"lags": 61, "interval": 4 * STEP}  # to 12 relaxation times
GAS_OBSERVABLES = {
    o.name: o
    for o in (
        GreenKuboDiffusion("v he", **SETTINGS, species=HELIUM, remove_drift=False),
        GreenKuboDiffusion("v ar", **SETTINGS, species=ARGON, remove_drift=False),
        VACF("v he without drift", **SETTINGS, species=HELIUM),
        VACF("v ar without drift", **SETTINGS, species=ARGON),
        EinsteinDiffusion("r he", **SETTINGS, species=HELIUM, remove_drift=False),
        EinsteinDiffusion("r ar", **SETTINGS, species=ARGON, remove_drift=False),
        MSD("r without drift", **SETTINGS),
    )
}


@functools.cache
def _gas():
    return simulate(
        jax.random.key(11), Springs(), {"k": jnp.zeros((1, 9))}, GAS,
        NVT(TEMPERATURE, STEP, friction=FRICTION), Length(12_000, 2000, stride=4, blocks=6),
        tuple(GAS_OBSERVABLES.values()), replicas=16, keep=1,
    )  # fmt: skip


@functools.cache
def _gas_means(name):
    """(replica, lags) correlations."""
    (mean,) = _mean(_gas(), GAS_OBSERVABLES[name]).values()
    return mean[0]


def _z(values, expected):
    """Of the mean over replicas."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return (values.mean(axis=0) - expected) / error


def _decay(friction=FRICTION):
    return np.exp(-friction * SETTINGS["interval"] * np.arange(SETTINGS["lags"]))


def _far(values, expected):
    return np.max(np.abs(_z(values, expected))) > 4.5


@pytest.mark.parametrize(("name", "species"), [("v he", HELIUM), ("v ar", ARGON)])
def test_vacf_of_langevin_particles(name, species):
    """``3 kT/m exp(-gamma t)``; without drift ``1/m`` becomes ``1/m - 1/M``."""
    kT = 3 * BOLTZMANN * TEMPERATURE * UNIT
    sizes = kT / MASS[species], kT / MASS[species] - kT / TOTAL
    early = slice(0, 16)  # three relaxation times
    for size, other, drift in ((*sizes, ""), (*sizes[::-1], " without drift")):
        found = _gas_means(name + drift)[:, early]
        assert not _far(found, size * _decay()[early])
        assert _far(found, 1.05 * size * _decay()[early])
        assert _far(found, size * _decay(0.9 * FRICTION)[early])
        assert _far(found, other * _decay()[early]) or species == HELIUM


@pytest.mark.parametrize(("name", "species"), [("he", HELIUM), ("ar", ARGON)])
def test_diffusion_of_langevin_particles(name, species):
    """``kT/(m gamma)`` by both routes, in 1e-9 m^2/s."""
    # SI: J/K, K, kg, 1/s
    exact = 1.380649e-23 * TEMPERATURE / (MASS[species] * 1.66053906660e-27 * FRICTION * 1e15)
    for route in ("v", "r"):
        found = _values(_gas(), GAS_OBSERVABLES[f"{route} {name}"])[0]
        assert abs(_z(found, exact * 1e9)) < 4
        assert abs(_z(found, 1.3 * exact * 1e9)) > 4
        assert abs(_z(found, 0.7 * exact * 1e9)) > 4


def test_drift_adds_the_diffusion_of_the_total_mass():
    """``<|r|^2>`` of single particles, and what is left without that of the centre of mass."""
    x = FRICTION * SETTINGS["interval"] * np.arange(1, SETTINGS["lags"])
    per_mass = 6 * BOLTZMANN * TEMPERATURE * UNIT / FRICTION**2 * (x - 1 + np.exp(-x))
    single = {z: _gas_means(name)[:, 1:] for z, name in ((HELIUM, "r he"), (ARGON, "r ar"))}
    for z, found in single.items():
        assert not _far(found, per_mass / MASS[z])
        assert _far(found, 0.8 * per_mass / MASS[z])
    # the difference is far more precise than either; controls: no drift, twice as much
    drift = np.mean(list(single.values()), axis=0) - _gas_means("r without drift")[:, 1:]
    assert not _far(drift, per_mass / TOTAL)
    assert _far(drift, 0.0)
    assert _far(drift, 2 * per_mass / TOTAL)
    assert np.all(_gas_means("r he")[:, 0] == 0)


def test_msd_is_that_of_mdanalysis():
    """Of the kept frames, with the pairs of them that one block averages."""
    msd = pytest.importorskip("MDAnalysis.analysis.msd")
    mda = pytest.importorskip("MDAnalysis")
    block, replica, back = 3, 5, SETTINGS["lags"] - 1
    x = np.asarray(_gas().frames.positions[0, replica, block * 500 - back : (block + 1) * 500])
    mass = np.repeat([MASS[HELIUM], MASS[ARGON], 0.0], [4, 4, 1])
    centred = x - np.average(x, axis=1, weights=mass)[:, None]
    for name, positions in (
        ("r he", x[:, :4]), ("r ar", x[:, 4:8]), ("r without drift", centred[:, :8]),
    ):  # fmt: skip
        found = _gas().means[name]["msd"][block, 0, replica]
        for lag in (1, 17, 60):
            universe = mda.Universe.empty(positions.shape[1], trajectory=True)
            universe.load_new(positions[back - lag :].astype(np.float32))
            expected = msd.EinsteinMSD(universe, fft=False).run().results.timeseries
            assert found[lag] == pytest.approx(expected[lag], rel=1e-3)
            assert found[lag] != pytest.approx(expected[lag - 1], rel=2e-3)


# Springs at constant energy: every number is exact

PERIODS = (24, 40)
TIME_STEP, STRIDE = 2.0, 2
PAIR = System.from_ase(Atoms([HELIUM, HELIUM, ARGON, ARGON], np.zeros((4, 3))))


def _stiffness(period, mass):
    """Of a spring that velocity Verlet swings in ``period`` steps:
    ``cos(w dt) = 1 - k dt^2/(2m)``."""
    return 2 * (1 - np.cos(2 * np.pi / period)) / TIME_STEP**2 * mass / UNIT


@functools.cache
def _oscillators():
    """Draws: free flight, springs of one period, and of one for each element."""
    made = {"lags": 121, "interval": STRIDE * TIME_STEP, "remove_drift": False}
    observables = (
        VACF("c", **made),
        VACF("c1", **made, normalised=True, species=HELIUM),
        MSD("moved", **made),
        VDOS("g", **made),
        VDOS("ar", **made, species=ARGON, taper="none"),
    )
    masses = [MASS[HELIUM]] * 2 + [MASS[ARGON]] * 2
    one = [_stiffness(PERIODS[0], m) for m in masses]
    both = [_stiffness(p, m) for p, m in zip(np.repeat(PERIODS, 2), masses, strict=True)]
    run = simulate(
        jax.random.key(3), Springs(), {"k": jnp.array([[0.0] * 4, one, both])}, PAIR,
        NVE(300.0, TIME_STEP), Length(2 * 240, 240, stride=STRIDE, blocks=2), observables,
        replicas=6,
    )  # fmt: skip
    assert np.all(run.reason == 0)
    return run, {o.name: o for o in observables}


def _oscillator(name):
    run, observables = _oscillators()
    return _values(run, observables[name])


@pytest.mark.usefixtures("compile_fast")
def test_free_flight_is_ballistic():
    """``<|r|^2> = <v^2> t^2`` and a constant correlation."""
    c, moved = _oscillator("c")[0], _oscillator("moved")[0]
    times = STRIDE * TIME_STEP * np.arange(121)
    np.testing.assert_allclose(c, np.broadcast_to(c[:, :1], c.shape), rtol=1e-5)
    np.testing.assert_allclose(moved, c[:, :1] * times**2, rtol=1e-4, atol=1e-7)
    assert np.all(moved[:, -1] > 1.0)
    # springs hold on to their atoms
    assert np.all(_oscillator("moved")[1].max(axis=-1) < 0.1 * moved[:, -1])


@pytest.mark.usefixtures("compile_fast")
def test_vacf_of_an_oscillator_is_a_cosine():
    """Whole periods are averaged over: all that depends on the phase is gone."""
    phase = 2 * np.pi * STRIDE * np.arange(121) / PERIODS[0]
    c, one = _oscillator("c")[1], _oscillator("c1")[1]
    np.testing.assert_allclose(one, np.broadcast_to(np.cos(phase), one.shape), atol=2e-4)
    np.testing.assert_allclose(c / c[:, :1], np.broadcast_to(np.cos(phase), c.shape), atol=2e-4)
    assert not np.allclose(one, np.cos(1.01 * phase), atol=0.02)
    # <|r|^2> = 2 <x^2> (1 - cos), <v^2> dt^2 = <x^2> sin^2(w dt)
    squares = c[:, :1] * TIME_STEP**2 / np.sin(2 * np.pi / PERIODS[0]) ** 2
    expected = 2 * squares * (1 - np.cos(phase))
    np.testing.assert_allclose(_oscillator("moved")[1], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("compile_fast")
def test_spectrum_peaks_at_the_oscillators():
    """Area one, and a share for each element that only mass weighting makes equal."""
    observables = _oscillators()[1]
    axis = observables["g"].axis
    fine = axis[1] - axis[0]
    assert axis[-1] == pytest.approx(1000 / (2 * STRIDE * TIME_STEP))
    assert fine == pytest.approx(1000 / (2 * 120 * STRIDE * TIME_STEP))
    first, second = (1000 / (p * TIME_STEP) for p in PERIODS)  # 20.8 and 12.5 THz
    g = _oscillator("g")
    ends = np.ones(121)
    ends[[0, -1]] = 0.5
    np.testing.assert_allclose(g @ ends * fine, 1.0, rtol=1e-5)
    assert np.all(np.abs(axis[g[1].argmax(axis=-1)] - first) <= fine / 2 + 1e-9)
    ar = _oscillator("ar")[2]
    assert np.all(np.abs(axis[ar.argmax(axis=-1)] - second) <= fine / 2 + 1e-9)
    # all that is not within the line, 1/T wide
    wide = 1000 / (120 * STRIDE * TIME_STEP)
    assert np.all(np.abs(g[1][:, np.abs(axis - first) > 1.6 * wide]) < 0.01 * g[1].max())
    # shares are those of the kinetic energies
    run, _ = _oscillators()
    light = np.where(axis > (first + second) / 2, ends, 0.0)
    found = g[2] @ light * fine
    energy = {
        z: _mean(run, o)["vacf"][2, :, 0] * MASS[z]
        for z, o in ((HELIUM, observables["c1"]), (ARGON, observables["ar"]))
    }
    energy[ARGON] /= MASS[ARGON]  # weighted before
    share = energy[HELIUM] / (energy[HELIUM] + energy[ARGON])
    np.testing.assert_allclose(found, share, atol=0.01)
    plain = share * MASS[ARGON] / (share * MASS[ARGON] + (1 - share) * MASS[HELIUM])
    assert not np.allclose(found, plain, atol=0.1)


def test_spectrum_in_wavenumbers():
    """The same area, and 1 THz is 33.36 1/cm."""
    thz = VDOS("g", 50, 4.0)
    cm = dataclasses.replace(thz, wavenumbers=True)
    np.testing.assert_allclose(cm.axis / thz.axis[-1], 33.35641 * np.linspace(0, 1, 50), rtol=1e-7)
    mean = {"vacf": np.random.default_rng(0).normal(size=(3, 50))}
    a, b = thz.reduce(mean, CONTEXT), cm.reduce(mean, CONTEXT)
    np.testing.assert_allclose(a, 33.35641 * b, rtol=1e-7)
    assert (thz.unit, cm.unit) == ("1/THz", "cm")


# Reductions, and what is refused

MADE = {"lags": 41, "interval": 5.0}
REDUCED = (
    VACF("c", **MADE, normalised=True),
    GreenKuboDiffusion("d", **MADE),
    GreenKuboDiffusion("d", **MADE, running=True),
    MSD("m", **MADE),
    EinsteinDiffusion("d", **MADE, fit=(0.25, 0.75)),
    VDOS("g", **MADE),
    VDOS("g", **MADE, taper="none"),
)


@pytest.mark.parametrize("observable", REDUCED, ids=lambda o: type(o).__name__)
def test_reductions_keep_axes_and_derivatives(x64, observable):
    """Leading axes as one by one, numpy as JAX, and a derivative by finite differences."""
    key = "msd" if isinstance(observable, MSD) else "vacf"
    many = np.random.default_rng(1).normal(1.0, 0.3, (2, 3, 41))
    each = [[observable.reduce({key: x}, CONTEXT) for x in row] for row in many]
    found = observable.reduce({key: many}, CONTEXT)
    np.testing.assert_allclose(found, each, rtol=1e-10)
    axis = observable.axis
    assert np.shape(found) == (2, 3) if axis is None else (2, 3, len(axis))
    assert (axis is None) == (observable.axis_label == "")

    @jax.jit
    def total(x):
        return jnp.sum(jnp.sin(observable.reduce({key: x}, CONTEXT)))

    x = jnp.asarray(many[0, 0])
    np.testing.assert_allclose(total(x), np.sum(np.sin(each[0][0])), rtol=1e-8)
    way = jnp.asarray(np.random.default_rng(2).normal(size=41))
    slope = float(total(x + 1e-7 * way) - total(x - 1e-7 * way)) / 2e-7
    assert float(jax.grad(total)(x) @ way) == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_diffusion_of_curves_that_are_known():
    """A line has its slope, an offset changes nothing; an exponential has its integral."""
    t = 5.0 * np.arange(41)
    line = EinsteinDiffusion("d", **MADE, fit=(0.25, 0.75))
    curve = np.where((t < 49) | (t > 151), 1e3, 3.0 + 0.012 * t)  # outside counts nothing
    assert line.reduce({"msd": curve}, CONTEXT) == pytest.approx(0.012 / 6 * 1e4, rel=1e-9)
    wide = dataclasses.replace(line, fit=(0.2, 0.75))
    assert wide.reduce({"msd": curve}, CONTEXT) != pytest.approx(0.012 / 6 * 1e4, rel=0.1)
    running = GreenKuboDiffusion("d", **MADE, running=True)
    decay = 0.02 * np.exp(-t / 40)
    found = running.reduce({"vacf": decay}, CONTEXT)
    expected = 0.02 * 40 * (1 - np.exp(-t / 40)) / 3 * 1e4
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    number = GreenKuboDiffusion("d", **MADE).reduce({"vacf": decay}, CONTEXT)
    assert number == pytest.approx(found[-1], rel=1e-12)


@pytest.mark.parametrize("species", [None, ARGON])
@pytest.mark.parametrize("drift", [True, False])
def test_one_moment_by_hand(species, drift):
    """Velocities, positions and snapshots, one atom at a time; padding is heavy and fast."""
    rng = np.random.default_rng(4)
    x, p = rng.normal(size=(2, 9, 3))
    mass = np.repeat([MASS[HELIUM], MASS[ARGON], 500.0], [4, 4, 1])
    frame = Frame(
        GAS.replace(positions=jnp.asarray(x), masses=jnp.asarray(mass)), jnp.zeros(()),
        momenta=jnp.asarray(p), history=jnp.asarray(rng.normal(size=(3, 9, 3))),
    )  # fmt: skip
    counts = range(8) if species is None else range(4, 8)
    settings = {"lags": 3, "interval": 1.0, "species": species, "remove_drift": drift}
    v = p * UNIT / mass[:, None]
    for observable, values in (
        (VACF("c", **settings), v), (MSD("m", **settings), x), (VDOS("g", **settings), v),
    ):  # fmt: skip
        centre = sum(mass[i] * values[i] for i in range(8)) / sum(mass[:8]) if drift else 0.0
        expected = np.zeros((9, 3))
        for i in counts:
            expected[i] = values[i] - centre
            if isinstance(observable, VDOS):
                expected[i] *= np.sqrt(mass[i])
        np.testing.assert_allclose(observable.track(frame), expected, rtol=1e-4, atol=1e-7)
        past = np.where(np.isin(np.arange(9), counts)[:, None], frame.history, 0.0)
        (found,) = observable.snapshot(
            dataclasses.replace(frame, history=jnp.asarray(past))
        ).values()
        change = (past - past[0]) ** 2 if isinstance(observable, MSD) else past * past[0]
        total = [sum(np.sum(change[k, i]) for i in counts) / len(counts) for k in range(3)]
        np.testing.assert_allclose(found, total, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: VACF("c", 1, 5.0), "observable c has 1 lags"),
        (lambda: VACF("c", True, 5.0), "observable c has True lags"),
        (lambda: VACF("c", 40, 0.0), r"observable c has an interval of 0\.0 fs"),
        (lambda: MSD("c", 40, -5.0), r"interval of -5\.0 fs"),
        (lambda: MSD("c", 40, float("nan")), "interval of nan fs"),
        (lambda: VDOS("g", 40, 5.0, taper="hamming"), 'g has taper "hamming"'),
        (lambda: EinsteinDiffusion("d", 40, 5.0, fit=(0.5, 0.4)), r"fits from 0\.5 to 0\.4"),
        (lambda: EinsteinDiffusion("d", 40, 5.0, fit=(0.5, 0.51)), "at least two lags"),
        (lambda: EinsteinDiffusion("d", 40, 5.0, fit=(-0.1, 1.0)), r"from -0\.1"),
    ],
)
def test_settings_that_make_no_sense(make, match):
    with pytest.raises(UserError, match=match):
        make()


CELL = System.from_ase(Atoms("He2", [[0, 0, 0], [3, 0, 0]], cell=[9] * 3, pbc=True))
ONE = System.from_ase(Atoms("He", cell=[9] * 3, pbc=True))


@pytest.mark.parametrize(
    ("system", "ensemble", "change", "match"),
    [
        (CELL, NVT(300.0, 2.0), {}, "an interval of 10 fs, and frames are 20 fs apart"),
        (CELL, NVT(300.0, (1.0, 2.0)), {}, "frames are 20 fs apart"),
        (CELL, NPT(300.0, 1.0), {}, "a barostat moves them"),
        (CELL, NVT(300.0, 1.0), {"species": 18}, "element 18, which the system does not hold"),
        (GAS, NVT(300.0, 1.0), {"species": 0}, "element 0, which the system"),
        (ONE, NVT(300.0, 1.0), {}, "the drift off a single atom"),
    ],
)
def test_simulations_that_cannot_give_it(system, ensemble, change, match):
    length = Length(100, 100, stride=10, blocks=1)
    with pytest.raises(UserError, match=match):
        Simulation(Springs(), system, ensemble, length, [MSD("m", 11, 10.0, **change)])
    Simulation(Springs(), CELL, NPT(300.0, 1.0), length, [VACF("c", 11, 10.0)])
    Simulation(Springs(), ONE, NVT(300.0, 1.0), length, [MSD("m", 11, 10.0, remove_drift=False)])


def test_a_configuration_alone_has_no_past():
    frame = Frame(CELL, jnp.zeros(()))
    for observable in (VACF("c", 4, 5.0), MSD("m", 4, 5.0)):
        with pytest.raises(UserError, match="the frame has no past"):
            observable.snapshot(frame)
    with pytest.raises(UserError, match="the frame has none"):
        VACF("c", 4, 5.0).track(frame)
