"""Every kind of observable through a simulation that a configuration describes."""

import jax
import numpy as np
import pytest
from ase.data import atomic_masses
from ase.neighborlist import neighbor_list

from bayespot import build
from bayespot.md import simulate
from bayespot.observables import Context
from bayespot.potentials import LennardJones
from bayespot.system import System
from bayespot.uncertainty import draw_values
from bayespot.units import BOLTZMANN
from tests.unit.test_config_observables import (
    DIHEDRAL,
    KINDS,
    MD,
    PAIR,
    SURFACE,
    crystal,
    made,
    of,
    parse,
)

pytestmark = pytest.mark.usefixtures("compile_fast")
FIXED = {
    "distances": (of("distances", low=0.0, high=9.0), "1/Å", (100,)),
    "bond_lengths": (of("bond_lengths", low=0.0, high=9.0), "1/Å", (120,)),
    "bond_angles": (of("bond_angles"), "1/°", (90,)),
    "dihedral": (DIHEDRAL, "1/°", (180,)),
    "dihedral_surface": (SURFACE, "1/°²", (180, 180)),
    "free_energy": (of("free_energy", density=DIHEDRAL), "eV", (180,)),
    "free_energy_surface": (of("free_energy", density=SURFACE), "eV", (180, 180)),
    "rdf": (of("rdf", elements=PAIR, bins=30), "", (30,)),
    "adf": (of("adf", cutoff=4.5, elements=["Ar", "Ne", "Ar"], spread=0.0), "1/rad", (150,)),
    "tcf": (of("tcf", element="Ar", high=4.5, bins=10), "", (10,)),
    "tetrahedral_order": (of("tetrahedral_order", element="Ar"), "", ()),
    "tetrahedral_order_distribution": (
        of("tetrahedral_order_distribution", element="Ar", low=-3.0, bins=20),
        "",
        (20,),
    ),
    "mean_energy": (of("mean_energy"), "eV", ()),
    "heat_capacity": (of("heat_capacity"), "k_B", ()),
    "density": (of("density"), "g/cm³", ()),
    "lattice_constant": (of("lattice_constant"), "Å", ()),
    "pressure": (of("pressure"), "GPa", ()),
    "stress": (of("stress"), "GPa", (6,)),
    "stiffness": (of("stiffness"), "GPa", (3,)),
    "vacf": (of("vacf"), "Å²/fs²", (5,)),
    "vdos": (of("vdos", taper="none"), "1/THz", (5,)),
    "msd": (of("msd"), "Å²", (5,)),
    "einstein_diffusion": (of("einstein_diffusion", fit=[0.0, 1.0]), "1e-9 m²/s", ()),
    "green_kubo_diffusion": (of("green_kubo_diffusion", running=True), "1e-9 m²/s", (5,)),
}
MOVING = {
    "density": (of("density"), "g/cm³", ()),
    "bulk_modulus": (of("bulk_modulus"), "GPa", ()),
    "compressibility": (of("compressibility"), "1/GPa", ()),
    "isobaric_heat_capacity": (of("isobaric_heat_capacity"), "k_B", ()),
    "thermal_expansion": (of("thermal_expansion"), "1/K", ()),
}


class Full(LennardJones):
    """With lists that hold each pair twice: observables then need none of their own."""

    @property
    def pairwise(self):
        return False


NPT = {"ensemble": "npt", "pressure": 0.5, "barostat_time": 50.0, "compressibility": 0.3,
       "barostat_interval": 1}  # fmt: skip
REPLICAS = 2


def run(atoms, rows, **md):
    """Values of all rows from one program, and the blocks they are made of."""
    entries = [{**row[0], "name": name} for name, row in rows.items()]
    observables = made(atoms, *entries, **md)
    settings = build.md(parse(*entries, **md).md)
    blocks = simulate(
        jax.random.key(0), Full(3.4, 0.0104, 6.0), {}, System.from_ase(atoms), *settings,
        observables, replicas=REPLICAS,
    )  # fmt: skip
    assert not blocks.reason.any()
    context, found = Context(MD["temperature"], len(atoms)), {}
    for o, (name, (_, unit, shape)) in zip(observables, rows.items(), strict=True):
        values, variances, _ = draw_values(o, blocks, context)
        assert o.unit == unit, name
        assert values[0].shape == variances[0].shape == shape == o.shape, name
        if o.axis is not None:
            assert o.axis.shape == shape[:1]
            assert o.axis_label
        if "free" not in name:
            assert np.isfinite(values).all(), name
        found[name] = values[0]
        found[f"{name} axis"] = o.axis
    return found, blocks


