"""Pressure, stress and stiffness: exact laws, explicit strain, ASE, literature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.fd import calculate_numerical_stress

from bayespot.errors import UserError
from bayespot.neighbors import AllPairs, allocate
from bayespot.observables import (
    Context,
    Frame,
    Pressure,
    Stiffness,
    Stress,
    blocks_to_value,
    moduli,
)
from bayespot.potentials import HarmonicBonds, LennardJones, StillingerWeber
from bayespot.system import System
from bayespot.uncertainty import jackknife
from bayespot.units import BOLTZMANN, GPA
from tests.physics.springs import spring_crystal

FULL = Stiffness("C", "triclinic")
STRESS, PRESSURE = Stress("s"), Pressure("p")
ALL = (FULL, STRESS, PRESSURE)


def _tensor(voigt):
    """(3, 3) of engineering strains."""
    a, b, c, d, e, f = voigt
    return np.array([[a, f / 2, e / 2], [f / 2, b, d / 2], [e / 2, d / 2, c]])


def _differences(function, step=2e-4):
    """First (6,) and second (6, 6) derivatives at zero of a function of six numbers, many at once:
    (n, 6) -> (n, ...)."""
    points, one = [np.zeros(6)], np.eye(6) * step
    points += [s * one[i] for i in range(6) for s in (1, -1)]
    pairs = [(i, j) for i in range(6) for j in range(i)]
    points += [s * one[i] + t * one[j] for i, j in pairs for s in (1, -1) for t in (1, -1)]
    values = np.asarray(function(np.array(points)), float)
    edges, corners = values[1:13].reshape(6, 2, -1), values[13:].reshape(15, 4, -1)
    first = (edges[:, 0] - edges[:, 1]) / (2 * step)
    second = np.zeros((6, 6, first.shape[-1]))
    for i in range(6):
        second[i, i] = (edges[i, 0] + edges[i, 1] - 2 * values[0]) / step**2
    for (i, j), c in zip(pairs, corners, strict=True):
        second[i, j] = second[j, i] = (c[0] - c[1] - c[2] + c[3]) / (4 * step**2)
    return first, second


def _one(observable, made, context):
    """Value of one configuration's snapshot."""
    return blocks_to_value(
        observable, {k: np.asarray(v, float)[None] for k, v in made.items()}, np.ones(1), context
    )


def _springs_look(springs, system, observables, positions):
    def look(x):
        here = system.replace(positions=x)
        lists = AllPairs(jnp.asarray(False))
        energy = springs.energy({}, here, lists)
        frame = Frame(here, energy, None, lists, springs, {})
        return {o.name: o.snapshot(frame) for o in observables}

    return jax.jit(lambda x: jax.lax.map(lambda y: jax.tree.map(
        lambda z: jnp.mean(z, axis=0), jax.vmap(look)(y)), x))(positions)  # fmt: skip


