"""Heat capacities, expansion and compressibility against laws with known fluctuations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from bayespot.neighbors import AllPairs
from bayespot.observables import (
    BulkModulus,
    Compressibility,
    Context,
    Frame,
    HeatCapacity,
    IsobaricHeatCapacity,
    ThermalExpansion,
)
from bayespot.system import System
from bayespot.units import BOLTZMANN, GPA
from tests.physics.springs import spring_crystal

CRYSTAL = System.from_ase(bulk("Si", cubic=True))


def _value(observable, volumes, energies, context):
    """Of samples (..., n): snapshots of cubic cells, averaged in float32 as by the engine."""

    def look(volume, energy):
        cell = jnp.cbrt(volume) * jnp.eye(3, dtype=volume.dtype)
        return observable.snapshot(Frame(CRYSTAL.replace(cell=cell), energy))

    volumes, energies = np.broadcast_arrays(volumes, energies)
    made = jax.jit(jax.vmap(look))(
        jnp.asarray(volumes.ravel(), jnp.float32), jnp.asarray(energies.ravel(), jnp.float32)
    )
    means = {k: np.asarray(v.reshape(volumes.shape).mean(axis=-1), float) for k, v in made.items()}
    return observable.reduce(means, context)


def test_heat_capacity_of_a_harmonic_crystal(x64):
    """``(3 N - 3)/2`` of the springs and ``3 N/2`` of the momenta: exact classical physics."""
    springs, system = spring_crystal(5)
    atoms, temperature = len(system.positions), 700.0
    lists = AllPairs(jnp.asarray(False))
    positions = springs.thermal(system, temperature, 40_000, np.random.default_rng(0))
    energy = jax.jit(jax.vmap(lambda x: springs.energy({}, system.replace(positions=x), lists)))
    energies = np.asarray(energy(jnp.asarray(positions))).reshape(40, 1000)
    lowest = springs.relaxed(atoms, np.asarray(system.cell))[0]
    found = _value(
        HeatCapacity("c", reference=lowest + 0.4), 200.0, energies, Context(temperature, atoms)
    )
    error = found.std(ddof=1) / np.sqrt(40)
    exact = (3 * atoms - 3) / 2 + 3 * atoms / 2
    bias = (3 * atoms - 3) / 2 / 1000  # of a variance about the mean of 1000
    assert abs(found.mean() + bias - exact) < 4 * error
    for wrong in (3 * atoms, exact - 1.5, exact - 1.5 * atoms):
        assert abs(found.mean() - wrong) > 8 * error


def test_an_ideal_gas_at_constant_pressure():
    """Volumes have a Gamma law: ``C_P = 5/2 N + 1``, expansion 1/T and compressibility 1/P."""
    atoms, temperature, pressure = 60, 350.0, 0.02
    kT = 1.380649e-23 * temperature * 1e30 / 1e9  # GPa Angstrom^3
    volumes = np.random.default_rng(1).gamma(atoms + 1, kT / pressure, (50, 2000))
    context = Context(temperature, atoms)
    near = (atoms + 1) * kT / pressure * 1.02
    for observable, exact in (
        (IsobaricHeatCapacity("c", pressure, 0.0, near), 2.5 * atoms + 1),
        (ThermalExpansion("a", pressure, 0.0, near), 1 / temperature),
        (Compressibility("k", near), 1 / pressure),
    ):
        found = _value(observable, volumes, 0.0, context)
        error = found.std(ddof=1) / np.sqrt(50)
        assert abs(found.mean() - exact) < 4 * error, observable.name
        assert error < 0.02 * exact
        other = _value(observable, volumes, 0.0, Context(temperature * 1.2, atoms))
        assert abs(other.mean() - exact) > 6 * error, observable.name


def _correlated(rng, samples, pressure):
    """Volumes and energies of a Gaussian law near those of a thousand atoms; C_P, alpha, kappa."""
    temperature, volume, energy = 300.0, 20_000.0, -5200.0
    covariance = np.array([[900.0, 40.0], [40.0, 6.0]])  # Angstrom^6, eV Angstrom^3, eV^2
    made = rng.multivariate_normal([volume, energy], covariance, samples)
    work = pressure * 1e9 * 1e-30 / 1.602176634e-19  # eV/Angstrom^3
    enthalpy = covariance[1, 1] + 2 * work * covariance[0, 1] + work**2 * covariance[0, 0]
    kB = 8.617333262e-5
    exact = (
        enthalpy / (kB * temperature) ** 2 + 1500,
        (covariance[0, 1] + work * covariance[0, 0]) / (kB * temperature**2 * volume),
        covariance[0, 0] / (kB * temperature * volume) / 160.21766,
    )
    return made[..., 0], made[..., 1], exact, Context(temperature, 1000)


@pytest.mark.parametrize("pressure", [0.0, 5.0])
def test_correlated_volume_and_energy(pressure):
    rng = np.random.default_rng(2)
    volumes, energies, exact, context = _correlated(rng, (40, 1000), pressure)
    about = (pressure, -5199.0, 20_010.0)
    made = (
        IsobaricHeatCapacity("c", *about),
        ThermalExpansion("a", *about),
        Compressibility("k", about[-1]),
    )
    for observable, value in zip(made, exact, strict=True):
        found = _value(observable, volumes, energies, context)
        error = found.std(ddof=1) / np.sqrt(40)
        assert abs(found.mean() - value) < 4 * error, observable.name
        assert error < 0.03 * abs(value)
    wrong = ThermalExpansion("a", pressure + 2.0, *about[1:])
    assert abs(_value(wrong, volumes, energies, context).mean() / exact[1] - 1) > 0.1
    inverse = _value(BulkModulus("K", 20_010.0), volumes, energies, context)
    np.testing.assert_allclose(_value(made[2], volumes, energies, context), 1 / inverse, rtol=1e-6)


def test_large_cells_need_their_references():
    """Float32 squares of thousands of eV and Angstrom^3 hold no variance."""
    volumes, energies, exact, context = _correlated(np.random.default_rng(3), (4000,), 5.0)
    h = energies + 5.0 * GPA * volumes
    kT = BOLTZMANN * context.temperature
    plain = (
        h.var() / kT**2 + 1500,
        np.cov(volumes, h, ddof=0)[0, 1] / (kT * context.temperature * volumes.mean()),
        volumes.var() / (kT * volumes.mean()) * GPA,
    )
    about = (5.0, -5199.0, 20_010.0)
    for kind, value, first in (
        (IsobaricHeatCapacity, plain[0], about),
        (ThermalExpansion, plain[1], about),
        (Compressibility, plain[2], about[-1:]),
    ):
        found = _value(kind("o", *first), volumes, energies, context)
        assert found == pytest.approx(value, rel=5e-3)
        naked = kind("o", *first[:-2]) if len(first) > 1 else kind("o")
        assert _value(naked, volumes, energies, context) != pytest.approx(value, rel=0.02)
    assert plain[0] == pytest.approx(exact[0], rel=0.1)
