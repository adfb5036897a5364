"""Boltzmann estimators, global and localized, against exact derivatives of exact samples."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.errors import UserError
from bayespot.neighbors import allocate
from bayespot.observables import (
    RDF,
    VACF,
    BondDistribution,
    Context,
    Frame,
    MeanEnergy,
)
from bayespot.potentials import Potential
from bayespot.reweight import Samples, State, average, energies, log_weights, snapshots
from bayespot.system import System
from bayespot.trainers import Neighborhoods, PerNeighborhood, Target
from bayespot.trainers.boltzmann import Boltzmann, covariance_weights
from bayespot.units import BOLTZMANN
from tests.physics.traps import Spread

pytestmark = pytest.mark.usefixtures("compile_fast")
ATOMS = 6
SYSTEM = System.from_ase(Atoms(f"C{ATOMS}", np.zeros((ATOMS, 3))))
KT = BOLTZMANN * 300.0
LISTS = allocate(SYSTEM, 0.0, 0.0)
ALONE = tuple((i,) for i in range(ATOMS))


@dataclasses.dataclass(frozen=True)
class Trap(Potential):
    """Every atom on a spring of its own, and a quartic one: ``k/2 x^2 + q x^4``."""

    @property
    def cutoff(self):
        return 0.0

    def init(self, key, system):
        return {"log_k": jnp.zeros(()), "quartic": jnp.zeros(())}

    def atomic_energies(self, params, system, neighbors):
        square = jnp.sum(system.positions**2, axis=-1)
        return 0.5 * jnp.exp(params["log_k"]) * square + params["quartic"] * square**2


PARAMS = {"log_k": jnp.asarray(0.3), "quartic": jnp.asarray(0.0)}
VARIANCE = KT / np.exp(0.3)


def _samples(key, frames):
    positions = jax.random.normal(key, (frames, ATOMS, 3)) * np.sqrt(VARIANCE)
    cells = jnp.broadcast_to(jnp.eye(3), (frames, 3, 3))
    return Samples(positions, cells, jnp.zeros(frames))


def _slope(observable):
    """A target so far away that the gradient of its loss is that of the average."""
    return Target(observable, -1000.0, np.sqrt(2000.0))


def _estimator(*targets, **more):
    atoms = 1 if "neighborhoods" in more else ATOMS
    return Boltzmann(Trap(), SYSTEM, targets, Context(300.0, atoms), **more)


def _gradients(estimator, frames, repeats=4000):
    """d<.>/d log k from ``repeats`` independent sets of samples."""

    def one(key):
        draw, use = jax.random.split(key)
        samples = _samples(draw, frames)
        return estimator.differentiate(PARAMS, samples, LISTS, use)[1]["log_k"]

    keys = jax.random.split(jax.random.key(frames), repeats)
    return np.asarray(jax.jit(jax.vmap(one))(keys), float)


def _z(values, exact):
    return (values.mean() - exact) / (values.std() / np.sqrt(len(values)))


def test_the_estimator_is_unbiased_at_any_number_of_samples():
    """d<x^2>/d log k = -kT/k.  Without N/(N-1), four samples miss a quarter of it."""
    exact = -VARIANCE
    for frames, states in ((4, None), (14, 4), (3, 8)):
        found = _gradients(_estimator(_slope(Spread()), states=states), frames)
        assert abs(_z(found, exact)) < 4
        each = min(frames, states or frames)
        assert abs(_z(found * (each - 1) / each, exact)) > 6
        assert abs(_z(-found, exact)) > 20


def test_energies_are_differentiated_too():
    """<U> is 3/2 N kT whatever k: its own slope and the law's cancel."""
    found = _gradients(_estimator(_slope(MeanEnergy("energy"))), 4)
    assert abs(_z(found, 0.0)) < 4
    # either part alone
    assert 10 * found.std() / np.sqrt(len(found)) < 1.5 * ATOMS * KT


