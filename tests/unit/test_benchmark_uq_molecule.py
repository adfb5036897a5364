"""Molecules of the coverage benchmark: Monte Carlo of the truth, its file, and the case."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import units

from bayespot.potentials import Potential
from bayespot.uncertainty import draw_values, estimate
from benchmarks.uq import molecule, molecule_truth, xtb
from benchmarks.uq.case import PLACES
from benchmarks.uq.methods import Recipe

KELVIN = 400.0
STIFFNESS, CUBIC, LENGTH = 8.0, 12.0, 1.2  # eV/Å², eV/Å³, Å
MASSES = np.array([12.0, 4.0])


def _bond(positions):
    """Energy and forces of two atoms on an anharmonic spring."""
    gap = positions[:, 1] - positions[:, 0]
    r = np.linalg.norm(gap, axis=-1)
    s = r - LENGTH
    slope = STIFFNESS * s - CUBIC * s**2 + 4 * 20 * s**3
    push = (slope / r)[:, None] * gap
    return _energy(r), np.stack([push, -push], axis=1)


def _energy(r):
    s = r - LENGTH
    return STIFFNESS / 2 * s**2 - CUBIC / 3 * s**3 + 20 * s**4


def _crude(label):
    """A mover whose spring is too soft by a third and has its rest elsewhere."""
    rng = np.random.default_rng(1)
    positions = np.zeros((40, 2, 3))
    positions[:, 1, 0] = LENGTH + 0.1 * rng.normal(size=40)
    surrogate = xtb.Surrogate(2, positions)
    energy, forces = label(positions)
    surrogate.fit(positions, 0.65 * energy, 0.65 * forces + 0.0)
    return surrogate, positions


def _mean_energy(label, surrogate, positions):
    rng = np.random.default_rng(2)
    at = xtb.Walkers(np.tile(positions, (20, 1, 1)), *label(np.tile(positions, (20, 1, 1))))
    move = xtb.mover(surrogate, MASSES)
    seen, accepted = [], []
    for count in range(40):
        at, share = xtb.step(rng, at, KELVIN, MASSES, move, label)
        if count >= 10:
            seen.append(_energy(np.linalg.norm(at.positions[:, 1] - at.positions[:, 0], axis=-1)))
            accepted.append(share)
    blocks = np.mean(seen, axis=0).reshape(40, -1).mean(axis=1)
    return blocks.mean(), blocks.std(ddof=1) / np.sqrt(40), np.mean(accepted)


@functools.cache
def _exact():
    r = np.linspace(0.4, 2.2, 4001)
    weight = r**2 * np.exp(-_energy(r) / (units.kB * KELVIN))
    return float(np.sum(weight * _energy(r)) / np.sum(weight))


def test_a_crude_polynomial_moves_walkers_of_the_truth():
    surrogate, positions = _crude(_bond)
    value, error, accepted = _mean_energy(_bond, surrogate, positions)
    assert error < 0.03 * _exact()
    assert abs(value - _exact()) < 4 * error
    assert 0.5 < accepted < 0.98, "crude, and not hopeless"


def test_without_the_truth_they_are_elsewhere():
    """Control: the same walkers, accepted by the polynomial's own energy."""
    surrogate, positions = _crude(_bond)

    def own(x):
        return np.asarray(jax.vmap(surrogate.energy)(jnp.asarray(x, float)), float), np.zeros_like(
            x
        )

    value, error, _ = _mean_energy(own, surrogate, positions)
    assert abs(value - _exact()) > 8 * error


