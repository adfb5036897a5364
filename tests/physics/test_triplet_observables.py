"""ADF, TCF and tetrahedral order of crystals and liquids: counting by hand, derivatives."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from scipy.stats import norm

from bayespot.neighbors import Grid, NeighborList
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
from tests.physics.liquid import CONTEXT, ZERO, around, liquid, program

pytestmark = pytest.mark.usefixtures("compile_fast")


def test_diamond_is_tetrahedral():
    """In a cell of eight atoms, whose neighbours are images."""
    crystal = bulk("Si", "diamond", 5.431, cubic=True)
    search = Search(3.0, 6, Grid((1, 1, 1), (1, 1, 1), 8))
    small = dataclasses.replace(search, slots=3)
    made = {
        "q": TetrahedralOrder("q", 3.0, search=search),
        "p": TetrahedralOrderDistribution("p", 3.0, search=search),
        "a": ADF("a", 3.0, 180, spread=0.0, search=search),
        "no four": TetrahedralOrder("q", 2.0, search=search),
        "no room": TetrahedralOrder("q", 3.0, search=small),
    }
    found = program(made)(System.from_ase(crystal, 11))
    assert found["q"] == pytest.approx(1.0, abs=1e-6)
    assert found["p"][-1] == pytest.approx(50.0)
    peak = np.rad2deg(made["a"].axis[np.argmax(found["a"])])
    assert peak == pytest.approx(109.47, abs=0.5)
    assert found["a"].max() * np.pi / 180 == pytest.approx(1.0)
    assert np.isnan(found["no four"])
    assert np.isnan(found["no room"])


@pytest.fixture(scope="module")
def fast():
    """``compile_fast`` for what is shared by tests."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


WIDE = Search(6.0, 84, Grid((1, 1, 1), (2, 2, 2), 27))
"""For a liquid of 27 atoms."""


@pytest.fixture(scope="module")
def by_hand(fast):
    """(atoms, observables, their values) of an irregular liquid in a small skewed cell."""
    with jax.enable_x64(True):
        atoms = liquid(seed=4)
        system = System.from_ase(atoms, 31)
        few = dataclasses.replace(WIDE, slots=50)
        made = {
            "adf": ADF("a", 3.3, 24, spread=0.0, search=few),
            "adf ssg": ADF("a", 3.3, 24, (14, 14, 32), 0.1, True, few),
            "adf gsg": ADF("a", 3.3, 24, (32, 14, 32), 0.3, search=few),
            "tcf": TCF("t", 1.8, 4.2, 8, search=WIDE),
            "tcf s": TCF("t", 1.8, 4.2, 8, 14, True, WIDE),
            "q": TetrahedralOrder("q", 5.5, search=WIDE),
            "q s": TetrahedralOrder("q", 5.5, 14, search=WIDE),
            "p": TetrahedralOrderDistribution("p", 5.5, search=WIDE, bins=20),
            "crowded": ADF("a", 3.3, 24, search=dataclasses.replace(WIDE, slots=4)),
        }
        list_of_all = jax.jit(WIDE.lists)(system)
        assert isinstance(list_of_all, NeighborList)
        assert not list_of_all.overflow
        found = program(made)(system, list_of_all)
        # by their own searches
        some = {"tcf": made["tcf"]}
        some["adf ssg"] = ADF.of("a", system, 3.3, 24, (14, 14, 32), 0.1, True)
        for name, value in program(some)(system).items():
            np.testing.assert_allclose(value, found[name], rtol=1e-10, err_msg=name)
    return atoms, made, found


@pytest.mark.parametrize("name", ["adf", "adf ssg", "adf gsg"])
def test_adf_by_hand(by_hand, name):
    atoms, made, found = by_hand
    adf = made[name]
    width, expected = np.pi / 24, np.zeros(24)
    for centre, (numbers, vectors) in zip(
        atoms.numbers, around(atoms, 3.3 + 5 * adf.spread), strict=True
    ):
        lengths = np.linalg.norm(vectors, axis=1)
        i, k = np.nonzero(~np.eye(len(numbers), dtype=bool))
        if adf.triple is not None:
            first, middle, last = adf.triple
            right = (numbers[i] == first) & (numbers[k] == last) & (centre == middle)
            i, k = i[right], k[right]
        angles = np.arccos(np.sum(vectors[i] * vectors[k], axis=1) / lengths[i] / lengths[k])
        beyond = np.maximum(lengths[i], lengths[k]) - 3.3
        weights = (beyond < 0) * 1.0 if adf.spread == 0 else 1 - norm.cdf(beyond / adf.spread)
        if adf.smooth:
            expected += weights @ np.exp(-(((angles[:, None] - adf.axis) / width) ** 2) / 2)
        else:
            expected += np.histogram(angles, 24, (0, np.pi), weights=weights)[0]
    expected /= expected.sum() * width
    assert expected.max() > 0.5
    np.testing.assert_allclose(found[name], expected, atol=2e-6 if adf.smooth else 1e-10)
    # the list of the potential holds all, but there is no room for all
    assert np.all(np.isnan(found["crowded"]))


