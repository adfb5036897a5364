"""RDF, ADF, TCF and tetrahedral order: counting by hand, MDAnalysis, exact laws, cost."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from bayespot.errors import UserError
from bayespot.neighbors import AllPairs, allocate
from bayespot.observables import (
    ADF,
    RDF,
    TCF,
    Context,
    Frame,
    TetrahedralOrder,
    TetrahedralOrderDistribution,
)
from bayespot.observables.nearby import Search, nearby, triplets
from bayespot.system import System

CONTEXT = Context(300.0, 8)
ZERO = jnp.asarray(0.0)
pytestmark = pytest.mark.usefixtures("compile_fast")


def _value(observable, atoms, padding=0, **more):
    """Of one frame."""
    made = jax.jit(lambda s, more: observable.snapshot(Frame(s, ZERO, **more)))(
        System.from_ase(atoms, len(atoms) + padding), more
    )
    return observable.reduce({k: np.asarray(v, float) for k, v in made.items()}, CONTEXT)


def _liquid(side=3, spacing=2.4, seed=0, skew=0.1):
    """Silicon and germanium off the places of a lattice, anywhere in space, in a skewed cell."""
    rng = np.random.default_rng(seed)
    places = np.array(list(itertools.product(range(side), repeat=3))) + 0.5
    cell = side * spacing * (np.eye(3) + rng.uniform(-skew, skew, (3, 3)))
    numbers = np.where(np.arange(side**3) % 3 == 0, 32, 14)
    atoms = Atoms(numbers, scaled_positions=places / side, cell=cell, pbc=True)
    atoms.positions += rng.uniform(-0.7, 0.7, atoms.positions.shape)
    atoms.positions += rng.integers(-2, 3, atoms.positions.shape) @ cell
    return atoms


def _around(atoms, cutoff):
    """For each atom: (atomic numbers, vectors) of what is near, by ASE."""
    i, j, D = neighbor_list("ijD", atoms, cutoff)
    return [(atoms.numbers[j[i == k]], D[i == k]) for k in range(len(atoms))]


@pytest.mark.parametrize(("pair", "smooth"), [(None, True), ((14, 32), False)])
def test_rdf_by_neighbours_is_that_of_all_pairs(x64, pair, smooth):
    """By a search of its own and by the potential's list; padding changes nothing."""
    atoms = _liquid(6, seed=1)
    system = System.from_ase(atoms)
    rdf = RDF.of("g", system, 6.0, 25, pair, smooth)
    assert rdf.search is not None
    expected = _value(dataclasses.replace(rdf, search=None), atoms)
    assert np.all(expected[-3:] > 0.5)
    np.testing.assert_allclose(_value(rdf, atoms, padding=5), expected, rtol=1e-12)
    if not smooth:
        crowded = dataclasses.replace(rdf.search, slots=40)
        assert np.all(np.isnan(_value(dataclasses.replace(rdf, search=crowded), atoms)))
    reach = 6.0 + (6 * 0.24 if smooth else 0)
    listed = _value(
        dataclasses.replace(rdf, search=None, images=(0, 0, 0)),
        atoms,
        neighbors=allocate(system, reach, 0.4),
    )
    np.testing.assert_allclose(listed, expected, rtol=1e-12)
    # a list that is too short, or holds pairs once, does not serve
    for short in (allocate(system, 5.0), allocate(system, reach, half=True)):
        assert Frame(system, ZERO, neighbors=short).pairs(reach) is None


def test_lists_follow_a_cell_that_shrinks_by_a_tenth_and_say_when_they_cannot(x64):
    atoms = _liquid(6, seed=2)
    rdf = RDF.of("g", System.from_ase(atoms), 5.0, 10)
    program = jax.jit(lambda s: rdf.snapshot(Frame(s, ZERO))["pairs"])
    for scale, enough in ((0.91, True), (0.75, False)):
        smaller = atoms.copy()
        smaller.set_cell(scale * atoms.cell, scale_atoms=True)
        found = program(System.from_ase(smaller))
        assert bool(jnp.all(jnp.isfinite(found))) == enough
        if enough:
            i, distances = neighbor_list("id", smaller, 5.0)
            expected = np.histogram(distances, 10, (0, 5))[0] * smaller.get_volume() / 216**2
            np.testing.assert_allclose(found, expected, rtol=1e-12)
            assert len(i) > 216 * 40


