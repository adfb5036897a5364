"""Weights, effective sizes and free energies against exact laws, and pymbar."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from bayespot.neighbors import allocate
from bayespot.potentials import LennardJones
from bayespot.reweight import (
    Samples,
    State,
    average,
    bar,
    cumulant_average,
    effective_size,
    energies,
    kish_size,
    log_weights,
    with_lists,
    zwanzig,
)
from bayespot.system import System
from bayespot.units import BOLTZMANN, GPA

KT = BOLTZMANN * 300.0


def _oscillator(seed, k, temperature, frames=200_000):
    """Positions of a harmonic oscillator, drawn from its law."""
    spread = np.sqrt(BOLTZMANN * temperature / k)
    return np.random.default_rng(seed).normal(0, spread, frames)


@pytest.mark.parametrize("to", [(2.6, 300.0), (2.0, 340.0), (1.7, 270.0)])
def test_an_oscillator_at_other_parameters_and_temperatures(x64, to):
    k, temperature = to
    x = jnp.asarray(_oscillator(0, 2.0, 300.0))
    log_w = log_weights(0.5 * k * x**2, 0.5 * 2.0 * x**2, State(temperature), State(300.0))
    exact = BOLTZMANN * temperature / k
    found = float(average(log_w, x**2))
    error = exact * np.sqrt(2 / float(kish_size(log_w)))
    assert abs(found - exact) < 4 * error
    assert abs(float(jnp.mean(x**2)) - exact) > 8 * error  # without weights


def test_pressure_reweights_volumes(x64):
    """The ideal gas: V is gamma distributed, mean (N + 1) kT/P."""
    atoms, frames = 20, 200_000
    kT, pressure, wanted = KT, 0.5, 0.55
    scale = kT / (pressure * GPA)
    volume = np.random.default_rng(1).gamma(atoms + 1, scale, frames)
    nothing = jnp.zeros(frames)
    log_w = log_weights(
        nothing, nothing, State(300.0, wanted), State(300.0, pressure), jnp.asarray(volume)
    )
    exact = (atoms + 1) * kT / (wanted * GPA)
    found = float(average(log_w, jnp.asarray(volume)))
    error = exact / np.sqrt(atoms * float(kish_size(log_w)))
    assert abs(found - exact) < 4 * error
    assert abs(volume.mean() - exact) > 8 * error


def test_enthalpy_weights_between_temperatures(x64):
    """Ideal gas from 300 to 330 K at one pressure: the kinetic part needs no weight."""
    atoms, frames, pressure = 20, 200_000, 0.5
    volume = np.random.default_rng(2).gamma(atoms + 1, KT / (pressure * GPA), frames)
    nothing = jnp.zeros(frames)
    log_w = log_weights(
        nothing, nothing, State(330.0, pressure), State(300.0, pressure), jnp.asarray(volume)
    )
    exact = (atoms + 1) * BOLTZMANN * 330.0 / (pressure * GPA)
    error = exact / np.sqrt(atoms * float(kish_size(log_w)))
    assert abs(float(average(log_w, jnp.asarray(volume))) - exact) < 4 * error


def test_pressure_and_volume_must_go_together():
    nothing = jnp.zeros(3)
    with pytest.raises(ValueError, match="constant volume and constant pressure"):
        log_weights(nothing, nothing, State(300.0, 0.1), State(300.0))
    with pytest.raises(ValueError, match="need the volume"):
        log_weights(nothing, nothing, State(300.0, 0.1), State(310.0, 0.1))


def test_effective_sizes(x64):
    even = jax.nn.log_softmax(jnp.zeros(50))
    assert float(effective_size(even)) == pytest.approx(50)
    assert float(kish_size(even)) == pytest.approx(50)
    alone = jnp.log(jnp.array([1.0, 0.0, 0.0]))
    assert float(effective_size(alone)) == pytest.approx(1)
    w = np.array([0.5, 0.3, 0.2])
    assert float(effective_size(jnp.log(jnp.asarray(w)))) == pytest.approx(
        np.exp(-np.sum(w * np.log(w)))
    )
    assert float(kish_size(jnp.log(jnp.asarray(w)))) == pytest.approx(1 / np.sum(w**2))


ARGON = System.from_ase(bulk("Ar", "fcc", a=5.4, cubic=True))
LJ = LennardJones(3.4, 0.0104, 6.0, trainable=True)


def _argon_samples(frames=40):
    noise = 0.25 * jax.random.normal(jax.random.key(0), (frames, 4, 3))
    positions = ARGON.positions + noise.astype(ARGON.positions.dtype)
    cell = jnp.broadcast_to(ARGON.cell, (frames, 3, 3))
    return Samples(positions, cell, jnp.zeros(frames))


def test_the_gradient_is_the_covariance_formula(x64):
    """methods.md section 3: through the weights, and through snapshots that are energies."""
    system = jax.tree.map(lambda x: x.astype(float) if x.dtype.kind == "f" else x, ARGON)
    lists = allocate(system, LJ.cutoff, 0.0, capacity_factor=2.0)
    samples = jax.tree.map(lambda x: x.astype(float), _argon_samples())
    params = LJ.init(jax.random.key(0), system)
    other = jax.tree.map(lambda x: x + 0.02, params)
    drawn = samples._replace(energy=energies(LJ, params, system, samples, lists)[0])
    geometric = jnp.sum(samples.positions[:, 0] ** 2, axis=-1)

    def both(p):
        found, crowded = energies(LJ, p, system, drawn, lists, batch_size=7)
        log_w = log_weights(found, drawn.energy, State(300.0))
        return average(log_w, {"still": geometric, "energy": found}), (log_w, crowded)

    made, (log_w, crowded) = jax.jacrev(both, has_aux=True)(other)
    assert not crowded
    each = jax.jacfwd(lambda p: energies(LJ, p, system, drawn, lists)[0])(other)
    now = energies(LJ, other, system, drawn, lists)[0]
    w = jnp.exp(log_w)
    for name in params:
        slope = each[name]
        for key, value, direct in (("still", geometric, 0.0), ("energy", now, w @ slope)):
            covariance = w @ (value * slope) - (w @ value) * (w @ slope)
            expected = direct - covariance / KT
            np.testing.assert_allclose(made[key][name], expected, rtol=1e-10)
            assert abs(covariance / KT) > 1e-3 * abs(made[key][name])


def test_neighbours_kept_with_the_frames_change_nothing():
    lists = allocate(ARGON, LJ.cutoff, 0.0, capacity_factor=2.0)
    params, samples = LJ.init(jax.random.key(0), ARGON), _argon_samples(6)
    kept, crowded = with_lists(ARGON, samples, lists, 4)
    assert not crowded
    # they are used: other frames' neighbours are others
    wrong = kept._replace(lists=tuple(x[::-1] for x in kept.lists))

    @jax.jit
    @jax.value_and_grad
    def both(p, samples):
        return jnp.sum(energies(LJ, p, ARGON, samples, lists, 2)[0] ** 2)

    expected, found, other = (jax.tree.leaves(both(params, x)) for x in (samples, kept, wrong))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert not np.allclose(other, expected, rtol=1e-5)
    at_once = jax.jit(lambda x: energies(LJ, params, ARGON, x, lists, 6)[0])(kept)
    np.testing.assert_allclose(jnp.sum(at_once**2), expected[0], rtol=1e-5)
    small = allocate(ARGON, LJ.cutoff, 0.0, capacity_factor=0.5)
    assert with_lists(ARGON, samples, small)[1]


def test_small_lists_are_told(x64):
    system = jax.tree.map(lambda x: x.astype(float) if x.dtype.kind == "f" else x, ARGON)
    sparse = system.replace(cell=system.cell * 1.5)
    lists = allocate(sparse, LJ.cutoff, 0.0, capacity_factor=1.0)
    params = LJ.init(jax.random.key(0), system)
    assert bool(energies(LJ, params, system, _argon_samples(3), lists)[1])


def test_cumulants_are_exact_for_gaussian_pairs(x64):
    generator = np.random.default_rng(3)
    gap = generator.normal(0.01, 0.8 * KT, 400_000)
    value = 2.0 + 3.0 * gap + generator.normal(0, 0.01, gap.size)
    exact = 2.0 + 3.0 * (0.01 - (0.8 * KT) ** 2 / KT)
    found = float(cumulant_average(jnp.asarray(value), jnp.asarray(gap), 300.0))
    assert found == pytest.approx(exact, abs=1e-3)
    assert abs(value.mean() - exact) > 1e-2


def test_cumulants_of_two_frames(x64):
    """By hand: the covariance divides by one less than the frames."""
    found = cumulant_average(jnp.asarray([0.0, 1.0]), jnp.asarray([0.0, 0.3 * KT]), 300.0)
    assert float(found) == pytest.approx(0.5 - 0.15)


def test_free_energies_of_an_oscillator_and_pymbar():
    """A_1 - A_0 = kT/2 ln(k_1/k_0)."""
    x, y = _oscillator(4, 2.0, 300.0, 40_000), _oscillator(5, 5.0, 300.0, 10_000)
    forward, backward = 0.5 * 3.0 * x**2, -0.5 * 3.0 * y**2
    exact = 0.5 * KT * np.log(2.5)
    assert zwanzig(forward, 300.0) == pytest.approx(exact, abs=0.02 * KT)
    found = bar(forward, backward, 300.0)
    assert found == pytest.approx(exact, abs=0.02 * KT)
    assert bar(backward, forward, 300.0) == pytest.approx(-found, abs=1e-9)
    assert forward.mean() - exact > 0.2 * KT  # the first cumulant alone
    pymbar = pytest.importorskip("pymbar")
    theirs = pymbar.other_estimators.bar(forward / KT, backward / KT)
    assert found / KT == pytest.approx(theirs["Delta_f"], abs=1e-6)
    assert zwanzig(forward, 300.0) / KT == pytest.approx(
        pymbar.other_estimators.exp(forward / KT)["Delta_f"], abs=1e-9
    )


def test_bar_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="finite"):
        bar(np.array([0.1, np.nan]), np.array([0.2]), 300.0)
