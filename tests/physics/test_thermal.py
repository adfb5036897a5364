"""Potentials that see a temperature: whose it is, and that it reaches frames and replicas."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

from bayespot.data import Frame, Shift, make_dataset
from bayespot.errors import UserError
from bayespot.likelihood import EnergyForces
from bayespot.md import NPT, NVT, Length, Simulation
from bayespot.neighbors import allocate
from bayespot.observables import RDF
from bayespot.potentials import DimeNetPP, PairMLP, SchNet, energy_and_forces
from bayespot.potentials.network import thermal
from bayespot.system import System
from bayespot.trainers import DiffTRe, Target
from tests.physics.helpers import ethanol, params_of, silicon

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
SPECIES = (1, 6, 8, 14)
THERMAL = {
    "schnet": SchNet(SPECIES, 4.0, 8, 2, 8, temperature=300.0),
    "pair_mlp": PairMLP(4.0, hidden=(16,), temperature=300.0),
    "dimenet": DimeNetPP(SPECIES, 4.0, 8, 8, 6, 4, 4, 1, 1, (1, 1), 4, 4, temperature=300.0),
}
EACH = pytest.mark.parametrize("name", THERMAL)


def at(atoms, temperature):
    system = System.from_ase(atoms)
    if temperature is None:
        return system
    return system.replace(temperature=jnp.asarray(float(temperature)))


def energy(potential, params, atoms, temperature=None):
    system = at(atoms, temperature)
    lists = allocate(system, potential.cutoff, 0.0)
    return float(jax.jit(potential.energy)(params, system, lists))


@EACH
def test_the_systems_temperature_comes_before_the_potentials(name):
    potential = THERMAL[name]
    params = params_of(potential, System.from_ase(ethanol()))
    other = dataclasses.replace(potential, temperature=350.0)
    told = [energy(potential, params, ethanol(), t) for t in (None, 300.0, 350.0)]
    assert told[1] == pytest.approx(told[0], rel=1e-12)
    assert told[2] == pytest.approx(energy(other, params, ethanol()), rel=1e-12)
    assert energy(other, params, ethanol(), 300.0) == pytest.approx(told[0], rel=1e-12)
    assert abs(told[2] - told[0]) > 1e-3 * abs(told[0])


@EACH
def test_without_its_vectors_it_is_the_plain_potential(name):
    potential = THERMAL[name]
    params = params_of(potential, System.from_ase(ethanol()))
    cold = {k: jax.tree.map(jnp.zeros_like, v) if k == "thermal" else v for k, v in params.items()}
    plain = dataclasses.replace(potential, temperature=None)
    less = {k: v for k, v in params.items() if k != "thermal" and not k.endswith("heat")}
    if name == "dimenet":  # what it joins to the edges comes last
        edge = less["embed_edge"]
        less["embed_edge"] = {**edge, "w": edge["w"][: -2 * potential.species_features]}
    expected = energy(plain, less, ethanol(), 310.0)
    assert energy(potential, cold, ethanol(), 310.0) == pytest.approx(expected, rel=1e-12)
    assert energy(potential, params, ethanol(), 310.0) != pytest.approx(expected, rel=1e-3)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), System.from_ase(ethanol()))
    assert jax.tree.map(np.shape, shapes) == jax.tree.map(np.shape, less)


@EACH
def test_slopes_along_positions_and_temperature(name):
    """The slope along 1/T, times the energy, is what a free energy's entropy is made of."""
    potential = THERMAL[name]
    params = params_of(potential, System.from_ase(silicon()))
    system = at(silicon(), 270.0)
    lists = allocate(system, potential.cutoff, 0.5)

    @jax.jit
    def value(positions, temperature):
        here = system.replace(positions=positions, temperature=temperature)
        return potential.energy(params, here, lists)

    slope, heat = jax.grad(value, (0, 1))(system.positions, system.temperature)
    ahead = jnp.asarray(np.random.default_rng(0).normal(size=system.positions.shape))
    h = 1e-5
    for (x, t), found in (((h * ahead, 0.0), jnp.sum(slope * ahead)), ((0.0 * ahead, h), heat)):
        both = [value(system.positions + s * x, system.temperature + s * t) for s in (1, -1)]
        assert float(found) == pytest.approx(float(both[0] - both[1]) / (2 * h), rel=1e-5)
        assert abs(float(found)) > 1e-6
    forces = jax.jit(lambda s: energy_and_forces(potential, params, s, lists)[1])(system)
    np.testing.assert_allclose(forces, -slope, atol=1e-10)