def test_rdf_is_that_of_mdanalysis(x64):
    """Between two species: its normalisation for one species leaves out 1 - 1/N too."""
    mda = pytest.importorskip("MDAnalysis")
    from MDAnalysis.analysis.rdf import InterRDF

    atoms = _liquid(6, seed=3, skew=0.0)
    atoms.positions = atoms.positions.astype(np.float32)  # as there
    edge = float(np.float32(atoms.cell[0, 0]))
    atoms.set_cell(edge * np.eye(3))
    universe = mda.Universe.empty(216, trajectory=True)
    universe.load_new(atoms.positions[None].astype(np.float32), dimensions=[edge] * 3 + [90] * 3)
    groups = [universe.atoms[atoms.numbers == z] for z in (14, 32)]
    theirs = InterRDF(*groups, nbins=30, range=(0, 6.0)).run().results.rdf
    ours = _value(RDF.of("g", System.from_ase(atoms), 6.0, 30, (14, 32)), atoms)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert not np.allclose(_value(RDF.of("g", System.from_ase(atoms), 6.0, 30), atoms), theirs)


def test_cost_grows_with_neighbours():
    """Operations per atom stay the same in three times the system; of all pairs they do not."""

    def operations(observable, atoms):
        system = System.from_ase(atoms)

        def look(positions):
            return observable.snapshot(Frame(system.replace(positions=positions), ZERO))

        return jax.jit(look).lower(system.positions).cost_analysis()["flops"] / len(atoms)

    small, large = _liquid(8), _liquid(12)
    searches = [Search.of(System.from_ase(atoms), 5.0, 1.5) for atoms in (small, large)]
    for made in (
        RDF("g", 4.0, 20),
        ADF("a", 3.0, 20),
        TCF("t", 2.0, 5.0, 20),
        TetrahedralOrder("q", 5.0),
    ):
        few, many = (dataclasses.replace(made, search=search) for search in searches)
        # the fullest bin of a larger system is a little fuller
        assert 0.7 < operations(many, large) / operations(few, small) < 1.6
    everyone = RDF("g", 4.0, 20, images=(0, 0, 0))
    assert operations(everyone, large) / operations(everyone, small) > 3


ATOMS, EDGE = 60, 8.0


@pytest.fixture(scope="module")
def gas():
    """Snapshots of 200 boxes of points at random, with the box half as wide as the reach is."""
    rng = np.random.default_rng(6)
    places = jnp.asarray(rng.uniform(0, EDGE, (200, ATOMS, 3)), jnp.float32)
    system = System.from_ase(Atoms(f"Ar{ATOMS}", places[0], cell=EDGE * np.eye(3), pbc=True))
    search = dataclasses.replace(Search.of(system, 3.99, 2.0), slots=ATOMS)
    made = {
        "rdf": RDF("rdf", 3.9, 13, search=search),
        "adf": ADF("adf", 3.0, 15, search=search),
        "tcf": TCF("tcf", 1.5, 3.9, 8, search=search),
        "smooth tcf": TCF("smooth tcf", 1.5, 3.0, 8, smooth=True, search=search),
        "q": TetrahedralOrder("q", 3.9, search=search),
        "p(q)": TetrahedralOrderDistribution("p(q)", 3.9, search=search, low=-3.0),
    }

    def look(positions):
        frame = Frame(system.replace(positions=positions), ZERO)
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
        assert np.all(np.abs(mean - expected)[2:] < 4.5 * error[2:]), name
        volume = made[name].axis ** (2 if name == "rdf" else 3)
        mean, error = _mean(each @ volume / volume.sum())
        assert abs(mean - expected) < 4 * error
        assert error < 0.02  # control: a tenth more is seen
        assert abs(1.1 * mean - expected) > 4 * error


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
    assert abs(mean) < 4 * error < 0.02
    density = made["p(q)"].reduce({"q": seen["p(q)"]["q"].mean(axis=0)}, CONTEXT)
    assert density.sum() * 0.04 == pytest.approx(1.0, abs=1e-5)
    assert density @ made["p(q)"].axis * 0.04 == pytest.approx(mean, abs=2e-3)