@pytest.mark.parametrize("name", ["tcf", "tcf s"])
def test_tcf_by_hand(by_hand, name):
    """Smooth, with the product of three Gaussians of the relative-entropy paper."""
    atoms, made, found = by_hand
    tcf, width, expected = made[name], 0.3, np.zeros(8)
    kept = atoms[[tcf.element in (None, z) for z in atoms.numbers]]
    for _, vectors in around(kept, 6.0):
        lengths = np.linalg.norm(vectors, axis=1)
        third = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
        i, k = np.nonzero(~np.eye(len(vectors), dtype=bool))
        sides = np.array([lengths[i], lengths[k], third[i, k]])
        if tcf.smooth:
            away = (sides[..., None] - tcf.axis) / width
            expected += np.exp(-(away**2).sum(axis=0) / 2).sum(axis=0) / (2 * np.pi) ** 1.5
        else:
            places = np.floor((sides - 1.8) / width).astype(int)
            equal = (np.ptp(places, axis=0) == 0) & (places[0] >= 0) & (places[0] < 8)
            expected += np.bincount(places[0, equal], minlength=8)
    density = len(kept) / atoms.get_volume()
    expected /= len(kept) * density**2 * 8 * np.pi**2 * (tcf.axis * width) ** 3
    assert expected.max() > 0.5
    np.testing.assert_allclose(found[name], expected, rtol=1e-4 if tcf.smooth else 1e-10)


@pytest.mark.parametrize("name", ["q", "q s"])
def test_tetrahedral_order_by_hand(by_hand, name):
    atoms, made, found = by_hand
    q = []
    for _, vectors in around(atoms[[made[name].element in (None, z) for z in atoms.numbers]], 7.0):
        unit = [v / np.linalg.norm(v) for v in sorted(vectors, key=np.linalg.norm)[:4]]
        terms = [(a @ b + 1 / 3) ** 2 for a, b in itertools.combinations(unit, 2)]
        q.append(1 - 3 / 8 * sum(terms))
    assert found[name] == pytest.approx(np.mean(q), rel=1e-12)
    assert np.std(q) > 0.1
    if name == "q":
        expected = np.histogram(q, 20, (-1, 1))[0] / len(q) / 0.1
        np.testing.assert_allclose(found["p"], expected, atol=1e-12)


def test_smooth_curves_are_differentiable_in_positions(x64):
    """Against central differences; the control, sharp bins, has no derivative at all."""
    atoms = liquid(seed=7)
    system = System.from_ase(atoms)
    few = dataclasses.replace(WIDE, slots=40)
    lists = jax.jit(WIDE.lists)(system)
    made = [
        RDF("g", 4.0, 12, smooth=True, search=WIDE),
        ADF("a", 3.2, 12, spread=0.2, smooth=True, search=few),
        TCF("t", 2.0, 4.0, 6, smooth=True, search=WIDE),
        TetrahedralOrder("q", 5.5),
        RDF("s", 4.0, 12),
    ]
    rng = np.random.default_rng(8)
    weights = [jnp.asarray(rng.normal(size=() if o.axis is None else o.axis.shape)) for o in made]
    direction = jnp.asarray(rng.normal(size=atoms.positions.shape))

    def losses(positions):
        here = system.replace(positions=positions)
        # the first has to search; the others follow a list that was made before
        frames = [Frame(here, ZERO)] + 4 * [Frame(here, ZERO, neighbors=lists)]
        values = [o.reduce(o.snapshot(f), CONTEXT) for o, f in zip(made, frames, strict=True)]
        return jnp.stack([jnp.sum(w * v) for w, v in zip(weights, values, strict=True)])

    @jax.jit
    def both(x):
        return losses(x), jax.jacrev(losses)(x)

    h, x = 1e-5, system.positions
    difference = (both(x + h * direction)[0] - both(x - h * direction)[0]) / (2 * h)
    found = np.sum(both(x)[1] * direction, axis=(1, 2))
    np.testing.assert_allclose(found[:4], difference[:4], rtol=1e-4)
    assert np.all(np.abs(found[:4]) > 1e-3)
    assert found[4] == 0