def test_the_gradient_is_that_of_reweighting_but_for_the_number_of_samples(x64):
    """Curves and numbers, and a loss that is not linear: N/(N-1) of the derivative through
    weights."""
    curve = BondDistribution("curve", ((0, 1), (2, 3)), 0.0, 1.0, 7)
    targets = (
        Target(curve, np.linspace(0, 2, 7), 0.3, weight=2.0),
        Target(Spread(), 0.05, 0.01),
    )
    estimator = _estimator(*targets, batch_size=3)
    rng = np.random.default_rng(0)
    samples = Samples(
        jnp.asarray(rng.normal(0, 0.2, (10, ATOMS, 3))), jnp.zeros((10, 3, 3)) + jnp.eye(3),
        jnp.zeros(10),
    )  # fmt: skip
    params = {"log_k": jnp.asarray(0.3), "quartic": jnp.asarray(0.2)}
    found, gradient = jax.jit(estimator.differentiate)(params, samples, LISTS, jax.random.key(0))
    fixed, drawn, _ = snapshots([curve, Spread()], Trap(), params, SYSTEM, samples, LISTS)

    def loss(params):
        energy = energies(Trap(), params, SYSTEM, samples, LISTS)[0]
        means = average(log_weights(energy, drawn, State(300.0)), fixed)
        made = [t.observable.reduce(means[t.observable.name], Context(300.0, 6)) for t in targets]
        return sum(t.loss(x) for t, x in zip(targets, made, strict=True))

    value, through_weights = jax.jit(jax.value_and_grad(loss))(params)
    assert float(found.loss) == pytest.approx(float(value), rel=1e-10)
    for name, slope in through_weights.items():
        assert float(gradient[name]) == pytest.approx(float(slope) * 10 / 9, rel=1e-8)
    assert found.values[0].shape == (7,)


def test_neighborhoods_have_the_same_mean_and_less_noise():
    """Atoms that know nothing of each other: in the whole system, the energies of five others
    are noise."""
    whole = _gradients(_estimator(_slope(Spread())), 4)
    parts = _estimator(_slope(Spread()), neighborhoods=Neighborhoods(ALONE, per_bin=None))
    local = _gradients(parts, 4)
    for found in (whole, local):
        assert abs(_z(found, -VARIANCE)) < 4
        assert abs(_z(found * 0.85, -VARIANCE)) > 4
    # of a sample variance: excess/n + 2/(n - 1), of 18 squares in 4 samples and 3 in 24
    law = (12 / 18 / 4 + 2 / 3) / (12 / 3 / 24 + 2 / 23)
    assert whole.var() / local.var() == pytest.approx(law, rel=0.25)


def test_pairs_are_samples_of_their_own(x64):
    """Averages, energies and deviations of groups, one by one."""
    groups = ((4, 0), (1, 5))
    parts = Neighborhoods(groups, ((0, 1),), (0.3,), bins=4, per_bin=1)
    rng = np.random.default_rng(1)
    positions = rng.normal(0, 0.3, (3, ATOMS, 3))
    samples = Samples(jnp.asarray(positions), jnp.zeros((3, 3, 3)) + jnp.eye(3), jnp.zeros(3))
    bond = BondDistribution("bond", ((0, 1),), 0.0, 2.0, 5)
    made, energy, deviation, _ = jax.jit(
        lambda: parts.snapshots([Spread(), bond], Trap(), PARAMS, SYSTEM, samples, LISTS, 2)
    )()
    index = np.asarray(groups)
    chosen = positions[:, index].reshape(6, 2, 3)
    np.testing.assert_allclose(made["spread"]["square"], np.mean(chosen**2, axis=(1, 2)))
    assert made["bond"]["counts"].shape == (6, 5)
    np.testing.assert_allclose(energy, 0.5 * np.exp(0.3) * np.sum(chosen**2, axis=(1, 2)), 1e-6)
    length = np.linalg.norm(chosen[:, 1] - chosen[:, 0], axis=1)
    np.testing.assert_allclose(deviation, np.abs(length - 0.3))