def test_a_polynomial_learns_forces_that_are_one():
    """Distances to the second power and less, of three atoms."""
    rng = np.random.default_rng(3)
    x = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1.2, 0]]) + 0.1 * rng.normal(size=(60, 3, 3))

    def energy(x):
        d = jnp.linalg.norm(x[np.array([0, 0, 1])] - x[np.array([1, 2, 2])], axis=-1)
        return 3 * (d[0] - 1) ** 2 + (d[1] - 1.1) * (d[2] - 1.4) + 0.5 * d[2]

    labels = [
        np.asarray(f(jnp.asarray(x, float))) for f in (jax.vmap(energy), jax.vmap(jax.grad(energy)))
    ]
    surrogate = xtb.Surrogate(2, x)
    assert surrogate.fit(x, labels[0], -labels[1]) < 1e-4
    assert surrogate.fit(x, labels[0], -labels[1][::-1]) > 0.1, "of other frames"


@dataclasses.dataclass(frozen=True)
class Springs(Potential):
    """On all six distances of the molecule, stiff enough for small steps."""

    @property
    def cutoff(self):
        return 4.0

    def init(self, key, system):
        del key, system
        return {"k": jnp.full(6, 6.0)}

    def atomic_energies(self, params, system, neighbors):
        del neighbors
        i, j = np.triu_indices(4, 1)
        at = jnp.asarray(molecule_truth.PEROXIDE.atoms.positions, float)
        d, rest = (jnp.linalg.norm(x[i] - x[j], axis=-1) for x in (system.positions, at))
        each = params["k"] / 4 * (d - rest) ** 2
        return jnp.zeros(4).at[i].add(each).at[j].add(each)


ZERO = -100.0  # eV, far from the model's


@jax.jit
def _springs(x):
    from bayespot.system import System

    system = System.from_ase(molecule_truth.PEROXIDE.atoms)

    def energy(x):
        here = system.replace(positions=x)
        return Springs().atomic_energies({"k": jnp.full(6, 6.0)}, here, None).sum()

    return jax.vmap(energy)(x), -jax.vmap(jax.grad(energy))(x)


def _label(x):
    energy, forces = (np.asarray(a, float) for a in _springs(jnp.asarray(x, float)))
    return energy + ZERO, forces


SMALL = molecule.Size(train=6, validation=2, calibration=4, test=8, replicas=6, steps=2000,
                      equilibration=200)  # fmt: skip


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    kind = dataclasses.replace(molecule_truth.PEROXIDE, walkers=100, moves=20)
    path = tmp_path_factory.mktemp("truth") / "springs.npz"
    molecule_truth.make(path, kind, _label, start=50)
    made = molecule.Molecule(path, kind, "springs", "springs", 7, SMALL, Recipe(members=2))
    made.__dict__["potential"] = Springs()
    return made


def test_a_model_that_is_the_truth_is_simulated_as_the_truth_is(case):
    """MD with the model's own time step, thermostat and temperatures against Monte Carlo; at the
    other temperature's averages it is not."""
    params = {"k": jnp.full((4, 6), 6.0)}
    made = case.simulate(jax.random.key(0), params)
    given = dataclasses.replace(case.training_set(0), shift=ZERO)
    for place, other in (PLACES, PLACES[::-1]):
        assert not made[place].reason.any()
        for observable in case.observables[2:]:
            values, variances, _ = draw_values(observable, made[place], case.context(place, given))
            found = estimate(values, variances)
            truth, error = case.reference(place)[observable.name]
            wide = np.hypot(found.total, error)
            assert abs(found.mean - truth) < 4 * wide, (place, observable.name)
            if observable.name == "energy":
                assert abs(found.mean - case.reference(other)["energy"][0]) > 6 * wide
        distances = case.observables[0]
        values, _, _ = draw_values(distances, made[place], case.context(place, given))
        truth, error = case.reference(place)["h(r)"]
        gap = np.abs(values.mean(0) - truth).sum() * (distances.axis[1] - distances.axis[0])
        assert gap < 0.15, "shares of pairs in other bins"