def test_diamond_is_tetrahedral():
    """In a cell of eight atoms, whose neighbours are images."""
    crystal = bulk("Si", "diamond", 5.431, cubic=True)
    system = System.from_ase(crystal)
    order = TetrahedralOrder.of("q", system, 3.0)
    assert _value(order, crystal, padding=3) == pytest.approx(1.0, abs=1e-6)
    density = _value(TetrahedralOrderDistribution.of("q", system, 3.0), crystal)
    assert density[-1] == pytest.approx(50.0)
    angles = ADF.of("a", system, 3.0, 180)
    found = _value(angles, crystal, padding=3)
    assert np.rad2deg(angles.axis[np.argmax(found)]) == pytest.approx(109.47, abs=0.5)
    assert found.max() * np.pi / 180 == pytest.approx(1.0)
    # no four neighbours, or no room for them: no number
    assert np.isnan(_value(TetrahedralOrder.of("q", system, 2.0), crystal))
    small = dataclasses.replace(order.search, slots=3)
    assert np.isnan(_value(TetrahedralOrder("q", 3.0, search=small), crystal))
    assert np.all(np.isnan(_value(ADF("a", 2.9, 20, search=small), crystal)))


@pytest.mark.parametrize(
    ("triple", "spread", "smooth"),
    [(None, 0.0, False), ((14, 14, 32), 0.1, True), ((32, 14, 32), 0.3, False)],
)
def test_adf_by_hand(x64, triple, spread, smooth):
    from scipy.stats import norm

    atoms, cutoff, bins = _liquid(seed=4), 3.3, 24
    adf = ADF.of("a", System.from_ase(atoms), cutoff, bins, triple, spread, smooth)
    width, expected = np.pi / bins, np.zeros(bins)
    for centre, (numbers, vectors) in zip(
        atoms.numbers, _around(atoms, cutoff + 5 * spread), strict=True
    ):
        for i, k in itertools.permutations(range(len(numbers)), 2):
            if triple not in (None, (numbers[i], centre, numbers[k])):
                continue
            lengths = np.linalg.norm(vectors[[i, k]], axis=1)
            angle = np.arccos(vectors[i] @ vectors[k] / lengths.prod())
            far = max(lengths) - cutoff
            weight = float(far < 0) if spread == 0 else 1 - norm.cdf(far / spread)
            if smooth:
                expected += weight * np.exp(-((angle - adf.axis) ** 2) / (2 * width**2))
            else:
                expected[int(angle / width)] += weight
    expected /= expected.sum() * width
    found = _value(adf, atoms, padding=4)
    assert expected.max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-6 if smooth else 1e-10)
    # a potential's list that reaches further: the closest are taken, and all found
    long = allocate(System.from_ase(atoms), 6.0)
    np.testing.assert_allclose(_value(adf, atoms, neighbors=long), found, atol=1e-10)
    fewer = dataclasses.replace(adf, search=dataclasses.replace(adf.search, slots=4))
    assert np.all(np.isnan(_value(fewer, atoms, neighbors=long)))


@pytest.mark.parametrize(("element", "smooth"), [(None, False), (14, True)])
def test_tcf_by_hand(x64, element, smooth):
    """Smooth, with the product of three Gaussians of the relative-entropy paper."""
    atoms, low, high, bins = _liquid(seed=5), 1.8, 4.2, 8
    width = (high - low) / bins
    tcf = TCF.of("t", System.from_ase(atoms), low, high, bins, element, smooth)
    r, expected = tcf.axis, np.zeros(bins)
    kept = atoms[[element in (None, z) for z in atoms.numbers]]
    for _, vectors in _around(kept, high + 6 * width):
        lengths = np.linalg.norm(vectors, axis=1)
        third = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
        for i, k in itertools.permutations(range(len(vectors)), 2):
            sides = np.array([lengths[i], lengths[k], third[i, k]])
            if smooth:
                away = (sides[:, None] - r) / width
                expected += np.exp(-(away**2).sum(axis=0) / 2) / (2 * np.pi) ** 1.5
            else:
                places = np.floor((sides - low) / width).astype(int)
                if np.ptp(places) == 0 and 0 <= places[0] < bins:
                    expected[places[0]] += 1
    density = len(kept) / atoms.get_volume()
    expected /= len(kept) * density**2 * 8 * np.pi**2 * r**3 * width**3
    assert expected.max() > 0.5
    found = _value(tcf, atoms, padding=4)
    np.testing.assert_allclose(found, expected, rtol=1e-5 if smooth else 1e-10, atol=1e-6)
    small = dataclasses.replace(tcf.search, slots=9)
    assert np.all(np.isnan(_value(dataclasses.replace(tcf, search=small), atoms)))