def test_a_batch_holds_frames_of_different_temperatures():
    potential = THERMAL["schnet"]
    params = params_of(potential, System.from_ase(silicon()))
    frames = [Frame(silicon(i), 0.0, np.zeros((8, 3)), "made", i) for i in range(3)]
    batch = make_dataset(frames, Shift((14,), (0.0,)), 4.0).batch
    kelvin = jnp.asarray([250.0, 300.0, 400.0])
    mixed = batch._replace(system=batch.system.replace(temperature=kelvin))
    wide = dist.Exponential(1.0)
    noise = {"log_sigma_energy": jnp.asarray(0.0), "log_sigma_forces": jnp.asarray(0.0)}

    def terms(model, batch):
        likelihood = EnergyForces(model, wide, wide)
        return np.asarray(likelihood.log_likelihood(params, noise, batch))

    found = terms(potential, mixed)
    for i, t in enumerate(kelvin):
        alone = terms(dataclasses.replace(potential, temperature=float(t)), batch)
        assert found[i] == pytest.approx(alone[i], rel=1e-10)
        others = np.delete(alone, i)
        assert np.abs(np.delete(found, i) - others).min() > 1e-6 * np.abs(others).max()


@pytest.mark.parametrize("ensemble", [NVT([200.0, 400.0], 1.0), NPT([200.0, 400.0], 1.0)])
def test_each_replica_has_the_temperature_of_its_thermostat(ensemble):
    """Energies of kept frames, and pressures and forces with them, are of that temperature."""
    potential = THERMAL["pair_mlp"]
    one = params_of(potential, System.from_ase(silicon()))
    params = jax.tree.map(lambda x: 0.1 * x[None], one)

    def kept(system):
        length = Length(20, stride=10, blocks=1)
        made = Simulation(potential, system, ensemble, length, keep=1).run(
            jax.random.key(0), params, replicas=2
        )
        assert made.frames is not None
        return made.frames

    def gaps(frames, kelvin):
        first = jax.tree.map(lambda x: x[0], params)
        found = []
        for replica, t in enumerate(kelvin):
            atoms = silicon()
            atoms.set_cell(frames.cell[0, replica, -1])
            atoms.positions = frames.positions[0, replica, -1]
            found.append(abs(energy(potential, first, atoms, t) - frames.energy[0, replica, -1]))
        return np.array(found)

    frames = kept(at(silicon(), 300.0))
    assert (gaps(frames, (200.0, 400.0)) < 1e-6).all()
    assert (gaps(frames, (300.0, 300.0)) > 1e-4).all()
    untold = kept(at(silicon(), None))
    assert (gaps(untold, (300.0, 300.0)) < 1e-6).all(), "the potential's, where the system is mute"


def test_trainers_refuse_state_points_that_the_system_does_not_tell():
    system = at(silicon(), 300.0)
    observable = RDF.of("rdf", system, 4.0, 8)

    def trainer(ensemble, replicas):
        simulation = Simulation(THERMAL["pair_mlp"], system, ensemble, Length(10, blocks=1), keep=1)
        target = Target(observable, np.ones(8))
        return DiffTRe(simulation, [target], optax.adam(1e-3), replicas=replicas)

    trainer(NVT(300.0, 1.0), 1)
    with pytest.raises(UserError, match="the system tells a temperature of 300 K"):
        trainer(NVT([300.0, 400.0], 1.0), 2)


@pytest.mark.parametrize("kelvin", [260.0, 340.0])
def test_one_vector_is_times_k_b_t_and_the_other_divided_by_it(kelvin):
    """In kJ/mol, by the gas constant."""
    system = at(ethanol(), kelvin)
    embed = hk.without_apply_rng(hk.transform(lambda given: thermal(given, 298.0, 3)))
    params = embed.init(jax.random.key(0), system)
    (vectors,) = params.values()
    heat = 8.314462618e-3 * kelvin
    wanted = np.concatenate([vectors["times"] * heat, vectors["over"] / heat])
    np.testing.assert_allclose(embed.apply(params, system), wanted, rtol=1e-5)
