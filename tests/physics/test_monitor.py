"""What a monitor sees, and what it does: in MD, and frame by frame against plain Python."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from bayespot.errors import UserError
from bayespot.md import NVE, NVT, REASONS, Length, Monitor, simulate, watched
from bayespot.neighbors import allocate
from bayespot.observables import MeanEnergy
from bayespot.potentials import CommitteeMean, Fallback, LennardJones, energy_and_forces
from bayespot.system import System
from bayespot.units import BOLTZMANN

MEMBER = LennardJones(3.4, 0.0103, 6.5, trainable=True)
pytestmark = pytest.mark.usefixtures("compile_module_fast")
BASELINE = LennardJones(3.3, 0.009, 6.5)
MEAN = CommitteeMean(MEMBER, 3)
CRYSTAL = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 2, 2)))
HOT = NVT(60.0, 5.0, friction=0.02)


def _params(draws=1):
    sigma, epsilon = np.array([3.35, 3.4, 3.47]), np.array([0.009, 0.0103, 0.012])
    made = {"log_sigma": jnp.log(jnp.asarray(sigma)), "log_epsilon": jnp.log(jnp.asarray(epsilon))}
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (draws, 3)), made)


LENGTH = Length(60, stride=5, blocks=3)


def _run(monitor, potential=MEAN, params=None, length=LENGTH, **more):
    more = {"ensemble": HOT, "replicas": 2, "keep": 1, **more}
    ensemble = more.pop("ensemble")
    return simulate(
        jax.random.key(1), potential, _params() if params is None else params, CRYSTAL, ensemble,
        length, [MeanEnergy("u")], monitor=monitor, **more,
    )  # fmt: skip


def _statistics(positions):
    """By numpy, of one configuration."""
    system = CRYSTAL.replace(positions=jnp.asarray(positions))
    lists = allocate(system, 6.5, 0.5)
    params = jax.tree.map(lambda x: x[0], _params())
    compute = jax.jit(lambda p: energy_and_forces(MEMBER, p, system, lists))
    made = [compute(jax.tree.map(lambda x, k=k: x[k], params)) for k in range(3)]
    energies, forces = (np.array([m[i] for m in made], float) for i in range(2))
    sigma = np.sqrt(forces.var(axis=0, ddof=1).sum(axis=-1))
    size = np.linalg.norm(forces.mean(axis=0), axis=-1)
    return {
        "max": sigma.max(),
        "mean": sigma.mean(),
        "relative": (sigma / (size + 1.0)).max(),
        "energy": energies.std(ddof=1) / 32,
    }


@pytest.fixture(scope="module")
def free(compile_module_fast):
    """A monitor that only looks."""
    return _run(Monitor(1e9))


@pytest.fixture(scope="module")
def plain(compile_module_fast):
    return _run(None)


def test_traces_are_the_committees_disagreement(free, plain):
    made, seen = free, watched(free)
    assert not seen.above.any()
    assert seen.traces["max"].shape == (1, 2, 12)
    for replica, frame in ((0, 0), (1, 7), (0, 11)):
        expected = _statistics(made.frames.positions[0, replica, frame])
        for name, value in expected.items():
            assert seen.traces[name][0, replica, frame] == pytest.approx(value, rel=2e-3), name
    # a monitor that only looks changes nothing
    np.testing.assert_array_equal(plain.frames.positions, made.frames.positions)


def test_stop_freezes_at_the_first_frame_above(free):
    seen = watched(free).traces["max"][0]
    threshold = float(np.sort(seen.max(axis=1))[0] + 1e-6)  # one replica stays below
    made = _run(Monitor(threshold, action="stop"))
    lost = int(np.argmax(seen.max(axis=1)))
    first = int(np.argmax(seen[lost] > threshold))
    assert made.reason[0, lost] == REASONS.index("the members of its committee disagreed")
    assert made.reason[0, 1 - lost] == 0
    assert made.failed_at[0, lost] == 5 * (first + 1)
    trace = watched(made).traces["max"][0, lost]
    assert np.isfinite(trace[: first + 1]).all()
    assert np.isnan(trace[first + 1 :]).all()


def test_kept_configurations_are_those_above(free):
    trace = watched(free).traces["max"][0]
    threshold = float(np.median(trace))
    made = watched(_run(Monitor(threshold, dumps=4)))
    np.testing.assert_array_equal(made.above[0], trace > threshold)
    # window 1: every frame above, up to four in a block of four frames
    expected = [(0, r, f) for r, f in np.argwhere(trace > threshold)]
    assert [tuple(w) for w in made.where] == expected
    for (_, replica, frame), positions in zip(made.where, made.positions, strict=True):
        np.testing.assert_array_equal(positions, free.frames.positions[0, replica, frame])
    few = watched(_run(Monitor(threshold, dumps=1)))
    blocks = {(r, f // 4) for _, r, f in expected}
    assert len(few.where) == len(blocks) < len(expected)


def test_fallen_trajectories_conserve_the_energy_of_the_baseline():
    potential = Fallback(MEAN, BASELINE)
    params = {"members": _params(), "baseline": {}}
    length, ensemble = Length(40, stride=1, blocks=40), NVE(60.0, 5.0)
    spread = {}
    for threshold in (1e-6, 1e9):
        made = _run(
            Monitor(threshold, action="fall back"), potential, params, length, ensemble=ensemble
        )
        kinetic = 0.5 * (3 * 32 - 3) * BOLTZMANN * made.temperature[:, 0, 0]
        for name, judge in (("members", MEAN), ("baseline", BASELINE)):
            p = jax.tree.map(lambda x: x[0], params["members"]) if name == "members" else {}
            lists = allocate(CRYSTAL, 6.5, 0.5, capacity_factor=1.5)

            @jax.jit
            @jax.vmap
            def energies(positions, judge=judge, p=p, lists=lists):
                system = CRYSTAL.replace(positions=positions)
                here = lists.update(system)
                return judge.energy(p, system, here), here.overflow

            potential_energy, crowded = energies(jnp.asarray(made.frames.positions[0, 0]))
            assert not crowded.any()
            spread[threshold, name] = np.ptp((kinetic + np.asarray(potential_energy))[2:])
    # above any threshold the baseline drives, below none the members
    assert spread[1e-6, "baseline"] < 0.1 * spread[1e-6, "members"]
    assert spread[1e9, "members"] < 0.1 * spread[1e9, "baseline"]


@dataclasses.dataclass(frozen=True)
class _Told:
    """A committee of two atoms whose forces disagree as told."""

    @property
    def committee(self):
        return self

    def member_params(self, params):
        return params

    def member_forces(self, params, system, neighbors):
        forces = jnp.zeros((2, 2, 3)).at[0, 0, 1].set(params * jnp.sqrt(2.0))
        return jnp.array([0.0, 1.0]), forces  # ddof=1: the standard deviation is ``params``


@pytest.mark.parametrize("window", [1, 3])
def test_window_release_and_pauses_frame_by_frame(window):
    monitor = Monitor(1.0, action="fall back", window=window, release=0.6, dumps=9)
    atoms = System.from_ase(bulk("Ar", "fcc", a=5.3).repeat((2, 1, 1)))
    values = np.random.default_rng(0).choice([0.1, 0.5, 0.8, 1.3, 2.0], 60)
    lists = allocate(atoms, 3.0)
    look = jax.jit(lambda memory, value: monitor.look(memory, _Told(), value, atoms, lists))
    memory, fallen, wait, told = monitor.begin(), False, 0, []
    for n, value in enumerate(values):
        memory, now, above, keep = look(memory, jnp.asarray(value, jnp.float32))
        assert float(now["max"]) == pytest.approx(value, rel=1e-5)
        mean = values[max(0, n + 1 - window) : n + 1].mean()
        fallen = mean > 1.0 or (fallen and mean > 0.6)
        kept = mean > 1.0 and wait <= 0
        wait = (window if kept else wait) - 1 if mean > 1.0 else 0
        told.append((mean > 1.0, fallen, kept))
        assert (bool(above), bool(memory["fallen"]), bool(keep)) == told[-1], n
    states = np.array(told)
    assert states[:, 1].sum() > states[:, 0].sum() > 5  # it returns later than it goes
    assert (states[:, 2].sum() < states[:, 0].sum()) == (window > 1)


def test_recalibration_scales_each_element():
    atoms = bulk("Ar", "fcc", a=5.3).repeat((2, 1, 1))
    atoms.numbers[1] = 10
    monitor = Monitor(1.0, scale=2.0, element_scales=((10, 5.0),), energy_scale=3.0)
    forces = jnp.zeros((2, 2, 3)).at[0, 0, 1].set(np.sqrt(2.0)).at[0, 1, 2].set(np.sqrt(2.0))
    made = monitor.statistics(jnp.array([0.0, 1.0]), forces, System.from_ase(atoms))
    assert float(made["max"]) == pytest.approx(5.0)
    assert float(made["mean"]) == pytest.approx(3.5)
    assert float(made["energy"]) == pytest.approx(3 * np.sqrt(0.5) / 2)


def test_killed_runs_see_the_same(tmp_path):
    monitor = Monitor(0.01, window=2, dumps=2)
    whole = _run(monitor, keep=0, checkpoint=tmp_path / "a")

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 20:
            raise Killed

    with pytest.raises(Killed):
        _run(monitor, keep=0, checkpoint=tmp_path / "b", callback=kill)
    again = _run(monitor, keep=0, checkpoint=tmp_path / "b")
    for name, values in whole.means["uncertainty"].items():
        np.testing.assert_array_equal(values, again.means["uncertainty"][name])


def test_impossible_monitors_are_refused(plain):
    with pytest.raises(UserError, match="no members that could disagree"):
        _run(Monitor(1.0), BASELINE, {})
    with pytest.raises(UserError, match="belong together"):
        _run(Monitor(1.0, action="fall back"))
    with pytest.raises(UserError, match="positive finite"):
        Monitor(0.0)
    with pytest.raises(UserError, match="fraction of the threshold"):
        Monitor(1.0, release=1.5)
    with pytest.raises(UserError, match="had no monitor"):
        watched(plain)
