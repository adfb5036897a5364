"""Constant energy, temperature and pressure against exact laws and published equations of state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.errors import UserError
from bayespot.md import NPT, NVE, NVT, Length, program, simulate
from bayespot.neighbors import allocate
from bayespot.observables import BulkModulus, Density, MeanEnergy
from bayespot.observables.base import Context
from bayespot.potentials import LennardJones
from bayespot.system import System
from bayespot.units import BOLTZMANN, GPA, MASS
from tests.physics.traps import Springs

ARGON = LennardJones(3.405, 0.010323, 8.0)
CRYSTAL = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 2, 2)))


def _total_energy(time_step, steps):
    """(frames, replicas) potential plus kinetic energy of constant-energy runs."""
    made = simulate(
        jax.random.key(0), ARGON, {}, CRYSTAL, NVE(40.0, time_step),
        Length(steps, stride=1, blocks=steps), [MeanEnergy("u")], replicas=2,
    )  # fmt: skip
    kinetic = 0.5 * (3 * 32 - 3) * BOLTZMANN * made.temperature[:, 0]
    return made.means["u"]["energy"][:, 0].astype(float) + kinetic


def test_energy_drift_is_of_second_order(x64):
    coarse, fine = (_total_energy(dt, n) for dt, n in ((20.0, 20), (10.0, 40)))
    spread = [np.abs(e - e[0]).max(axis=0) for e in (coarse, fine)]
    assert np.all(spread[0] > 1e-7)
    np.testing.assert_allclose(spread[0] / spread[1], 4.0, rtol=0.3)


@pytest.mark.parametrize("thermostat", ["langevin", "nose_hoover"])
def test_kinetic_energy_fluctuates_canonically(thermostat):
    """Mean f/2 kT and variance f/2 (kT)^2 of the kinetic energy; control: no fluctuation."""
    system = CRYSTAL.replace(pbc=(False, False, False))
    ensemble = NVT(60.0, 4.0, thermostat, friction=0.01, relaxation_time=100.0)
    made = simulate(
        jax.random.key(1), LennardJones(3.405, 0.010323, 12.0), {}, system, ensemble,
        Length(6000, 1500, stride=15, blocks=400), [], replicas=12,
    )  # fmt: skip
    freedoms = 96 - (6 if thermostat == "nose_hoover" else 0)
    kT = BOLTZMANN * 60.0
    kinetic = 0.5 * freedoms * BOLTZMANN * made.temperature[:, 0].astype(float)
    means = kinetic.mean(axis=0)
    assert abs(means.mean() - 0.5 * freedoms * kT) < 4.5 * means.std(ddof=1) / np.sqrt(12) + 0.004
    variances = kinetic.var(axis=0)
    error = variances.std(ddof=1) / np.sqrt(12)
    exact = 0.5 * freedoms * kT**2
    assert abs(variances.mean() - exact) < 4.5 * error
    assert abs(0.7 * exact - exact) > 4.5 * error  # the test sees a third of it missing


@pytest.mark.parametrize("eager", [1.0, 10.0])
def test_an_ideal_gas_at_constant_pressure(eager):
    """p(V) ~ V^N exp(-P V/kT): mean (N + 1) kT/P, variance (N + 1)(kT/P)^2.

    Whatever compressibility is given: at the larger one, a plain step would be all too long.
    """
    atoms, pressure = 8, 0.02
    kT = BOLTZMANN * 300.0
    mean, sd = (atoms + 1) * kT / (pressure * GPA), np.sqrt(atoms + 1) * kT / (pressure * GPA)
    edge = mean ** (1 / 3)
    system = System.from_ase(Atoms("Ar8", cell=[edge] * 3, pbc=True))
    made = simulate(
        jax.random.key(2), Springs(), {"k": jnp.zeros((1, atoms))}, system,
        NPT(300.0, 2.0, pressure, friction=0.05, barostat_time=100.0,
            compressibility=0.3 * eager / pressure),
        Length(10_000, 1000, stride=20, blocks=500), [Density("d")], replicas=64,
    )  # fmt: skip
    assert (made.acceptance.mean() > 0.95) == (eager == 1.0)
    volumes = made.means["d"]["volume"][:, 0].astype(float)
    for found, exact in (
        (volumes.mean(axis=0), mean),
        (volumes.var(axis=0), sd**2),
    ):
        error = found.std(ddof=1) / 8
        assert abs(found.mean() - exact) < 4 * error + 0.01 * exact
        assert error < 0.05 * exact
    # control: the law without the momenta's share (V^(N-1)) is another
    found = volumes.mean(axis=0)
    assert abs(found.mean() - mean * atoms / (atoms + 1)) > 6 * found.std(ddof=1) / 8


def _tail(potential, density):
    """Pressure that the smoothed cut-off leaves out, g(r) = 1 where it acts; eV/Angstrom^3."""
    sigma, epsilon = potential.sigma, potential.epsilon
    far = jnp.linspace(0.5 * potential.range, 40 * sigma, 200_000)

    def missing(r):
        pair = System.from_ase(Atoms("Ar2", np.zeros((2, 3))))
        at = pair.replace(positions=jnp.stack([jnp.zeros(3), jnp.array([1.0, 0, 0]) * r]))
        ours = potential.energy({}, at, allocate(pair, potential.cutoff, kind="all"))
        sixth = (sigma / r) ** 6
        return 4 * epsilon * (sixth**2 - sixth) - ours

    slope = jax.vmap(jax.grad(missing))(far)
    return float(-2 / 3 * np.pi * density**2 * jnp.trapezoid(far**3 * slope, far))


@pytest.mark.slow
def test_lennard_jones_fluid_has_the_published_density():
    """NIST's Monte-Carlo equation of state: T* = 0.85, rho* = 0.82 at p* = 0.55355(73)."""
    potential = LennardJones(3.405, 0.010323, 3.5 * 3.405)
    sigma, epsilon = potential.sigma, potential.epsilon
    density = 0.82 / sigma**3
    pressure = 0.55355 * epsilon / sigma**3 - _tail(potential, density)
    assert abs(_tail(potential, density)) > 0.25 * epsilon / sigma**3  # no small correction
    edge = (256 / density) ** (1 / 3)
    fluid = bulk("Ar", "fcc", a=edge / 4, cubic=True).repeat((4, 4, 4))
    hot = NVT(4.0 * epsilon / BOLTZMANN, 5.0, friction=0.02)
    molten = simulate(
        jax.random.key(5), potential, {}, System.from_ase(fluid), hot, Length(1000, blocks=1), [],
        replicas=8,
    )  # fmt: skip
    ensemble = NPT(
        0.85 * epsilon / BOLTZMANN, 10.0, pressure / GPA, friction=0.005, barostat_time=1000.0,
        compressibility=0.5,
    )  # fmt: skip
    made = simulate(
        jax.random.key(3), potential, {}, System.from_ase(fluid), ensemble,
        Length(4000, 2000, stride=20, blocks=10), [Density("d"), BulkModulus("k", edge**3)],
        starts=jnp.asarray(molten.final.positions), skin=1.0,
    )  # fmt: skip
    found = 256 / made.means["d"]["volume"][:, 0].astype(float).mean(axis=0) * sigma**3
    assert np.all(made.reason == 0)
    # dp*/drho* is 16 here: a wrong tail would show as 0.03
    assert abs(found.mean() - 0.82) < 0.006
    moments = {k: v.astype(float).mean(axis=(0, 2)) for k, v in made.means["k"].items()}
    modulus = BulkModulus("k", edge**3).reduce(moments, Context(ensemble.temperature, 256))
    # rho dp/drho of NIST's table between 0.78 and 0.86: about 13 epsilon/sigma^3
    assert modulus.item() * GPA == pytest.approx(13 * epsilon / sigma**3, rel=0.35)


