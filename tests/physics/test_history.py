"""What the engine remembers: histories of observables, kept frames, programs of earlier runs."""

import dataclasses
import functools

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.errors import UserError
from bayespot.md import NVT, Length, Simulation, batch, simulate
from bayespot.neighbors import allocate
from bayespot.observables import Density, MeanEnergy, Observable
from bayespot.potentials import LennardJones
from bayespot.system import System
from tests.physics.traps import Springs

pytestmark = pytest.mark.usefixtures("compile_fast")

CRYSTAL = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 1, 1)))
LJ = LennardJones(3.405, 0.010323, 5.0, trainable=True)
HOT = NVT(60.0, (4.0, 3.0), friction=0.005)


def _params(*sigmas):
    return {"log_sigma": jnp.log(jnp.array(sigmas)), "log_epsilon": jnp.full(len(sigmas), -4.6)}


# Histories of independent atoms in a well: programs without lists compile fast


ATOMS = System.from_ase(Atoms("Ar3", np.eye(3)))
STACK = {"k": jnp.array([0.3, 0.6, jnp.nan, 2e3])}  # two fail at once, and must harm no other
GOOD = slice(0, 2)


@dataclasses.dataclass(frozen=True)
class Trail(Observable):
    """The history itself; with one frame to a block nothing is averaged."""

    name: str = "trail"
    reach: int = 4

    @property
    def unit(self):
        return ""

    @property
    def window(self):
        return self.reach

    def track(self, frame):
        return jnp.concatenate([frame.system.positions, frame.momenta], axis=1)

    def snapshot(self, frame):
        assert (frame.history is None) == (self.reach == 0)
        return {"all": frame.history if self.reach else self.track(frame)}

    def reduce(self, mean, context):
        return mean["all"]


EACH = Length(60, 15, stride=5, blocks=12)
"""A block for each frame, and no more equilibration than a reach of 4 needs."""


def _run(length, *observables, keep=0, **more):
    made = Simulation(Springs(), ATOMS, HOT, length, observables, keep=keep)
    return made.run(jax.random.key(2), STACK, replicas=2, **more), made


@functools.cache
def _frames():
    """(frame, draw, replica, atoms, 6) of all 80 steps, looked at one by one."""
    made, _ = _run(Length(80, stride=5, blocks=16), Trail("now", 0))
    assert made.reason.tolist() == [[0, 0], [0, 0], [1, 1], [5, 5]]
    return made.means["now"]["all"]


@functools.cache
def _tracked():
    return _run(EACH, Trail(), Trail("short", 2), keep=1)[0]


def _loop(frames, first, reach):
    """(frame, draw, replica, reach, ...) of the production, this moment first."""
    past = [[frames[i - k] for k in range(reach)] for i in range(first, len(frames))]
    return np.stack([np.stack(moments, axis=2) for moments in past])


def _close(a, b):
    return np.allclose(a[:, GOOD], b[:, GOOD], rtol=1e-4, atol=1e-5)


def test_history_is_what_a_loop_over_frames_keeps():
    """Across blocks, draws and replicas, and back into the equilibration; other draws fail."""
    made, frames = _tracked(), _frames()[:15]
    for name, reach in (("trail", 4), ("short", 2)):
        found, expected = made.means[name]["all"], _loop(frames, 3, reach)
        assert found.shape == (12, 4, 2, reach, 3, 6)
        assert _close(found, expected)
        assert not _close(found, np.roll(expected, 1, axis=0))
        assert not _close(found, expected[:, :, ::-1])
        assert not _close(found, expected[:, [1, 0, 2]])
        assert not _close(found, expected[:, :, :, ::-1])
    kept = np.moveaxis(made.frames.positions, 2, 0)  # of the production only
    for k in range(4):
        found = made.means["trail"]["all"][k:, GOOD, :, k, :, :3]
        np.testing.assert_array_equal(found, kept[: 12 - k, GOOD])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(made.means))


def test_history_is_averaged_over_the_frames_of_a_block():
    made, _ = _run(Length(60, 20, stride=5, blocks=3), Trail())
    each = _loop(_frames(), 4, 4)
    assert _close(made.means["trail"]["all"], each.reshape(3, 4, *each.shape[1:]).mean(axis=1))


class Killed(Exception):
    pass


