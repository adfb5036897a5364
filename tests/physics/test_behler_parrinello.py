"""Symmetry functions against a plain double loop and jax-md's dense lists; the scaling."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayespot.neighbors import allocate
from bayespot.potentials import BehlerParrinello
from bayespot.potentials.basis import polynomial_envelope
from bayespot.system import System
from tests.physics.helpers import energy, ethanol, params_of, silicon

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
ANGULAR = ((0.03, 1.0, 1), (0.1, -1.0, 2), (0.05, 1.0, 2), (0.1, -1.0, 1), (0.2, 1.0, 4))
RADIAL = ((0.5, 0.0), (2.0, 1.5))


def _cut(d, range):
    x = d / range
    return 0.0 if x >= 1 else 1 - 28 * x**6 + 48 * x**7 - 21 * x**8


def _reference(model, atoms):
    """Neighbours with their images one by one, pairs of them one by one."""
    images = [
        np.array(s)
        for s in itertools.product(*[(-2, -1, 0, 1, 2) if p else (0,) for p in atoms.pbc])
    ]
    count = len(model.species)
    pairs = list(itertools.combinations_with_replacement(range(count), 2))
    radial = np.zeros((len(atoms), count, len(model.radial)))
    angular = np.zeros((len(atoms), len(pairs), len(model.angular)))
    for i in range(len(atoms)):
        around = []
        for j, image in itertools.product(range(len(atoms)), images):
            r = atoms.positions[j] + image @ atoms.cell.array - atoms.positions[i]
            if (j != i or image.any()) and np.linalg.norm(r) < model.range:
                around.append((r, model.species.index(atoms.numbers[j])))
        for r, s in around:
            d = np.linalg.norm(r)
            for f, (eta, shift) in enumerate(model.radial):
                radial[i, s, f] += np.exp(-eta * (d - shift) ** 2) * _cut(d, model.range)
        for (r, s), (q, t) in itertools.combinations(around, 2):
            d, e, far = np.linalg.norm(r), np.linalg.norm(q), np.linalg.norm(r - q)
            cosine = r @ q / (d * e)
            both = _cut(d, model.range) * _cut(e, model.range)
            for f, (eta, lam, zeta) in enumerate(model.angular):
                value = 2 ** (1 - zeta) * (1 + lam * cosine) ** zeta * both
                value *= np.exp(-eta * (d**2 + e**2))
                if model.form == "G4":
                    value *= np.exp(-eta * far**2) * _cut(far, model.range)
                angular[i, pairs.index((min(s, t), max(s, t))), f] += value
    return np.concatenate([x.reshape(len(atoms), -1) for x in (radial, angular)], axis=1)


def _features(model, atoms, kind="auto"):
    system = System.from_ase(atoms)
    return np.asarray(model.features(system, allocate(system, model.range, 0.3, kind)))


@pytest.mark.parametrize("form", ["G4", "G5"])
def test_features_are_those_of_a_double_loop(form):
    model = BehlerParrinello((1, 6, 8, 14), 3.2, RADIAL, ANGULAR, form)
    for atoms, kind in ((ethanol(), "all"), (ethanol(), "list"), (silicon(), "list")):
        expected = _reference(model, atoms)
        found = _features(model, atoms, kind)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
        other = BehlerParrinello(
            (1, 6, 8, 14), 3.2, RADIAL, ANGULAR, "G5" if form == "G4" else "G4"
        )
        assert np.abs(_features(other, atoms, kind) - expected).max() > 1e-2


def test_features_are_those_of_jax_md(monkeypatch):
    """Its dense lists, with our smoother cut-off in place of its cosine."""
    from jax_md import partition, space
    from jax_md._nn import behler_parrinello as theirs

    atoms = ethanol()
    cut = lambda d, range: jnp.where(d > 1e-7, polynomial_envelope(d, range), 0.0)  # noqa: E731
    monkeypatch.setattr(theirs, "_cutoff_fn", cut)
    species = np.unique(atoms.numbers, return_inverse=True)[1]
    eta, lam, zeta = (jnp.asarray(x, float) for x in zip(*ANGULAR, strict=True))
    displacement, _ = space.free()
    lists = partition.neighbor_list(displacement, 20.0, 4.0, format=partition.Dense)
    compute = theirs.symmetry_functions_neighbor_list(
        displacement, jnp.asarray(species), jnp.array([0.5, 2.0]), eta, lam, zeta, 4.0
    )
    positions = jnp.asarray(atoms.positions)
    expected = np.asarray(compute(positions, lists.allocate(positions)))
    model = BehlerParrinello((1, 6, 8), 4.0, ((0.5, 0.0), (2.0, 0.0)), ANGULAR, "G4")
    # theirs counts ordered pairs: those of one element twice; its cosine is rounded at 1e-6
    twice = np.ones(6 + 6 * len(ANGULAR))
    for pair in (0, 3, 5):
        twice[6 + pair * len(ANGULAR) : 6 + (pair + 1) * len(ANGULAR)] = 2
    np.testing.assert_allclose(_features(model, atoms) * twice, expected, rtol=1e-5)


def test_from_data_centres_and_scales_each_element():
    samples = [ethanol(seed) for seed in range(6)]
    systems = [System.from_ase(a, 11) for a in samples]  # two atoms of padding
    model = BehlerParrinello.from_data(systems, (1, 6, 8, 14), range=4.0)
    assert hash(model) == hash(BehlerParrinello.from_data(systems, (1, 6, 8, 14), range=4.0))
    raw = np.concatenate([_features(model, a) for a in samples])
    numbers = np.concatenate([a.numbers for a in samples])
    for row, number in enumerate((1, 6)):
        x = (raw[numbers == number] - model.means[row]) / model.spreads[row]
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-9)
        varied = raw[numbers == number].std(axis=0) > 1e-3
        assert varied.sum() > 20
        np.testing.assert_allclose(x.std(axis=0)[varied], 1, rtol=1e-9)
        assert np.all(x.std(axis=0) < 1.001)
    assert set(model.spreads[3]) == {1.0}  # no silicon among the samples

    plain = BehlerParrinello((1, 6, 8, 14), range=4.0)
    params = params_of(model, systems[0])
    scaled, unscaled = (float(energy(m, params, samples[0])) for m in (model, plain))
    w = np.asarray(params["~"]["w0"])  # the same network on raw features, its first layer absorbing
    weight = w / np.asarray(model.spreads)[:, :, None]
    offset = np.einsum("sf,sfh->sh", np.asarray(model.means), weight)[:, None]
    absorbed = {"~": {**params["~"], "w0": weight, "b0": params["~"]["b0"] - offset}}
    assert float(energy(plain, absorbed, samples[0])) == pytest.approx(scaled, rel=1e-9)
    assert unscaled != pytest.approx(scaled, rel=1e-3)


def test_each_element_has_its_own_network():
    atoms = ethanol()
    model = BehlerParrinello((1, 6, 8), 4.0, hidden=(4,))
    system = System.from_ase(atoms)
    params = params_of(model, system)
    neighbors = allocate(system, 4.0)
    before = model.atomic_energies(params, system, neighbors)
    changed = jax.tree.map(lambda x: x.at[1].add(0.1), params)
    moved = np.asarray(model.atomic_energies(changed, system, neighbors) != before)
    np.testing.assert_array_equal(moved, atoms.numbers == 6)


def test_settings_without_meaning_are_refused():
    with pytest.raises(ValueError, match='"G4" or "G5"'):
        BehlerParrinello((1,), form="G3")
    with pytest.raises(ValueError, match="whole number"):
        BehlerParrinello((1,), angular=((0.1, 1.0, 0),))
