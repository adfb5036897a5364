"""Distances, bonds, angles and torsions of chosen atoms, free energies, and own observables:
counting by ASE and mdtraj, exact laws, derivatives."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.stats import norm

from bayespot.errors import UserError
from bayespot.md import NVT, Length, simulate
from bayespot.observables import (
    ADF,
    RDF,
    BondAngleDistribution,
    BondDistribution,
    Context,
    Custom,
    DihedralDistribution,
    DihedralSurface,
    DistanceDistribution,
    Frame,
    FreeEnergy,
    TetrahedralOrder,
    blocks_to_value,
)
from bayespot.observables.bins import Bins
from bayespot.potentials import LennardJones
from bayespot.system import System
from bayespot.units import BOLTZMANN
from tests.physics.helpers import ethanol

ATOMS = 9
CONTEXT = Context(300.0, ATOMS)
ZERO = jnp.asarray(0.0)
FRAMES = [ethanol(seed, 0.15) for seed in range(12)]
pytestmark = pytest.mark.usefixtures("compile_fast")


def _value(observable, frames, padding=0):
    """Average over frames as the engine does, then reduce."""
    systems = [System.from_ase(a, len(a) + padding) for a in frames]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *systems)
    made = jax.jit(jax.vmap(lambda s: observable.snapshot(Frame(s, ZERO))))(stacked)
    blocks = {k: np.asarray(v) for k, v in made.items()}
    return blocks_to_value(observable, blocks, np.ones(len(frames)), CONTEXT)


@pytest.mark.parametrize("periodic", [False, True])
def test_bins_share_out_each_value_once(x64, periodic):
    """Smooth ones add up to 1, and become sharp ones as they shrink."""
    many = 20_000
    values = jnp.asarray(norm.ppf((np.arange(many) + 0.5) / many, 5.0, 0.5))
    errors = []
    for number in (60, 240, 960):
        sharp = Bins(2.0, 8.0, number, periodic=periodic)
        smooth = dataclasses.replace(sharp, smooth=True)
        a, b = sharp.counts(values), smooth.counts(values)
        assert float(a.sum()) == many
        assert float(b.sum()) == pytest.approx(many, rel=1e-5)
        a, b = (jnp.sum(x.reshape(20, -1), axis=1) for x in (a, b))
        errors.append(float(jnp.max(jnp.abs(a - b))))
    # with the square of the width, down to single values
    assert errors[0] > 30
    assert errors[0] > 8 * errors[1]
    assert errors[2] < 3
    x = jnp.asarray([2.0 + 1e-9, 4.123, 7.999, 1.99, 8.01])
    found = Bins(2.0, 8.0, 12, True, periodic).counts(x)
    centers = Bins(2.0, 8.0, 12).centers
    turns = 6.0 * np.arange(-2, 3) if periodic else np.zeros(1)
    away = (np.asarray(x)[:, None, None] + turns[:, None] - centers) / 0.5
    expected = np.sum(np.exp(-(away**2) / 2), axis=(0, 1)) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(found, expected, atol=3e-6)
    # sharp: outside is nowhere, or once round
    outside = Bins(2.0, 8.0, 12, False, periodic).counts(x)

    expected = [2, 1, 2] if periodic else [1, 1, 1]
    np.testing.assert_array_equal(outside[jnp.array([0, 4, 11])], expected)


def _solution():
    """Molecules in a periodic box that they stick out of."""
    frames = []
    for seed, atoms in enumerate(FRAMES[:6]):
        rng = np.random.default_rng(seed)
        box = atoms.copy()
        box.set_cell([6.5, 7.0, 8.0])
        box.pbc = True
        box.positions += rng.integers(-1, 2, (ATOMS, 3)) @ box.cell.array
        frames.append(box)
    return frames


def test_h_of_a_periodic_system_is_of_nearest_images(x64):
    frames = _solution()
    o = DistanceDistribution("h", 0.0, 7.0, 28)
    distances = [a.get_all_distances(mic=True)[np.triu_indices(ATOMS, 1)] for a in frames]
    expected = np.histogram(np.concatenate(distances), 28, (0, 7), density=True)[0]
    np.testing.assert_allclose(_value(o, frames, padding=2), expected, rtol=1e-10)
    assert expected.sum() * 0.25 == pytest.approx(1.0)
    opened = [a.copy() for a in frames]
    for atoms in opened:
        atoms.pbc = False
    assert not np.allclose(_value(o, opened), expected, atol=0.05)
    smooth = _value(dataclasses.replace(o, bins=280, smooth=True), frames)
    np.testing.assert_allclose(smooth.reshape(28, 10).mean(axis=1), expected, atol=0.05)


BONDS = ((0, 1), (1, 2), (0, 3), (0, 4))
ANGLES = ((0, 1, 2), (3, 0, 4), (3, 0, 1))
TORSIONS = ((0, 1, 2, 8), (3, 0, 1, 2), (4, 0, 1, 2))


def test_densities_are_those_of_mdtraj(x64):
    """Over lists of atoms, across the faces of a periodic box."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mdtraj = pytest.importorskip("mdtraj")
    frames = _solution()
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(ATOMS):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    theirs = mdtraj.Trajectory(np.array([a.positions for a in frames]) / 10, topology)
    theirs.unitcell_vectors = np.array([a.cell.array for a in frames], np.float32) / 10
    for observable, made in (
        (BondDistribution("b", BONDS, 0.8, 2.0, 12), 10 * mdtraj.compute_distances(theirs, BONDS)),
        (BondAngleDistribution("a", ANGLES, 18), np.rad2deg(mdtraj.compute_angles(theirs, ANGLES))),
        (
            DihedralDistribution("d", TORSIONS, 18),
            np.rad2deg(mdtraj.compute_dihedrals(theirs, TORSIONS)),
        ),
    ):
        grid = observable.grid
        expected = np.histogram(made, grid.edges)[0] / made.size / grid.width
        found = _value(observable, frames, padding=2)
        # theirs are in float32
        assert np.sum(np.abs(found - expected)) * grid.width < 1.1 * 2 / made.size
        assert np.count_nonzero(expected) > 3
    pair = DihedralSurface("s", TORSIONS[:2], TORSIONS[1:], 8)
    torsions = np.rad2deg(mdtraj.compute_dihedrals(theirs, TORSIONS))
    x, y = torsions[:, :2].ravel(), torsions[:, 1:].ravel()
    expected = np.histogram2d(x, y, [pair.grid.edges] * 2)[0] / 12 / 45**2
    np.testing.assert_allclose(_value(pair, frames, padding=2), expected, atol=1e-9)
    assert not np.allclose(expected, expected.T)


