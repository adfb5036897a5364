"""Sessions: block after block as a run, and back to earlier moments with other parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.errors import UserError
from bayespot.md import NVT, Length, Simulation, batch, program
from bayespot.md.session import mixed
from bayespot.md.stability import COLLAPSED
from bayespot.neighbors import allocate
from bayespot.observables import MSD, MeanEnergy
from bayespot.potentials import LennardJones, energy_and_forces
from bayespot.system import System

pytestmark = pytest.mark.usefixtures("compile_fast")
LJ = LennardJones(2.0, 0.01, 3.5, trainable=True)
SPACED = np.stack(np.meshgrid(*[np.arange(4)] * 2, np.arange(3)), -1).reshape(-1, 3) * 3.0
SYSTEM = System.from_ase(Atoms("Ar48", SPACED))
PARAMS = {"log_sigma": jnp.log(jnp.asarray([2.0, 2.1])), "log_epsilon": jnp.log(0.01) * jnp.ones(2)}
OTHER = {**PARAMS, "log_sigma": PARAMS["log_sigma"] + 0.1}


def _simulation():
    length = Length(60, stride=10, blocks=3)
    return Simulation(LJ, SYSTEM, NVT(60.0, 5.0), length, [MeanEnergy("u")])


def _positions(session):
    return np.asarray(session.carry.states.position)


def test_a_session_makes_the_blocks_of_a_run():
    simulation = _simulation()
    run = simulation.run(jax.random.key(0), PARAMS, replicas=2)
    session = simulation.session(jax.random.key(0), PARAMS, replicas=2)
    made = [session.advance() for _ in range(3)]
    assert session.step == 60
    np.testing.assert_array_equal(session.configuration.positions, run.final.positions)
    np.testing.assert_array_equal(
        np.stack([m.means["u"]["energy"] for m in made]), run.means["u"]["energy"]
    )
    other = simulation.session(jax.random.key(1), PARAMS, replicas=2)
    other.advance()
    assert np.abs(_positions(other) - _positions(session)).max() > 0.05


def test_restarts_go_on_from_where_they_were():
    session = _simulation().session(jax.random.key(0), PARAMS, replicas=2)
    moments = [session.carry.states]
    for _ in range(2):
        session.advance()
        moments.append(session.carry.states)
    ahead = _positions(session)
    session.restart(moments[1], PARAMS)
    assert session.step == 0
    np.testing.assert_array_equal(_positions(session), moments[1].position)
    session.advance()
    np.testing.assert_allclose(_positions(session), ahead, atol=1e-4)
    # other parameters have other forces, and go elsewhere
    session.restart(moments[1], OTHER)
    state = session.carry.states
    for draw in range(2):
        here = SYSTEM.replace(positions=state.position[draw, 1])
        params = jax.tree.map(lambda x, i=draw: x[i], OTHER)
        lists = allocate(here, LJ.cutoff, 0.0)
        exact = energy_and_forces(LJ, params, here, lists)[1]
        np.testing.assert_allclose(state.force[draw, 1], exact, atol=1e-6)
        assert np.abs(moments[1].force[draw, 1] - exact).max() > 1e-4
    session.advance()
    assert np.abs(_positions(session) - ahead).max() > 1e-3
    # each trajectory from a moment of its own, and some stand still
    choice = np.array([[0, 1], [2, 0]])
    mixture = mixed(moments, choice)
    for (draw, replica), moment in np.ndenumerate(choice):
        np.testing.assert_array_equal(
            mixture.momentum[draw, replica], moments[moment].momentum[draw, replica]
        )
    reason = np.array([[0, 3], [2, 0]])
    session.restart(mixture, PARAMS, reason)
    session.advance()
    np.testing.assert_array_equal(session.stable, reason == 0)
    np.testing.assert_array_equal(session.carry.reason, reason)
    moved = np.abs(_positions(session) - mixture.position).max(axis=(2, 3)) > 0
    np.testing.assert_array_equal(moved, reason == 0)


def test_observables_with_a_past_are_refused_where_there_is_none():
    """Correlations would average over frames that never were."""
    simulation = Simulation(LJ, SYSTEM, NVT(60.0, 5.0), Length(60, 20, stride=10, blocks=3),
                            [MSD("m", 3, 50.0, remove_drift=False)])  # fmt: skip
    session = simulation.session(jax.random.key(0), PARAMS)
    before = session.carry
    with pytest.raises(UserError, match="m looks back in time, and a trajectory that restarts"):
        session.restart(before.states, PARAMS)
    assert session.carry is before


def test_restarts_make_room_and_give_up_what_no_list_holds(monkeypatch):
    monkeypatch.setattr(program, "memory_needed", lambda *unused: None)  # it compiles
    session = _simulation().session(jax.random.key(0), PARAMS, replicas=2)
    slots = session.carry.neighbors.index.shape[-1]
    states = session.carry.states
    closer = jnp.asarray([1.0, 0.6]).reshape(1, 2, 1, 1)
    dense = states.set(position=states.position * closer)
    session.restart(dense, PARAMS)
    assert session.carry.neighbors.index.shape[-1] > slots
    assert not np.asarray(session.carry.neighbors.overflow).any()
    assert session.stable.all()
    here = SYSTEM.replace(positions=dense.position[1, 1])
    lists = allocate(here, LJ.cutoff, 0.0)
    exact = energy_and_forces(LJ, jax.tree.map(lambda x: x[1], PARAMS), here, lists)[1]
    np.testing.assert_allclose(session.carry.states.force[1, 1], exact, rtol=1e-4, atol=1e-6)
    # as if lists could not grow
    monkeypatch.setattr(batch, "MOST_ROOM", 0.0)
    monkeypatch.setattr(batch, "DENSEST", 0.0)
    session.restart(states.set(position=states.position * closer**2), PARAMS)
    np.testing.assert_array_equal(session.carry.reason, [[0, COLLAPSED]] * 2)