def test_a_report_averages_over_all_groups(x64):
    """What ``snapshots`` has of each, balance aside."""
    groups = ((4, 0), (1, 5), (2, 3))
    positions = jnp.asarray(np.random.default_rng(2).normal(0, 0.3, (ATOMS, 3)))
    here = SYSTEM.replace(positions=positions)
    bond = BondDistribution("bond", ((0, 1),), 0.0, 2.0, 5)
    parts = Neighborhoods(groups, per_bin=None)
    samples = Samples(positions[None], SYSTEM.cell[None], jnp.zeros(1))
    for one in (Spread(), bond, MeanEnergy("u")):
        each, *_ = parts.snapshots([one], Trap(), PARAMS, SYSTEM, samples, LISTS)
        whole = PerNeighborhood.of(one, groups)
        made = whole.snapshot(Frame(here, jnp.zeros(()), None, LISTS, Trap(), PARAMS))
        for key, values in each[one.name].items():
            np.testing.assert_allclose(made[key], np.mean(values, axis=0))
        assert (whole.name, whole.unit, whole.shape) == (one.name, one.unit, one.shape)
        reduced = one.reduce(made, Context(300.0, 2, 0.0))
        np.testing.assert_array_equal(whole.reduce(made, Context(300.0, ATOMS, 5.0)), reduced)


def test_balanced_samples():
    """Few of many healthy groups, all of the rare broken ones, each healthy one as often."""
    parts = Neighborhoods(ALONE, ((0, 0),), (0.1,), bins=10, per_bin=5)
    deviation = jnp.concatenate([jnp.linspace(0.0, 0.09, 200), jnp.asarray([0.55, 0.57, 1.0])])
    keys = jax.random.split(jax.random.key(0), 4000)
    chosen = np.asarray(jax.jit(jax.vmap(lambda key: parts.choose(deviation, key)))(keys))
    assert (chosen[:, :200].sum(axis=1) == 5).all()
    wider = np.asarray(jax.jit(jax.vmap(lambda key: parts.choose(7 * deviation, key)))(keys[:5]))
    np.testing.assert_array_equal(wider, chosen[:5])  # bins reach to the largest
    assert chosen[:, 200:].all()
    often = chosen[:, :200].sum(axis=0)  # 100 on average
    assert np.sum((often - 100) ** 2 / (100 * 0.975)) < 300  # chi^2 of 199, five sigma
    assert often.min() > 50
    # averages and covariances are those of the chosen ones
    values = jnp.asarray(np.random.default_rng(2).normal(size=203))
    slope = np.random.default_rng(3).normal(size=203)
    weights = covariance_weights(values, jnp.asarray(chosen[0]), 0.5, None, keys[0])
    exact = -np.cov(np.asarray(values)[chosen[0]], slope[chosen[0]])[0, 1] / 0.5
    assert float(weights @ slope) == pytest.approx(exact, rel=1e-4)


def test_the_direct_part_is_of_chosen_samples(x64):
    """One of many is chosen: nothing varies, and its energy k x^2/2 has itself as its slope."""
    parts = Neighborhoods(ALONE, ((0, 0),), (0.1,), bins=1, per_bin=1)
    estimator = _estimator(_slope(MeanEnergy("u")), neighborhoods=parts)
    found, gradient = jax.jit(estimator.differentiate)(
        PARAMS, _samples(jax.random.key(0), 3), LISTS, jax.random.key(1)
    )
    energy = float(found.values[0])
    assert energy > 1e-4
    assert float(gradient["log_k"]) == pytest.approx(energy * (1 + energy / 1000), rel=1e-6)


def test_neighborhoods_are_checked():
    with pytest.raises(UserError, match=r"have \[1, 2\] atoms"):
        Neighborhoods(((0,), (1, 2)), per_bin=None)
    with pytest.raises(UserError, match="0 bonds and 0 lengths"):
        Neighborhoods(ALONE)
    with pytest.raises(UserError, match="not between two of their atoms"):
        Neighborhoods(((0, 1),), ((0, 2),), (1.0,))
    with pytest.raises(UserError, match="0 neighbourhoods from each"):
        Neighborhoods(((0, 1),), ((0, 1),), (1.0,), per_bin=0)
    with pytest.raises(UserError, match="atoms 5 to 6, and there are 6"):
        Neighborhoods(((5, 6),), per_bin=None).check(SYSTEM, [])
    pair = Neighborhoods(((0, 1),), per_bin=None)
    pair.check(SYSTEM, [Spread(), RDF("r", 2.0, 3)])
    with pytest.raises(UserError, match="looks back in time"):
        pair.check(SYSTEM, [VACF("v", 4, 10.0)])

    class Kinetic(Spread):
        def snapshot(self, frame):
            return {"kinetic": jnp.mean(frame.momenta**2)}

    with pytest.raises(UserError, match="needs more than the positions"):
        pair.check(SYSTEM, [Kinetic()])
