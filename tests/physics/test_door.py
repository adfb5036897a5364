"""What is refused before any MD is run, and that each refusal names what is wrong."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.data import Frame, fit_shift, make_dataset
from bayespot.errors import UserError
from bayespot.md import NPT, NVE, NVT, Length, door, simulate
from bayespot.md.integrators import rigid_freedoms
from bayespot.observables import MeanEnergy
from bayespot.potentials import LennardJones
from bayespot.propagate import propagate
from bayespot.system import System

ARGON = LennardJones(3.405, 0.010323, 5.0)
CRYSTAL = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True))
NAN, INF = float("nan"), float("inf")
SHORT = Length(10, stride=5, blocks=1)
run = functools.partial(simulate, jax.random.key(0), ARGON)


def _system(**changes):
    """The crystal with one entry of each named array changed."""
    arrays = {
        name: getattr(CRYSTAL, name).at[where].set(value)
        for name, (where, value) in changes.items()
    }
    return CRYSTAL.replace(**arrays)


@pytest.fixture
def as_users_run_it():
    """Without the annotations' run-time checks, which only the tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"positions": ((3, 1), NAN)}, "position of atom 3 is not finite"),
        ({"positions": ((0, 2), INF)}, "position of atom 0 is not finite"),
        ({"cell": ((1, 1), NAN)}, "cell is not finite"),
        ({"masses": (2, NAN)}, "mass of atom 2 is nan u"),
        ({"masses": (2, 0.0)}, r"mass of atom 2 is 0\.0 u"),
        ({"species": (slice(None), 0)}, "holds no atoms"),
    ],
)
def test_systems_with_numbers_that_make_no_sense(change, match):
    with pytest.raises(UserError, match=match):
        run({}, _system(**change), NVT(40.0), SHORT, [])


def test_padding_may_have_any_mass():
    door.check(ARGON, _system(species=(1, 0), masses=(1, 0.0)), NVT(40.0))
    with pytest.raises(UserError, match="mass of atom 1"):
        door.check(ARGON, _system(masses=(1, 0.0)), NVT(40.0))


STARTS = jnp.broadcast_to(CRYSTAL.positions, (2, 3, 4, 3))


@pytest.mark.parametrize(
    ("starts", "match"),
    [
        (STARTS[0], r"starts must be \(draws, replicas, atoms, 3\), not \(3, 4, 3\)"),
        (STARTS[:, :, :3], r"not \(2, 3, 3, 3\)"),
        (STARTS[:, :0], r"not \(2, 0, 4, 3\)"),
        (STARTS.at[1, 2, 3, 0].set(NAN), "draw 1, replica 2 has atom 3 .* not finite"),
        (STARTS.at[0, 1].set(INF), "draw 0, replica 1 has atom 0 .* not finite"),
    ],
)
def test_starts_that_make_no_sense(starts, match):
    with pytest.raises(UserError, match=match):
        run({}, CRYSTAL, NVT(40.0), SHORT, [], starts=starts)
    assert door.starts_of(CRYSTAL, {}, STARTS).shape == (2, 3, 4, 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"skin": -8.0}, r"skin is -8\.0"),
        ({"skin": NAN}, "skin is nan"),
        ({"skin": INF}, "skin is inf"),
        ({"memory": 0.0}, r"memory is 0\.0"),
        ({"memory": -1.0}, r"memory is -1\.0"),
        ({"memory": NAN}, "memory is nan"),
        ({"replicas": 0}, "replicas is 0"),
        ({"trajectory_stride": 0}, "trajectory_stride is 0"),
        ({"trajectory_stride": -1}, "trajectory_stride is -1"),
    ],
)
def test_settings_of_a_run(change, match):
    with pytest.raises(UserError, match=match):
        run({}, CRYSTAL, NVT(40.0), SHORT, [], **change)
    with pytest.raises(UserError, match=match):
        door.check_settings(**change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"skin": "0.5"}, "skin is '0.5'"),
        ({"skin": None}, "skin is None"),
        ({"replicas": 2.0}, r"replicas is 2\.0"),
        ({"replicas": True}, "replicas is True"),
        ({"trajectory_stride": 1.5}, r"trajectory_stride is 1\.5"),
    ],
)
def test_settings_of_another_type(change, match, as_users_run_it):
    with pytest.raises(UserError, match=match):
        door.check_settings(**change)


