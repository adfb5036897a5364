"""RDF by lists and by all pairs, MDAnalysis; cost; RDF, ADF, TCF and order of an ideal gas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from bayespot.errors import UserError
from bayespot.neighbors import AllPairs, Grid, NeighborList, allocate
from bayespot.observables import (
    ADF,
    RDF,
    TCF,
    Frame,
    TetrahedralOrder,
    TetrahedralOrderDistribution,
)
from bayespot.observables.nearby import Search
from bayespot.system import System
from tests.physics.liquid import CONTEXT, ZERO, liquid, program

pytestmark = pytest.mark.usefixtures("compile_fast")


def test_rdf_by_neighbours_is_that_of_all_pairs(x64):
    """By a search of its own and by the potential's list; padding changes nothing.

    The search follows a cell that shrinks by a tenth, and says when it cannot.
    """
    atoms = liquid(6, seed=1)
    system = System.from_ase(atoms)
    soft = RDF.of("soft", system, 4.5, 25, smooth=True)
    assert soft.search is not None
    assert soft.images == (0, 0, 0)
    made = {"soft": soft, "pair": RDF("pair", 4.5, 25, (14, 32), (0, 0, 0), search=soft.search)}
    plain = {k: dataclasses.replace(o, search=None) for k, o in made.items()}
    expected = program(plain)(system)
    searched = program(made)
    lists = allocate(system, 5.6, 0.4)
    assert isinstance(lists, NeighborList)
    listed = program(plain)(system, lists)
    found = searched(System.from_ase(atoms, 221))
    for name in made:
        assert np.all(expected[name][-3:] > 0.5)
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)
        np.testing.assert_allclose(listed[name], expected[name], rtol=1e-12)
    # a list that is too short, or holds pairs once, does not serve
    for short in (dataclasses.replace(lists, cutoff=5.4), dataclasses.replace(lists, half=True)):
        assert Frame(system, ZERO, neighbors=short).pairs(5.5) is None
    for scale, enough in ((0.91, True), (0.75, False)):
        smaller = atoms.copy()
        smaller.set_cell(scale * atoms.cell, scale_atoms=True)
        found = searched(System.from_ase(smaller, 221))["pair"]
        assert bool(np.all(np.isfinite(found))) == enough
        if enough:
            i, j, distances = neighbor_list("ijd", smaller, 5.0)
            between = (smaller.numbers[i] == 14) & (smaller.numbers[j] == 32)
            counts, edges = np.histogram(distances[between], 25, (0, 4.5))
            shells = 4 / 3 * np.pi * np.diff(edges**3) * 144 * 72
            np.testing.assert_allclose(found, counts * smaller.get_volume() / shells, rtol=1e-12)


def test_rdf_is_that_of_mdanalysis(x64):
    """Between two species; of one, theirs counts N(N - 1) pairs, ours N^2."""
    mda = pytest.importorskip("MDAnalysis")
    from MDAnalysis.analysis.rdf import InterRDF

    atoms = liquid(4, seed=3, skew=0.0)
    atoms.positions = atoms.positions.astype(np.float32)  # as there
    edge = float(np.float32(atoms.cell[0, 0]))
    atoms.set_cell(edge * np.eye(3))
    universe = mda.Universe.empty(64, trajectory=True)
    universe.load_new(atoms.positions[None].astype(np.float32), dimensions=[edge] * 3 + [90] * 3)
    groups = {z: universe.atoms[atoms.numbers == z] for z in (14, 32)}
    high = 0.499 * edge  # theirs is of nearest images
    made = {p: RDF.of("g", System.from_ase(atoms), high, 20, p) for p in ((14, 32), (32, 32))}
    found = program(made)(System.from_ase(atoms))
    for a, b in made:
        more = {"exclusion_block": (1, 1)} if a == b else {}
        theirs = InterRDF(groups[a], groups[b], nbins=20, range=(0, high), **more).run()
        expected = theirs.results.rdf * (1 - 1 / len(groups[a]) if a == b else 1)
        np.testing.assert_allclose(found[a, b], expected, rtol=1e-6)
    assert not np.allclose(found[14, 32], found[32, 32], atol=0.3)


def test_cost_grows_with_neighbours():
    """Operations per atom stay the same in an eightfold system; of all pairs they do not."""

    def operations(observable, atoms, side):
        search = Search(5.0, 60, Grid((side,) * 3, (1, 1, 1), 40))
        made = dataclasses.replace(observable, search=None if side == 0 else search)
        system = System.from_ase(Atoms(f"Si{atoms}", cell=12.0 * np.eye(3), pbc=True))

        def look(positions):
            return made.snapshot(Frame(system.replace(positions=positions), ZERO))

        return jax.jit(look).lower(system.positions).cost_analysis()["flops"] / atoms

    for observable in (RDF("g", 4.0, 20), ADF("a", 3.0, 20), TCF("t")):
        ratio = operations(observable, 4000, 6) / operations(observable, 500, 3)
        assert ratio == pytest.approx(1.0, abs=0.1)
    everyone = RDF("g", 4.0, 20, images=(0, 0, 0))
    assert operations(everyone, 4000, 0) / operations(everyone, 500, 0) > 7


ATOMS, EDGE = 60, 8.0


@pytest.fixture(scope="module")
def gas():
    """Snapshots of 120 boxes of points at random, half as wide as the reach is."""
    rng = np.random.default_rng(6)
    places = jnp.asarray(rng.uniform(0, EDGE, (120, ATOMS, 3)), jnp.float32)
    system = System.from_ase(Atoms(f"Ar{ATOMS}", places[0], cell=EDGE * np.eye(3), pbc=True))
    all_of_them = Search(3.99, ATOMS, Grid((1, 1, 1), (1, 1, 1), ATOMS))
    few = dataclasses.replace(all_of_them, slots=48)
    made = {
        "rdf": RDF("rdf", 3.9, 13),
        "adf": ADF("adf", 3.0, 15, search=few),
        "tcf": TCF("tcf", 1.5, 3.5, 8, search=few),
        "smooth tcf": TCF("smooth tcf", 1.5, 2.8, 10, smooth=True, search=few),
        "q": TetrahedralOrder("q", 3.9),
        "p(q)": TetrahedralOrderDistribution("p(q)", 3.9, low=-3.0),
    }

    def look(positions):
        here = system.replace(positions=positions)
        frame = Frame(here, ZERO, neighbors=all_of_them.lists(here))
        return {k: o.snapshot(frame) for k, o in made.items()}

    seen = jax.jit(lambda x: jax.lax.map(look, x, batch_size=10))(places)
    return made, jax.tree.map(lambda x: np.asarray(x, float), seen)


def _mean(values):
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def test_rdf_and_triplets_of_an_ideal_gas_are_one(gas):
    """But for the atom itself: 1 - 1/N and (1 - 1/N)(1 - 2/N)."""
    made, seen = gas
    for name, law in (("rdf", 1.0), ("tcf", 1 - 2 / ATOMS), ("smooth tcf", 1 - 2 / ATOMS)):
        each = made[name].reduce(seen[name], CONTEXT)
        expected = law * (1 - 1 / ATOMS)
        mean, error = _mean(each)
        assert np.all(np.abs(mean - expected)[3:] < 4.5 * error[3:]), name
        volume = made[name].axis ** (2 if name == "rdf" else 3)
        mean, error = _mean(each @ volume / volume.sum())
        assert abs(mean - expected) < 4 * error
        assert abs(1.15 * mean - expected) > 4 * error  # control


def test_angles_in_an_ideal_gas_go_with_the_sine(gas):
    made, seen = gas
    adf = made["adf"]
    counts = seen["adf"]["triplets"]
    edges = np.linspace(0, np.pi, 16)
    for law, right in ((-np.diff(np.cos(edges)) / 2, True), (np.diff(edges) / np.pi, False)):
        mean, error = _mean(counts - law * counts.sum(axis=1, keepdims=True))
        assert np.all(np.abs(mean) < 4.5 * error) == right
    value = adf.reduce({"triplets": counts.mean(axis=0)}, CONTEXT)
    assert value.sum() * np.pi / 15 == pytest.approx(1.0)
    np.testing.assert_allclose(value, np.sin(adf.axis) / 2, atol=0.02)
    assert np.all(adf.reduce({"triplets": np.zeros((2, 15))}, CONTEXT) == 0)


def test_tetrahedral_order_of_an_ideal_gas_is_zero(gas):
    made, seen = gas
    mean, error = _mean(made["q"].reduce(seen["q"], CONTEXT))
    assert abs(mean) < 4 * error < 0.04
    density = made["p(q)"].reduce({"q": seen["p(q)"]["q"].mean(axis=0)}, CONTEXT)
    assert density.sum() * 0.04 == pytest.approx(1.0, abs=1e-5)
    assert density @ made["p(q)"].axis * 0.04 == pytest.approx(mean, abs=2e-3)


def test_open_systems_and_what_no_list_serves():
    """All pairs of a molecule serve any reach; elements must exist, and lists reach far enough."""
    atoms = liquid(2, seed=9)
    atoms.wrap()
    atoms.pbc = False
    system = System.from_ase(atoms)
    made = {"a": ADF.of("a", system, 3.5, 18)}
    found = program(made)(system, AllPairs(jnp.asarray(False)))["a"]
    np.testing.assert_allclose(found, program(made)(system)["a"], rtol=1e-4, atol=1e-6)
    assert found.max() > 0
    for make in (ADF("a"), TCF("t"), TetrahedralOrder("q")):
        with pytest.raises(UserError, match="no list reaches so far"):
            make.snapshot(Frame(system, ZERO))
    for refused in (
        lambda: ADF.of("a", system, triple=(14, 8, 14)),
        lambda: TCF.of("t", system, element=8),
        lambda: TetrahedralOrder.of("q", system, element=8),
    ):
        with pytest.raises(UserError, match="element 8, which the system does not hold"):
            refused()
