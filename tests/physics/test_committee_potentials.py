"""The mean of a committee, its weighted baseline and its bias, against sums written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from bayespot.neighbors import allocate
from bayespot.potentials import (
    Biased,
    CommitteeMean,
    Fallback,
    LennardJones,
    PairMLP,
    StillingerWeber,
    Sum,
    WeightedBaseline,
    energy_and_forces,
)
from bayespot.potentials.serial import from_json, to_json
from bayespot.system import System

pytestmark = pytest.mark.usefixtures("compile_fast")
MEMBER = LennardJones(3.4, 0.0103, 8.0, trainable=True)
BASELINE = LennardJones(3.0, 0.02, 6.0)
SIGMA, EPSILON = np.array([3.3, 3.4, 3.55]), np.array([0.009, 0.011, 0.012])


def _params(log=jnp.log):
    return {"log_sigma": log(jnp.asarray(SIGMA)), "log_epsilon": log(jnp.asarray(EPSILON))}


def _system(seed=0):
    atoms = bulk("Ar", "fcc", a=5.2, cubic=True).repeat((2, 2, 2))
    atoms.rattle(0.1, seed=seed)
    return System.from_ase(atoms)


def _members(system):
    lists = allocate(system, 8.0, 0.5)
    made = [
        energy_and_forces(LennardJones(s, e, 8.0), {}, system, lists)
        for s, e in zip(SIGMA, EPSILON, strict=True)
    ]
    return np.array([m[0] for m in made], float), np.array([m[1] for m in made], float)


def _of(potential, params, system):
    energy, forces = energy_and_forces(potential, params, system, allocate(system, 8.0, 0.5))
    return float(energy), np.asarray(forces)


def _baseline(system):
    return _of(BASELINE, {}, system)


def test_mean_and_single_members(x64):
    system = _system()
    energies, forces = _members(system)
    for driving, rows in (((), slice(None)), ((2,), [2]), ((0, 2), [0, 2])):
        energy, force = _of(CommitteeMean(MEMBER, 3, driving), _params(), system)
        assert energy == pytest.approx(energies[rows].mean(), rel=1e-12)
        np.testing.assert_allclose(force, forces[rows].mean(axis=0), atol=1e-12)
    found = CommitteeMean(MEMBER, 3).member_forces(_params(), system, allocate(system, 8.0, 0.5))
    np.testing.assert_allclose(found[0], energies, rtol=1e-12)
    np.testing.assert_allclose(found[1], forces, atol=1e-12)


def test_weighted_baseline_is_imbalzanos_formula(x64):
    system = _system()
    (energies, forces), (below, pull) = _members(system), _baseline(system)
    error = 0.3
    made = WeightedBaseline(CommitteeMean(MEMBER, 3), BASELINE, error)
    energy, force = _of(made, {"members": _params(), "baseline": {}}, system)
    variance, gap = energies.var(ddof=1), energies.mean() - below
    weight = error**2 / (error**2 + variance)
    assert 0.05 < weight < 0.95
    assert energy == pytest.approx(below + weight * gap, rel=1e-12)
    # the weight has a gradient too: d(variance)/dr = 2 cov(U, dU/dr)
    slope = 2 * np.tensordot(energies - energies.mean(), -forces, axes=1) / 2
    down = -(weight**2) / error**2 * slope * gap
    expected = pull + weight * (forces.mean(axis=0) - pull) - down
    np.testing.assert_allclose(force, expected, atol=1e-10)
    assert np.abs(down).max() > 1e-3  # without it the forces would not conserve the energy


def test_bias_lowers_the_energy_where_members_disagree(x64):
    system = _system()
    energies, forces = _members(system)
    depth, width = 2.0, 0.1
    energy, force = _of(Biased(CommitteeMean(MEMBER, 3), depth, width), _params(), system)
    scaled = energies.var(ddof=1) / (32 * width**2)
    assert 0.1 < scaled < 3
    assert energy == pytest.approx(energies.mean() + depth * (np.exp(-scaled) - 1), rel=1e-12)
    slope = np.tensordot(energies - energies.mean(), -forces, axes=1) / (32 * width**2)
    expected = forces.mean(axis=0) + depth * np.exp(-scaled) * slope
    np.testing.assert_allclose(force, expected, atol=1e-10)


def test_fallback_is_one_or_the_other(x64):
    system = _system()
    made = Fallback(CommitteeMean(MEMBER, 3), BASELINE)
    params = {"members": _params(), "baseline": {}}
    energies, forces = _members(system)
    for potential in (made, made.switched(jnp.asarray(False))):
        energy, force = _of(potential, params, system)
        assert energy == pytest.approx(energies.mean(), rel=1e-12)
        np.testing.assert_allclose(force, forces.mean(axis=0), atol=1e-12)
    energy, force = _of(made.switched(jnp.asarray(True)), params, system)
    below, pull = _baseline(system)
    assert energy == pytest.approx(below, rel=1e-12)
    np.testing.assert_allclose(force, pull, atol=1e-12)


def test_members_that_agree_need_neither_baseline_nor_bias(x64):
    system = _system()
    same = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), _params())
    committee = CommitteeMean(MEMBER, 3)
    plain = _of(committee, same, system)
    weighted = WeightedBaseline(committee, BASELINE, 0.01)
    for potential, params in (
        (weighted, {"members": same, "baseline": {}}),
        (Biased(committee, 5.0, 0.01), same),
    ):
        energy, force = _of(potential, params, system)
        assert energy == pytest.approx(plain[0], rel=1e-10)
        np.testing.assert_allclose(force, plain[1], atol=1e-9)


def test_one_member_is_no_committee():
    with pytest.raises(ValueError, match="at least two"):
        CommitteeMean(MEMBER, 1)
    with pytest.raises(ValueError, match="among 3 members"):
        CommitteeMean(MEMBER, 3, (3,))


@pytest.mark.parametrize(
    "potential",
    [
        MEMBER,
        Sum((PairMLP(range=4.0), StillingerWeber())),
        CommitteeMean(MEMBER, 3, (1,)),
        WeightedBaseline(CommitteeMean(MEMBER, 2), BASELINE, 0.5),
    ],
    ids=lambda p: type(p).__name__,
)
def test_potentials_survive_json(potential):
    import json

    again = from_json(json.loads(json.dumps(to_json(potential))))
    assert again == potential
    assert repr(again) == repr(potential)