def test_good_settings_pass():
    door.check_settings(skin=0.0, memory=1, replicas=1, trajectory_stride=np.int64(3))
    door.check_settings(skin=np.float32(0.5), memory=INF, replicas=np.int32(4))


@pytest.mark.parametrize("name", ["steps", "equilibration", "stride", "blocks"])
@pytest.mark.parametrize("value", [-100, 1e2, 2.5, NAN, "100", None, True])
def test_a_length_is_whole_numbers(name, value, as_users_run_it):
    with pytest.raises(UserError, match=f"MD {name} is {value!r}"):
        Length(**{"steps": 1000, "equilibration": 0, "stride": 10, "blocks": 10, name: value})


@pytest.mark.parametrize("name", ["steps", "stride", "blocks"])
def test_a_length_is_not_nothing(name):
    with pytest.raises(UserError, match=f"MD {name} is 0"):
        Length(**{"steps": 1000, "stride": 10, "blocks": 10, name: 0})


def test_two_negative_numbers_are_no_length(as_users_run_it):
    with pytest.raises(UserError, match="stride is -10"):
        Length(100, stride=-10, blocks=-1)
    assert Length(np.int64(100), np.int32(20), 5, 10).equilibration == 20


@pytest.mark.parametrize(
    ("kind", "change", "match"),
    [
        (NPT, {"barostat_interval": 2.5}, r"barostat_interval is 2\.5"),
        (NPT, {"barostat_interval": 0}, "barostat_interval is 0"),
        (NPT, {"pressure": NAN}, "pressure is nan"),
        (NPT, {"pressure": (0.0, INF)}, "pressure is inf"),
        (NPT, {"pressure": "high"}, "pressure is 'high'"),
        (NVE, {"temperature": np.ones((2, 2))}, r"temperature has shape \(2, 2\)"),
        (NVT, {"temperature": "abc"}, "temperature is 'abc'"),
        (NVT, {"temperature": "300"}, "temperature is '300'"),
        (NVT, {"temperature": None}, "temperature is nan"),
        (NVT, {"temperature": ()}, r"temperature has shape \(0,\)"),
        (NVT, {"temperature": ((1.0, 2.0), (3.0,))}, "temperature is "),
        (NVT, {"temperature": 3j}, "temperature is 3j"),
        (NVT, {"friction": (0.1, -0.1)}, r"friction is -0\.1"),
        (NVT, {"time_step": INF}, "time_step is inf"),
    ],
)
def test_conditions_name_the_field(kind, change, match, as_users_run_it):
    with pytest.raises(UserError, match=f"MD {match}"):
        kind(**{"temperature": 300.0, **change})


@pytest.mark.parametrize(
    "numbers", [[40.0, 50.0], (40, 50), np.array([40.0, 50.0]), jnp.array([40.0, 50.0])]
)
def test_conditions_may_be_any_row_of_numbers(numbers, as_users_run_it):
    made = NVT(numbers, 5)
    assert hash(made) == hash(NVT((40.0, 50.0), 5.0))
    np.testing.assert_array_equal(made.conditions(3, 2)["temperature"], [[40.0, 50.0]] * 3)
    with pytest.raises(UserError, match="2 values of temperature for 3 replicas"):
        made.conditions(1, 3)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"a": jnp.zeros(3), "b": {"c": jnp.zeros((2, 3))}},
         r"params\['b'\]\['c'\] holds 2 draws, params\['a'\] holds 3"),
        ({"a": jnp.zeros(())}, r"params\['a'\] is a single number"),
        ([1.0], r"params\[0\] is a single number"),
        ([jnp.zeros((0, 2))], r"params\[0\] holds no draws"),
    ],
)  # fmt: skip
def test_parameters_share_the_draw_axis(params, match):
    with pytest.raises(UserError, match=match):
        run(params, CRYSTAL, NVT(40.0), SHORT, [])