def test_training_sets_share_no_frame(case):
    sets = [case.training_set(number) for number in range(7)]
    seen = [
        np.asarray(batch.system.positions)
        for one in sets
        for batch in (one.train.data, one.validation, one.calibration)
    ]
    seen.append(np.asarray(case.test("in").system.positions))
    every = np.concatenate(seen).reshape(-1, 12)
    assert len(np.unique(every, axis=0)) == len(every) == 7 * 12 + 8
    with pytest.raises(ValueError, match="too few"):
        case.training_set(8)
    assert sets[0].shift == pytest.approx(ZERO, abs=1.0)


def test_quick_is_less_of_the_same():
    quick, full = (molecule.peroxide(20, q) for q in (True, False))
    assert quick.path == full.path
    assert set(quick.methods) < set(full.methods)
    assert quick.settings() != full.settings()
    assert (quick.size.train, quick.kind) == (full.size.train, full.kind)


def test_the_last_layer_is_one_of_the_model(committed):
    """What Laplace's Gaussian is over: the read-out's weights and its constant."""
    given = jax.eval_shape(committed.training_set(0).train.init, jax.random.key(0))
    paths = jax.tree_util.tree_flatten_with_path(given)[0]
    names = {jax.tree_util.keystr(path, simple=True, separator="/"): x.size for path, x in paths}
    last = {name: n for name, n in names.items() if name.startswith(committed.recipe.last_layer)}
    assert sorted(last.values()) == [1, committed.size.features // 2], names


@pytest.fixture(scope="module")
def committed():
    case = molecule.peroxide(20, True)
    assert case.path.exists(), "tblite is not needed"
    assert case.path.stat().st_size < 300_000
    return case


def _inverse_temperatures(warm, cold):
    """How much further from zero 1/kT is for ``cold`` energies than for ``warm``, and its error.

    The ratio of two canonical distributions of one system is ``exp(-difference * E)``, whatever
    the system: which of them a frame is from is a logistic regression on E (Shirts 2013).
    """
    x = np.concatenate([warm, cold]) - np.mean(warm)
    x = np.stack([np.ones_like(x), x], axis=1)
    y = np.repeat([0.0, 1.0], [len(warm), len(cold)])
    at = np.zeros(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ at))
        covariance = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
        at = at + covariance @ x.T @ (y - p)
    return -at[1], np.sqrt(covariance[1, 1])


def test_what_is_committed_is_one_molecule_at_two_temperatures(committed):
    stored = molecule_truth.load(committed.path, committed.kind)
    for place in PLACES:
        forces = stored[f"frame forces {place}"]
        assert len(forces) >= (20 * 80 + 50 if place == "in" else 50)
        assert np.abs(forces.sum(1)).max() < 1e-3
    slope, error = _inverse_temperatures(*(stored[f"frame energy {place}"] for place in PLACES))
    warm, cold = (1 / (units.kB * committed.temperatures[place]) for place in PLACES)
    assert abs(slope - (cold - warm)) < 3.5 * error
    assert abs(slope) > 4 * error, "control: not of one temperature"


def test_its_averages_are_those_of_its_frames(committed):
    stored = molecule_truth.load(committed.path, committed.kind)
    distances, dihedral = committed.observables[:2]
    for place in PLACES:
        reference = committed.reference(place)
        energy = stored[f"frame energy {place}"]
        value, error = reference["energy"]
        wide = np.hypot(error, energy.std() / np.sqrt(len(energy)))
        assert abs(energy.mean() - value) < 4 * wide
        assert error < 0.002, "eV"
        capacity = energy.var() / (units.kB * committed.temperatures[place]) ** 2 + 6
        assert abs(capacity - reference["heat capacity"][0]) < 0.8
        angle = reference["dihedral"][0]
        np.testing.assert_allclose(angle, angle[::-1], atol=1e-6)  # mirror images
        assert angle.sum() * 10 == pytest.approx(1, abs=1e-4)
        h = reference["h(r)"][0]
        assert h.sum() * (distances.axis[1] - distances.axis[0]) == pytest.approx(1, abs=1e-3)
    assert dihedral.name == "dihedral"