def test_the_rows_of_this_file_are_all_kinds():
    assert {row[0]["kind"] for part in (FIXED, MOVING) for row in part.values()} == set(KINDS)


@pytest.fixture(scope="module")
def fixed():
    return run(crystal(), FIXED)[0]


def test_densities_and_free_energies(fixed):
    assert fixed["distances"].sum() * 9 / 100 == pytest.approx(1, rel=1e-5)
    assert fixed["bond_lengths"].sum() * 9 / 120 == pytest.approx(1, rel=1e-5)
    assert fixed["bond_angles"].sum() * 2 == pytest.approx(1, rel=1e-5)
    surface = fixed["dihedral_surface"]
    np.testing.assert_allclose(surface.sum(axis=1) * 2, fixed["dihedral"], rtol=1e-5)
    assert np.abs(surface.sum(axis=0) * 2 - fixed["dihedral"]).max() > 1e-2
    for name, density in (("free_energy", fixed["dihedral"]), ("free_energy_surface", surface)):
        seen = density > 0
        assert 2 < seen.sum() < 400
        expected = -BOLTZMANN * MD["temperature"] * np.log(density[seen] / density.max())
        np.testing.assert_allclose(fixed[name][seen], expected, atol=1e-9)
        assert np.isnan(fixed[name][~seen]).all()


def test_energies(fixed):
    assert fixed["mean_energy"] < 0
    assert fixed["heat_capacity"] > 1.5 * 8


def test_structure_of_a_crystal(fixed):
    mass = 3 * atomic_masses[10] + 5 * atomic_masses[18]
    volume = 2 * 5.3**3
    assert fixed["density"] == pytest.approx(1.66053907 * mass / volume, rel=1e-5)
    assert fixed["lattice_constant"] == pytest.approx(5.3, rel=1e-6)
    # neighbours of neon in the first shell of the crystal
    shell = fixed["rdf axis"] < 4.5
    neon = 4 * np.pi * np.sum((fixed["rdf"] * fixed["rdf axis"] ** 2)[shell]) * 0.2 * 3 / volume
    mixed = crystal()
    i, j = neighbor_list("ij", mixed, 4.5)
    met = (mixed.numbers[i] == 18) & (mixed.numbers[j] == 10)
    expected = met.sum() / 5
    assert neon == pytest.approx(expected, rel=0.02)
    assert fixed["adf"].sum() * np.pi / 150 == pytest.approx(1, rel=1e-4)
    q = fixed["tetrahedral_order_distribution"]
    assert q.sum() * 4 / 20 == pytest.approx(1, rel=1e-5)
    mean = np.sum(q * fixed["tetrahedral_order_distribution axis"]) / q.sum()
    assert mean == pytest.approx(fixed["tetrahedral_order"], abs=0.1)


def test_mechanics_of_a_crystal(fixed):
    assert fixed["stress"][:3].mean() == pytest.approx(-fixed["pressure"], rel=1e-4)
    c11, c12, c44 = fixed["stiffness"]
    assert c11 > c12 > 0
    assert c44 > 0


def test_motion_in_a_crystal(fixed):
    assert fixed["msd"][0] == 0
    times = fixed["msd axis"]
    np.testing.assert_allclose(times, 16.0 * np.arange(5))  # stride times time_step
    slope = np.polyfit(times, fixed["msd"], 1)[0]
    assert fixed["einstein_diffusion"] == pytest.approx(slope * 1e4 / 6, rel=1e-5)
    integral = np.trapezoid(fixed["vacf"], times) * 1e4 / 3
    assert fixed["green_kubo_diffusion"][-1] == pytest.approx(integral, rel=1e-5)
    assert np.trapezoid(fixed["vdos"], fixed["vdos axis"]) == pytest.approx(1, rel=1e-4)


def test_a_crystal_at_constant_pressure():
    found, blocks = run(crystal(), MOVING, **NPT)
    assert found["compressibility"] == pytest.approx(1 / found["bulk_modulus"], rel=1e-6)
    volumes = blocks.means["density"]["volume"]
    assert np.ptp(volumes) > 1e-3 * volumes.mean()
    assert found["isobaric_heat_capacity"] >= 1.5 * 8
    assert found["thermal_expansion"] != 0