def test_starts_and_parameters_have_as_many_draws():
    with pytest.raises(UserError, match=r"not \(2, 3, 4, 3\): the parameters hold 5 draws"):
        run({"a": jnp.zeros(5)}, CRYSTAL, NVT(40.0), SHORT, [], starts=STARTS)
    assert door.number_of_draws({"a": jnp.zeros((5, 2)), "b": jnp.zeros(5)}) == 5
    assert door.number_of_draws({}, STARTS) == 2
    assert door.number_of_draws({}) == 1


@pytest.mark.parametrize(
    ("key", "match"),
    [
        (jax.random.key(0, impl="rbg"), r"implementation rbg"),
        (jax.random.split(jax.random.key(0), 3), r"shape \(3, 2\)"),
        (5, "5 is no random key"),
    ],
)
def test_keys_are_of_one_kind(key, match):
    with pytest.raises(UserError, match=match):
        door.check_key(key)
    door.check_key(jax.random.key(0))
    door.check_key(jax.random.PRNGKey(0))


def test_a_run_refuses_a_key_of_another_kind():
    with pytest.raises(UserError, match="implementation rbg"):
        simulate(jax.random.key(0, impl="rbg"), ARGON, {}, CRYSTAL, NVT(40.0), SHORT, [])


@pytest.mark.parametrize("periodic", [True, False])
def test_a_single_atom_keeps_its_momentum(compile_fast, periodic):
    """Free flight: its own temperature, the same ever after; 3/2 kT in the mean over starts."""
    system = System.from_ase(Atoms("Ar", cell=[9.0] * 3, pbc=periodic))
    made = run({}, system, NVE(40.0, 5.0), Length(20, stride=5, blocks=2), [], replicas=400)
    assert np.all(made.reason == 0)
    hot = made.temperature[:, 0]
    np.testing.assert_allclose(hot[0], hot[1], rtol=1e-5)
    # chi^2 of three freedoms: relative deviation sqrt(2/3) of each
    assert abs(hot[0].mean() / 40.0 - 1) < 4 * np.sqrt(2 / 3 / 400)
    assert hot[0].std() / 40.0 == pytest.approx(np.sqrt(2 / 3), rel=0.2)
    moved = np.linalg.norm(np.asarray(made.final.positions)[0, :, 0], axis=-1)
    assert np.all(moved > 0)


def test_rigid_motion_is_not_counted():
    assert [rigid_freedoms(n, True) for n in (1, 2, 3, 9)] == [0, 5, 6, 6]
    assert [rigid_freedoms(n, False) for n in (1, 2, 3, 9)] == [0, 3, 3, 3]


def test_propagate_runs_with_nothing_to_learn(compile_fast):
    """A potential without parameters is one draw."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    frames = [Frame(atoms, 0.0, np.zeros((4, 3)), "made", i) for i in range(2)]
    start = make_dataset(frames, fit_shift(frames), ARGON.cutoff)
    go = functools.partial(
        propagate, jax.random.key(0), ARGON, {}, start, NVT(40.0, 5.0), SHORT, [MeanEnergy("u")]
    )
    made = go(replicas=3)
    assert made.reason.tolist() == [[0, 0, 0]]
    assert made.means["u"]["energy"].shape == (1, 1, 3)
    with pytest.raises(UserError, match="replicas is 0"):
        go(replicas=0)
    uneven = {"a": jnp.zeros(3), "b": jnp.zeros(2)}
    with pytest.raises(UserError, match=r"params\['b'\] holds 2 draws"):
        propagate(jax.random.key(0), ARGON, uneven, start, NVT(40.0), SHORT, [], replicas=1)