def _twisted(first, second):
    """Five atoms in a chain with given torsions in degrees."""
    atoms = Atoms("C5", [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0], [1, 1.5, 0]])
    atoms.set_dihedral(0, 1, 2, 3, first % 360, indices=[3, 4])
    atoms.set_dihedral(1, 2, 3, 4, second % 360, indices=[4])
    return atoms


def test_free_energy_of_known_weights():
    """Two wells, one visited three times as often: kT ln 3; elsewhere no number."""
    visits = [_twisted(-63.0, 51.0)] * 6 + [_twisted(171.0, -129.0)] * 2
    kT = BOLTZMANN * 300.0
    density = DihedralSurface("p", (0, 1, 2, 3), (1, 2, 3, 4))
    p = _value(density, visits)
    assert p.shape == (60, 60)
    assert p.sum() * 36 == pytest.approx(1.0)
    assert (np.argmax(p) // 60, np.argmax(p) % 60) == (int(117 / 6), int(231 / 6))
    surface = _value(FreeEnergy("F", density), visits)
    line = _value(FreeEnergy("F", DihedralDistribution("p", (0, 1, 2, 3), 60)), visits)
    for found, low, high in (
        (surface, (19, 38), (58, 8)),
        (line, (19,), (58,)),
    ):
        assert found[low] == 0
        assert found[high] == pytest.approx(kT * np.log(3), rel=1e-5)
        assert np.count_nonzero(np.isfinite(found)) == 2
    # smooth bins visit every bin near, on both sides of 180 degrees
    soft = dataclasses.replace(density, smooth=True)
    near = _value(FreeEnergy("F", soft), visits)
    assert np.isfinite(near[58, 8])
    assert np.isfinite(near[1, 8])
    assert _value(soft, visits).sum() * 36 == pytest.approx(1.0, abs=1e-4)
    # blocks are averaged before the logarithm, and leading axes are kept
    means = {"counts": np.stack([np.eye(60), np.ones((60, 60)) / 3600])}
    found = FreeEnergy("F", density).reduce(means, CONTEXT)
    assert found.shape == (2, 60, 60)
    assert np.all(found[1] == 0)
    assert np.count_nonzero(np.isfinite(found[0])) == 60


def test_free_energy_of_a_rotor_is_its_potential(x64):
    """Angles of density exp(-U/kT); control: at another temperature it is another curve."""
    grid = DihedralDistribution("p", (0, 1, 2, 3), 60).grid
    kT = BOLTZMANN * 300.0
    U = 0.05 * (1 + np.cos(np.deg2rad(3 * grid.centers)))
    counts = np.exp(-U / kT) / np.exp(-U / kT).sum()
    F = FreeEnergy("F", DihedralDistribution("p", (0, 1, 2, 3), 60))
    np.testing.assert_allclose(F.reduce({"counts": counts}, CONTEXT), U - U.min(), atol=1e-12)
    hot = F.reduce({"counts": counts}, Context(400.0, ATOMS))
    assert not np.allclose(hot, U - U.min(), atol=0.01)
    # trainers differentiate through it, empty bins too
    half = jnp.asarray(counts).at[:5].set(0.0)
    slope = jax.grad(lambda c: jnp.nansum(F.reduce({"counts": c}, CONTEXT)))(half)
    assert bool(jnp.all(jnp.isfinite(slope)))
    assert bool(jnp.any(slope != 0))


def test_smooth_densities_are_differentiable_in_positions(x64):
    """Against central differences; the control, sharp bins, has no derivative."""
    made = [
        DistanceDistribution("h", smooth=True, bins=20),
        BondDistribution("b", BONDS, smooth=True, bins=20),
        BondAngleDistribution("a", ANGLES, 20, smooth=True),
        DihedralDistribution("d", TORSIONS, 20, smooth=True),
        DihedralSurface("s", TORSIONS[0], TORSIONS[1], 20, smooth=True),
        DihedralDistribution("d", TORSIONS, 20),
    ]
    atoms = FRAMES[0]
    system = System.from_ase(atoms)
    rng = np.random.default_rng(2)
    direction = jnp.asarray(rng.normal(size=atoms.positions.shape))
    weights = [jnp.asarray(rng.normal(size=(20,) * (1 + (o.name == "s")))) for o in made]

    def losses(step):
        frame = Frame(system.replace(positions=system.positions + step * direction), ZERO)
        values = [o.reduce(o.snapshot(frame), CONTEXT) for o in made]
        return jnp.stack([jnp.sum(w * v) for w, v in zip(weights, values, strict=True)])

    value, h = jax.jit(losses), 1e-5
    found = jax.jit(lambda t: jax.jvp(losses, (t,), (1.0,))[1])(0.0)
    difference = (value(h) - value(-h)) / (2 * h)
    np.testing.assert_allclose(found[:-1], difference[:-1], rtol=1e-4)
    assert np.all(np.abs(found[:-1]) > 1e-6)
    assert found[-1] == 0


def test_straight_angles_have_a_bin():
    line = Atoms("C3", [[0, 0, 0], [0, 0, 1.2], [0, 0, 2.4]])
    found = _value(BondAngleDistribution("a", bins=18), [line])
    assert found[-1] == pytest.approx(0.1)
    smooth, system = BondAngleDistribution("a", bins=18, smooth=True), System.from_ase(line)

    @jax.jit
    @jax.grad
    def slope(positions):
        frame = Frame(system.replace(positions=positions), ZERO)
        return jnp.sum(smooth.snapshot(frame)["counts"] * jnp.arange(18))

    assert bool(jnp.all(jnp.isfinite(slope(system.positions))))


@pytest.mark.parametrize("index", [9, -1])
def test_atoms_that_do_not_exist_are_refused(index):
    """JAX would take the nearest that does."""
    for o in (BondDistribution("b", ((0, index),)), DihedralSurface("s", (0, 1, 2, index))):
        with pytest.raises(UserError, match="there are 9"):
            o.snapshot(Frame(System.from_ase(FRAMES[0]), ZERO))


def _height(frame):
    return frame.system.positions[:, 2] ** 2


def _moments(frame):
    return {"u": frame.energy, "atoms": jnp.sum(frame.system.mask), "v": frame.volume}


def _per_volume(mean, context):
    return mean["u"] / mean["v"] * context.num_atoms / mean["atoms"]


def test_observables_run_in_the_engine():
    """Averages inside the scan are those over the frames that it keeps."""
    crystal = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 2, 2)))
    potential = LennardJones(3.405, 0.010323, 5.0, trainable=True)
    params = {"log_sigma": jnp.log(jnp.array([3.4])), "log_epsilon": jnp.log(jnp.array([0.01]))}
    made = [
        Custom("own", _moments, "eV/Å³", _per_volume),
        Custom("z", _height, "Å²", axis=range(32), axis_label="atom"),
        RDF.of("far", crystal, 6.0, 12),
        RDF("listed", 4.5, 9, smooth=False),
        ADF.of("a", crystal, 4.5, 12),
        TetrahedralOrder.of("q", crystal, 5.0),
    ]
    run = simulate(
        jax.random.key(0), potential, params, crystal, NVT(60.0, 5.0),
        Length(60, 30, stride=10, blocks=2), made, keep=1,
    )  # fmt: skip
    frames, context = run.frames, Context(60.0, 32)
    positions, energy = jnp.asarray(frames.positions[0, 0]), jnp.asarray(frames.energy[0, 0])
    assert positions.shape[0] > 2

    def look(x, u):
        frame = Frame(crystal.replace(positions=x), u)
        return {o.name: o.snapshot(frame) for o in made}

    kept = jax.jit(jax.vmap(look))(positions, energy)
    for o in made:
        found = blocks_to_value(o, {k: v[:, 0, 0] for k, v in run.means[o.name].items()},
                                np.ones(2), context)  # fmt: skip
        ones = np.ones(len(positions))
        expected = blocks_to_value(o, kept[o.name], ones, context)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert np.all(np.isfinite(found))
    own = made[0].reduce({"u": 3.0, "v": 2.0, "atoms": 16.0}, context)
    assert own == 3.0
    volume = float(np.linalg.det(np.asarray(crystal.cell)))
    assert blocks_to_value(made[0], kept["own"], ones, context) == pytest.approx(
        float(energy.mean()) / volume, rel=1e-5
    )
    assert (made[1].unit, made[1].axis_label, made[1].axis.shape) == ("Å²", "atom", (32,))
    # equal ones are one program
    again = Custom("own", _moments, "eV/Å³", _per_volume)
    assert made[0] == again
    assert hash(made[0]) == hash(again)
    assert made[0] != Custom("own", _moments, "eV")


def test_own_observables_need_one_value():
    frame = Frame(System.from_ase(FRAMES[0]), ZERO)
    with pytest.raises(UserError, match="averages u, atoms, v, and has no reduction"):
        Custom("own", _moments).snapshot(frame)
    one = Custom("one", lambda frame: {"n": jnp.sum(frame.system.mask)})
    assert one.snapshot(frame)["n"].dtype == frame.system.positions.dtype
    assert one.reduce({"n": np.float64(9)}, CONTEXT) == 9