def test_history_survives_chunks_and_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "CACHE", 1.0)
    whole, made = _run(EACH, Trail(), Trail("short", 2))
    assert made.sizes()["chunk"] == (1, 1)
    for name in ("trail", "short"):
        assert _close(whole.means[name]["all"], _tracked().means[name]["all"])

    def kill(block):
        if block.step >= 40:
            raise Killed

    with pytest.raises(Killed):
        _run(EACH, Trail(), Trail("short", 2), checkpoint=tmp_path, callback=kill)
    parts, _ = _run(EACH, Trail(), Trail("short", 2), checkpoint=tmp_path)
    for name in ("trail", "short"):
        np.testing.assert_array_equal(whole.means[name]["all"], parts.means[name]["all"])
    with pytest.raises(UserError, match="other settings"):
        _run(EACH, Trail(), Trail("short", 3), checkpoint=tmp_path)


def test_history_is_right_after_a_block_is_repeated(monkeypatch):
    """As if a list had overflowed in the middle of the production."""
    left = [40]
    block = batch.Batch.block

    def crowded(self, carry, step):
        new, averages = block(self, carry, step)
        if step in left:
            left.remove(step)
            full = jnp.ones_like(new.neighbors.overflow)
            new = new._replace(neighbors=dataclasses.replace(new.neighbors, overflow=full))
        return new, averages

    monkeypatch.setattr(batch.Batch, "block", crowded)
    monkeypatch.setattr(batch.Batch, "grow", lambda self, old, *_: old)
    made, _ = _run(EACH, Trail(), Trail("short", 2), keep=1)
    assert made.capacity_retries == 1
    for a, b in zip(jax.tree.leaves(made.means), jax.tree.leaves(_tracked().means), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(made.frames.positions, _tracked().frames.positions)


def test_a_history_longer_than_the_equilibration_is_refused():
    for reach, equilibration in ((5, 15), (2, 0)):
        with pytest.raises(UserError, match=f"trail looks back {5 * reach - 5} steps, and only"):
            _run(Length(60, equilibration, stride=5, blocks=12), Trail(reach=reach))
    Simulation(Springs(), ATOMS, HOT, EACH, [Trail()])  # just enough
    with pytest.raises(UserError, match="2 observables are called trail"):
        _run(EACH, Trail(), Trail(reach=2))


# A crystal with lists, run again and again

SHORT = Length(40, 20, stride=5, blocks=2)


@functools.cache
def _again():
    observables = [MeanEnergy("u"), Density("d"), Trail(reach=3)]
    return Simulation(LJ, CRYSTAL, HOT, SHORT, observables, keep=2)


def _starts(seed):
    return CRYSTAL.positions + 0.05 * jax.random.normal(jax.random.key(seed), (2, 2, 8, 3))


def _same(a, b, rtol=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-5)


def test_a_second_run_compiles_nothing():
    made, compiled = _again(), []

    def note(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    first = made.run(jax.random.key(0), _params(3.4, 3.45), replicas=2)
    params, starts = _params(3.3, 3.42), _starts(5)
    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        second = made.run(jax.random.key(1), params, starts=starts)
        assert not compiled
        jax.jit(lambda x: 3 * x - 1)(jnp.zeros(7))
        assert compiled  # control: it would be noticed
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    fresh = simulate(
        jax.random.key(1), LJ, params, CRYSTAL, HOT, SHORT, made.observables,
        starts=starts, keep=2,
    )  # fmt: skip
    _same(second, fresh)
    assert not np.allclose(first.means["u"]["energy"], second.means["u"]["energy"], rtol=1e-3)


def _energies(params, frames):
    """Of kept frames, from lists of their own."""
    first = CRYSTAL.replace(cell=jnp.asarray(frames.cell[0, 0, 0]))
    lists = allocate(first, LJ.cutoff, 0.5, capacity_factor=3.0, cell_margin=0.3)

    def one(params, positions, cell):
        here = CRYSTAL.replace(positions=positions, cell=cell)
        built = lists.update(here)
        return jnp.where(built.overflow, jnp.nan, LJ.energy(params, here, built))

    each = jax.jit(jax.vmap(jax.vmap(jax.vmap(one, (None, 0, 0)), (None, 0, 0))))
    return each(params, jnp.asarray(frames.positions), jnp.asarray(frames.cell))


def test_kept_frames_are_those_of_a_trajectory(tmp_path):
    params = _params(3.3, 3.42)
    kept = _again().run(jax.random.key(1), params, replicas=2).frames
    assert kept.positions.shape == (2, 2, 4, 8, 3)
    simulate(
        jax.random.key(1), LJ, params, CRYSTAL, HOT, SHORT, _again().observables,
        replicas=2, trajectory=tmp_path / "a.h5", trajectory_stride=2,
    )  # fmt: skip
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(np.moveaxis(kept.positions, 2, 0), file["positions"])
        np.testing.assert_array_equal(np.moveaxis(kept.cell, 2, 0), file["cell"])
    expected = _energies(params, kept)
    np.testing.assert_allclose(kept.energy, expected, rtol=1e-5)
    assert not np.allclose(kept.energy, np.roll(expected, 1, axis=2), rtol=1e-4)
    assert not np.allclose(kept.energy, expected[::-1], rtol=1e-4)


def test_what_a_failed_replica_leaves_is_marked():
    kept = _tracked().frames
    assert np.all(np.isfinite(kept.energy[GOOD]))
    assert np.all(np.isnan(kept.energy[2:]))
    assert np.all(np.isfinite(kept.positions[3]))  # of before it blew up


def test_trajectories_have_cells_of_their_own():
    """Two volumes in one batch are two simulations of one volume each."""
    key, params, scale = jax.random.key(3), _params(3.3, 3.42), 1.06
    large = CRYSTAL.replace(positions=scale * CRYSTAL.positions, cell=scale * CRYSTAL.cell)
    cells, starts = (
        jnp.broadcast_to(jnp.stack([a, b]), (2, 2, *a.shape))
        for a, b in ((CRYSTAL.cell, large.cell), (CRYSTAL.positions, large.positions))
    )
    both = _again().run(key, params, starts=starts, cells=cells)
    other = Simulation(LJ, large, HOT, SHORT, _again().observables, keep=2)
    other.restore_sizes(_again().sizes())  # nothing to compile
    alone = [_again().run(key, params, replicas=2), other.run(key, params, replicas=2)]
    volume = both.means["d"]["volume"]
    np.testing.assert_allclose(volume[0, :, 1] / volume[0, :, 0], scale**3, rtol=1e-5)
    for i, one in enumerate(alone):
        _same(*(jax.tree.map(lambda x, i=i: x[:, :, i], m.means) for m in (both, one)), 1e-4)
        for a, b in ((both.frames, one.frames), (both.final, one.final)):
            np.testing.assert_allclose(a.positions[:, i], b.positions[:, i], atol=1e-4)
            np.testing.assert_allclose(a.cell[:, i], b.cell[:, i], rtol=1e-6)
    energy, apart = both.frames.energy, alone[0].frames.energy
    assert not np.allclose(energy[:, 1], apart[:, 1], rtol=1e-2)  # control
    np.testing.assert_allclose(energy, _energies(params, both.frames), rtol=1e-5)


def test_lists_of_an_earlier_run_serve_another_cell():
    """Its grid is too coarse: energies are those of fresh lists."""
    params, scale = _params(3.0, 3.1), 0.86
    cells = jnp.broadcast_to(scale * CRYSTAL.cell, (2, 2, 3, 3))
    before = _again().sizes()
    made = _again().run(jax.random.key(1), params, starts=scale * _starts(6), cells=cells)
    assert np.all(made.reason == 0)
    assert _again().sizes() != before
    np.testing.assert_allclose(made.frames.energy, _energies(params, made.frames), rtol=1e-5)


def test_what_cannot_be_kept_or_has_no_cell_is_refused(tmp_path):
    key, params = jax.random.key(0), _params(3.4)
    with pytest.raises(UserError, match="a checkpoint would not have them"):
        _again().run(key, params, checkpoint=tmp_path)
    with pytest.raises(UserError, match="a trajectory is written and frames are kept"):
        _again().run(key, params, trajectory=tmp_path / "a.h5")
    with pytest.raises(UserError, match="do not divide"):
        simulate(key, LJ, params, CRYSTAL, HOT, SHORT, [], keep=3, replicas=2)
    with pytest.raises(UserError, match="keep is -1"):
        simulate(key, LJ, params, CRYSTAL, HOT, SHORT, [], keep=-1)
    for cells, match in (
        (CRYSTAL.cell, r"cells must be \(draws, replicas, 3, 3\), not \(3, 3\)"),
        (jnp.ones((1, 1, 3, 3)), r"not \(1, 1, 3, 3\)"),
        (jnp.full((1, 2, 3, 3), jnp.nan), "a cell is not finite"),
        (jnp.broadcast_to(0.1 * CRYSTAL.cell, (1, 2, 3, 3)), "draw 0, replica 0 leaves"),
    ):
        with pytest.raises(UserError, match=match):
            _again().run(key, params, replicas=2, cells=cells)