@pytest.mark.parametrize("element", [None, 14])
def test_tetrahedral_order_by_hand(x64, element):
    atoms = _liquid(seed=6)
    kept = atoms[[element in (None, z) for z in atoms.numbers]]
    q = []
    for _, vectors in _around(kept, 7.0):
        vectors = sorted(vectors, key=np.linalg.norm)[:4]
        unit = [v / np.linalg.norm(v) for v in vectors]
        terms = [(a @ b + 1 / 3) ** 2 for a, b in itertools.combinations(unit, 2)]
        q.append(1 - 3 / 8 * sum(terms))
    order = TetrahedralOrder.of("q", System.from_ase(atoms), 5.5, element)
    assert _value(order, atoms, padding=2) == pytest.approx(np.mean(q), rel=1e-12)
    assert np.std(q) > 0.1
    density = TetrahedralOrderDistribution.of("q", System.from_ase(atoms), 5.5, element, bins=20)
    expected = np.histogram(q, 20, (-1, 1))[0] / len(q) / 0.1
    np.testing.assert_allclose(_value(density, atoms, padding=2), expected, atol=1e-12)


def test_smooth_curves_are_differentiable_in_positions(x64):
    """Against central differences; the control, sharp bins, has no derivative at all."""
    atoms = _liquid(seed=7)
    system = System.from_ase(atoms)
    made = [
        RDF("g", 4.0, 10, smooth=True, search=Search.of(system, 6.5, 1.5)),
        ADF.of("a", system, 3.2, 12, spread=0.2, smooth=True),
        TCF.of("t", system, 2.0, 4.0, 6, smooth=True),
        TetrahedralOrder.of("q", system, 5.5),
        RDF("s", 4.0, 10, search=Search.of(system, 4.0, 1.5)),
    ]
    rng = np.random.default_rng(8)
    weights = [jnp.asarray(rng.normal(size=() if o.axis is None else o.axis.shape)) for o in made]
    direction = jnp.asarray(rng.normal(size=atoms.positions.shape))

    def losses(step):
        frame = Frame(system.replace(positions=system.positions + step * direction), ZERO)
        values = [o.reduce(o.snapshot(frame), CONTEXT) for o in made]
        return jnp.stack([jnp.sum(w * v) for w, v in zip(weights, values, strict=True)])

    def slopes(step):
        return jax.jvp(losses, (step,), (1.0,))[1]

    def gradients(positions):
        def one(positions, k):
            frame = Frame(system.replace(positions=positions), ZERO)
            return jnp.sum(weights[k] * made[k].reduce(made[k].snapshot(frame), CONTEXT))

        return [jnp.sum(jax.grad(one)(positions, k) * direction) for k in (0, 1)]

    h = 1e-5
    value = jax.jit(losses)
    difference = (value(h) - value(-h)) / (2 * h)
    found = jax.jit(slopes)(0.0)
    np.testing.assert_allclose(found[:4], difference[:4], rtol=1e-4)
    assert np.all(np.abs(found[:4]) > 1e-3)
    assert found[4] == 0
    # backwards too
    np.testing.assert_allclose(jax.jit(gradients)(system.positions), found[:2], rtol=1e-9)


def test_open_systems_and_what_no_list_serves():
    """All pairs of a molecule serve any reach; elements must exist, and lists reach far enough."""
    atoms = _liquid(2, seed=9)
    atoms.pbc = False
    system = System.from_ase(atoms)
    everyone = AllPairs(jnp.asarray(False))
    angles = ADF.of("a", system, 3.5, 18)
    found = _value(angles, atoms, neighbors=everyone)
    np.testing.assert_allclose(found, _value(angles, atoms, padding=2), rtol=1e-5)
    assert found.max() > 0
    near = triplets(nearby(Frame(system, ZERO, neighbors=everyone), 3.0, None), None)
    assert near.species.shape == (8, 8)
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