def test_the_virial_is_the_volume_derivative(x64):
    system = System.from_ase(bulk("Ar", "fcc", a=5.0, cubic=True))
    rng = np.random.default_rng(0)
    system = system.replace(positions=system.positions + 0.2 * rng.normal(size=(4, 3)))
    lists = allocate(system, ARGON.cutoff, 1.0)
    plan = program.Plan(ARGON, 4, NPT(40.0).shape, Length(10, blocks=1), (), None, 0)
    at = {k: v[0, 0] for k, v in NPT(40.0).conditions(1, 1).items()}
    at["cell"] = system.cell
    state = program._dynamics(plan, {}, lists, system, at).init(jax.random.key(0), system)

    def energy(strain):
        return ARGON.energy(
            {},
            system.replace(positions=system.positions * strain, cell=system.cell * strain),
            lists,
        )

    h = 1e-6
    numeric = (energy(1 + h) - energy(1 - h)) / (2 * h)
    assert float(state.virial) == pytest.approx(float(numeric), rel=1e-7)


def test_every_replica_has_its_own_conditions():
    """State points along the replicas: temperatures and pressures each reach their own value."""
    system = CRYSTAL
    made = simulate(
        jax.random.key(4), ARGON, {}, system,
        NPT((20.0, 60.0), 8.0, (0.0, 0.4), friction=0.01, barostat_time=500.0,
            compressibility=0.3),
        Length(3000, 1800, stride=10, blocks=5), [Density("d")], replicas=2,
    )  # fmt: skip
    temperature = made.temperature.mean(axis=(0, 1))
    np.testing.assert_allclose(temperature, [20.0, 60.0], rtol=0.1)
    volumes = made.means["d"]["volume"].mean(axis=(0, 1))
    assert volumes[1] < 0.98 * volumes[0]
    with pytest.raises(UserError, match="3 values of temperature for 2 replicas"):
        simulate(
            jax.random.key(4), ARGON, {}, system, NVT((1.0, 2.0, 3.0)), Length(100, blocks=1), [],
            replicas=2,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("ensemble", "atoms", "match"),
    [
        (NPT(300.0), Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]]), "periodic in all three"),
        (NVT(300.0), Atoms("Ar2", [[0, 0, 0], [0, 0, 0.5]], cell=[0.9] * 3, pbc=True), "each of 2"),
    ],
)
def test_impossible_systems_are_refused(ensemble, atoms, match):
    system = System.from_ase(atoms)
    with pytest.raises(UserError, match=match):
        simulate(jax.random.key(0), ARGON, {}, system, ensemble, Length(100, blocks=1), [])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (NVE, {"temperature": -1.0}),
        (NPT, {"pressure": float("nan")}),
        (NPT, {"compressibility": 0.0}),
        (NVT, {"temperature": (300.0, 0.0)}),
        (NPT, {"barostat_interval": 0}),
    ],
)
def test_unphysical_conditions_are_refused(kind, change):
    with pytest.raises(UserError):
        kind(**{"temperature": 300.0, **change})


def test_mass_sets_the_thermal_velocity():
    assert np.sqrt(BOLTZMANN * 300 / (39.948 * MASS)) == pytest.approx(0.0025, rel=0.01)