def test_stiffness_and_stress_of_thermal_springs(x64, compile_fast):
    """Free energy ``min U - kT ln V``: the centre of mass alone has the volume to itself."""
    springs, system = spring_crystal()
    atoms, temperature = len(system.positions), 50_000.0
    cell, volume = np.asarray(system.cell), float(np.abs(np.linalg.det(system.cell)))

    def free_energy(strains):
        made = []
        for voigt in strains:
            square = np.eye(3) + 2 * _tensor(voigt)
            lowest = springs.relaxed(atoms, cell @ scipy.linalg.sqrtm(square))[0]
            made.append(lowest - BOLTZMANN * temperature * np.log(np.linalg.det(square)) / 2)
        return np.array(made)

    first, second = (x[..., 0] / volume / GPA for x in _differences(free_energy))
    rng = np.random.default_rng(1)
    positions = springs.thermal(system, temperature, 40 * 1000, rng)
    means = _springs_look(springs, system, ALL, jnp.asarray(positions.reshape(40, 1000, atoms, 3)))
    means = {o: {k: np.asarray(v) for k, v in m.items()} for o, m in means.items()}
    context = Context(temperature, atoms)

    def off(observable, exact, context=context, **changed):
        """Largest deviation in standard errors."""
        value, variance = jackknife(observable, means[observable.name] | changed, context)
        return np.max(np.abs(value - exact) / np.sqrt(variance))

    upper = second[moduli.UPPER]
    assert off(FULL, upper) < 4
    none = np.zeros_like(means["C"]["stress"])
    for wrong in (
        off(FULL, upper, Context(temperature, 0)),  # without the kinetic term
        off(FULL, upper, Context(temperature, atoms // 2)),  # as it goes with F - 1
        off(FULL, upper, Context(temperature * 1.1, atoms)),
        off(FULL, upper, stress=none, products=np.zeros_like(means["C"]["products"])),
        off(FULL, upper, stress=none),
    ):
        assert wrong > 8
    assert off(STRESS, first) < 4
    assert off(PRESSURE, -first[:3].mean()) < 4
    assert off(STRESS, first, Context(temperature, 0)) > 8
    assert off(PRESSURE, -first[:3].mean(), Context(temperature, atoms - 1)) > 8
    # blocks as leading axes: each as if it were alone
    many = FULL.reduce(means["C"], context)
    alone = FULL.reduce({k: v[7] for k, v in means["C"].items()}, context)
    np.testing.assert_allclose(many[7], alone, rtol=1e-12)


def test_stress_under_load_needs_a_reference(compile_fast):
    """Float32 squares of 50 GPa hold no fluctuations of 0.02 GPa; about a reference they do.

    They are small in large crystals; here, in a cold one.
    """
    springs, system = spring_crystal(3, stretch=0.6)
    positions = springs.thermal(system, 0.01, 2000, np.random.default_rng(2))
    context = Context(0.01, len(system.positions))

    def means(observable, dtype):
        here = jax.tree.map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, system)
        made = _springs_look(springs, here, (observable,), jnp.asarray(positions, dtype)[None])
        return {k: v[0] for k, v in made["C"].items()}

    with jax.enable_x64(True):
        exactly = means(FULL, jnp.float64)
    exact = _one(FULL, exactly, context)
    born = _one(FULL, exactly | {"stress": np.zeros(6), "products": np.zeros((6, 6))}, context)
    scale = np.max(np.abs(exact - born))
    loaded = tuple((np.asarray(exactly["stress"]) + 0.01).tolist())
    about = means(Stiffness("C", "triclinic", reference=loaded), jnp.float32)
    assert np.max(np.abs(_one(FULL, about, context) - exact)) < 0.02 * scale
    naked = means(FULL, jnp.float32)
    assert np.max(np.abs(_one(FULL, naked, context) - exact)) > 0.2 * scale


SILICON = bulk("Si", cubic=True, a=5.4310)
SW = StillingerWeber()


@functools.cache
def _silicon():
    """Energies and snapshots of eight atoms, in float64: (n, 8, 3), (n, 3, 3)."""
    system = System.from_ase(SILICON)
    lists = allocate(system, SW.cutoff, 1.0)  # holds for all that follows

    def energy(positions, cell):
        here = system.replace(positions=positions, cell=cell)
        return SW.energy({}, here, lists)

    def look(positions):
        here = system.replace(positions=positions)
        frame = Frame(here, jnp.zeros(()), None, lists, SW, {})
        return {o.name: o.snapshot(frame) for o in ALL}

    return jax.jit(jax.vmap(energy)), jax.jit(jax.vmap(look)), energy, system


def _distorted():
    atoms = SILICON.copy()
    atoms.positions += 0.1 * np.random.default_rng(4).normal(size=atoms.positions.shape)
    return atoms


class _Energy(Calculator):
    """Energies alone, for ASE to differentiate."""

    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        cell, positions = jnp.asarray(atoms.cell.array)[None], jnp.asarray(atoms.positions)[None]
        self.results = {"energy": float(_silicon()[0](positions, cell)[0])}


def test_stress_is_that_of_ase(x64, compile_fast):
    atoms = _distorted()
    made = _silicon()[1](jnp.asarray(np.repeat(atoms.positions[None], 42, axis=0)))
    made = {o: {k: v[0] for k, v in m.items()} for o, m in made.items()}
    atoms.calc = _Energy()
    expected = calculate_numerical_stress(atoms, eps=1e-4, force_consistent=False) / GPA
    cold = Context(1e-6, 8)
    found = _one(STRESS, made["s"], cold)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(found, expected, atol=2e-4)
    ideal = 8 * 1.380649e-23 * 400 / (SILICON.get_volume() * 1e-30) / 1e9
    hot = _one(STRESS, made["s"], Context(400.0, 8))
    np.testing.assert_allclose(hot - found, np.array([-1, -1, -1, 0, 0, 0]) * ideal, rtol=1e-6)
    assert _one(PRESSURE, made["p"], Context(400.0, 8)) == pytest.approx(-hot[:3].mean(), abs=1e-9)


def test_born_term_is_the_second_derivative_with_respect_to_strain(x64, compile_fast):
    atoms = _distorted()
    energy, look, *_ = _silicon()
    made = look(jnp.asarray(np.repeat(atoms.positions[None], 42, axis=0)))["C"]

    def strained(linear, strains):
        maps = [np.eye(3) + _tensor(v) if linear else scipy.linalg.sqrtm(
            np.eye(3) + 2 * _tensor(v)) for v in strains]  # fmt: skip
        return energy(
            jnp.asarray([atoms.positions @ f for f in maps]),
            jnp.asarray([atoms.cell.array @ f for f in maps]),
        )

    unit = atoms.get_volume() * GPA
    first, second = _differences(functools.partial(strained, False))
    np.testing.assert_allclose(made["stress"][0], first[:, 0] / unit, atol=1e-3)
    np.testing.assert_allclose(made["born"][0], second[..., 0] / unit, atol=2e-3)
    wrong = _differences(functools.partial(strained, True))[1][..., 0] / unit
    assert np.max(np.abs(made["born"][0] - wrong)) > 1  # another strain, under stress


def test_silicon_has_the_published_constants(x64, compile_fast):
    """Cowley 1988: C11 161.6, C12 81.6, C44 60.3 and, unrelaxed, 117.2 GPa, at another depth."""
    c11, c12, c44, rigid = np.array([161.6, 81.6, 60.3, 117.2]) * SW.epsilon / 2.3154
    _, look, one, system = _silicon()
    cell, perfect = system.cell, np.asarray(system.positions)
    hessian = np.asarray(jax.jit(jax.hessian(lambda x: one(x.reshape(8, 3), cell)))(
        jnp.asarray(perfect.ravel())))  # fmt: skip
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    assert abs(values[2]) < 1e-6 < values[3]
    cold = Context(0.1, 8)
    # points with the exact covariance: the modes one at a time, both ways
    spread = np.sqrt(21 * BOLTZMANN * cold.temperature / values[3:])
    moved = (spread * vectors[:, 3:]).T.reshape(21, 8, 3)
    made = look(jnp.asarray(perfect + np.concatenate([moved, -moved])))["C"]
    blocks = {k: np.asarray(v) for k, v in made.items()}
    cubic = Stiffness("C")
    value = blocks_to_value(cubic, blocks, np.ones(42), cold)
    np.testing.assert_allclose(value, [c11, c12, c44], atol=0.15)
    still = {k: np.zeros_like(v) if k in ("stress", "products") else v for k, v in blocks.items()}
    unrelaxed = blocks_to_value(cubic, still, np.ones(42), cold)
    np.testing.assert_allclose(unrelaxed, [c11, c12, rigid], atol=0.15)


@functools.cache
def _argon():
    """One atom in a skewed, compressed cell: nothing to relax; any cell and parameters."""
    potential = LennardJones(3.405, 0.010323, 6.0, trainable=True)
    atoms = bulk("Ar", "fcc", a=4.9)
    skew = np.array([[0.02, 0.03, 0.0], [0.03, -0.04, 0.01], [0.0, 0.01, 0.05]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + skew), scale_atoms=True)
    system = System.from_ase(atoms)
    lists = allocate(system, potential.cutoff, 0.3)
    params = potential.init(jax.random.key(0), system)

    def frame(params, cell):
        here = system.replace(cell=cell)
        return Frame(here, potential.energy(params, here, lists), None, lists, potential, params)

    return frame, params, system.cell


def test_stress_strain_coefficients_under_load(x64, compile_fast):
    """Differences of Cauchy's stress; control: derivatives of the free energy are others."""
    frame, params, cell = _argon()

    @jax.jit
    @jax.vmap
    def look(cell):
        seen = frame(params, cell)
        return {o.name: o.snapshot(seen) for o in ALL}, seen.energy

    step = 1e-4
    strains = np.concatenate([np.zeros((1, 6)), step * np.eye(6), step * moduli.AXIAL[None]])
    strains = np.concatenate([strains, -strains])
    moved = np.array([cell @ (np.eye(3) + _tensor(v)) for v in strains])
    every, energies = jax.tree.map(np.asarray, look(jnp.asarray(moved)))
    made = {o: {k: v[0] for k, v in m.items()} for o, m in every.items()}
    expected = (every["s"]["stress"][1:7] - every["s"]["stress"][9:15]).T / (2 * step)
    cold = Context(1e-3, 1)
    birch = Stiffness("C", "triclinic", convention="stress_strain")
    found = birch.tensor(made["C"] | {"products": np.outer(*[made["C"]["stress"]] * 2)}, cold)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.max(np.abs(FULL.tensor(made["C"], cold) - expected)) > 0.5
    # the same from a stress that ``reference`` holds
    held = Stiffness(
        "C", "triclinic", convention="stress_strain", reference=tuple(made["C"]["stress"].tolist())
    )
    none = made["C"] | {"stress": np.zeros(6), "products": np.zeros((6, 6))}
    np.testing.assert_allclose(held.tensor(none, cold), found, atol=1e-6)

    slope = (energies[7] - energies[15]) / np.diff(np.abs(np.linalg.det(moved[[7, 15]])))[0] / GPA
    assert slope > 1
    assert _one(PRESSURE, made["p"], cold) == pytest.approx(slope, rel=1e-5)


def test_trainers_differentiate_through_the_reduction(x64, compile_fast):
    """All constants of a cold crystal are proportional to epsilon."""
    frame, params, cell = _argon()
    young = Stiffness("C", "cubic", "young", "reuss")

    def value(log_epsilon):
        made = young.snapshot(frame(params | {"log_epsilon": log_epsilon}, cell))
        made["products"] = made["stress"][:, None] * made["stress"][None]
        return young.reduce(made, Context(0.01, 1))

    found, slope = jax.jit(jax.value_and_grad(value))(params["log_epsilon"])
    assert found > 0.5
    assert slope == pytest.approx(float(found), rel=1e-6)


def test_an_ideal_gas_has_its_pressure_and_no_shear_modulus(compile_fast):
    nothing = HarmonicBonds()
    rng = np.random.default_rng(6)
    padded = [
        System.from_ase(Atoms("Ar5", rng.uniform(0, edge, (5, 3)), cell=[edge] * 3, pbc=True), 7)
        for edge in (6.0, 7.0)
    ]

    def look(system):
        frame = Frame(system, jnp.zeros(()), None, allocate(padded[0], 0.0), nothing, {})
        return {o.name: o.snapshot(frame) for o in ALL}

    blocks = jax.jit(jax.vmap(look))(jax.tree.map(lambda *x: jnp.stack(x), *padded))
    context = Context(250.0, 5)
    per_volume = 5 * 1.380649e-23 * 250 * 1e30 / 1e9  # GPa Angstrom^3
    inverse = np.array([6.0**-3, 7.0**-3])
    for observable, of in ((PRESSURE, 1), (STRESS, -moduli.AXIAL)):
        found = blocks_to_value(observable, blocks[observable.name], np.ones(2), context)
        np.testing.assert_allclose(found, of * per_volume * inverse.mean(), rtol=1e-6)
        assert abs(np.ravel(found)[0]) != pytest.approx(per_volume / (1 / inverse).mean(), rel=0.02)
    made = {k: v[0] for k, v in blocks["C"].items()}
    pressure = per_volume * inverse[0]
    free = _one(Stiffness("C"), made, context)
    np.testing.assert_allclose(free, pressure * np.array([2.0, 0.0, 1.0]), rtol=1e-5, atol=1e-12)
    birch = _one(Stiffness("C", convention="stress_strain"), made, context)
    np.testing.assert_allclose(birch, pressure * np.array([1.0, 1.0, 0.0]), rtol=1e-5, atol=1e-8)


def test_open_systems_and_unknown_words_are_refused():
    open_gas = System.from_ase(Atoms("Ar2", [[0, 0, 0], [4, 0, 0.0]], cell=[9] * 3,
                                     pbc=(True, False, True)))  # fmt: skip
    frame = Frame(open_gas, jnp.zeros(()))
    for observable in ALL:
        with pytest.raises(UserError, match="open along b"):
            observable.snapshot(frame)
    for wrong in ({"symmetry": "square"}, {"quantity": "c11"}, {"average": "mean"},
                  {"convention": "birch"}):  # fmt: skip
        with pytest.raises(UserError, match=next(iter(wrong.values()))):
            Stiffness("C", **wrong)
    with pytest.raises(UserError, match=r"reference of shape \(3,\)"):
        Stiffness("C", reference=(1.0, 1.0, 1.0))
    assert (Stiffness("C", quantity="poisson").unit, Stiffness("C").unit) == ("", "GPa")
    for symmetry, count in (("triclinic", 21), ("cubic", 3), ("hexagonal", 5)):
        made = Stiffness("C", symmetry)
        assert len(made.axis) == len(made.axis_label.split()) == count
    assert Stiffness("C", quantity="bulk").axis is None
