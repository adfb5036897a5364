"""What the engine does besides integrating: chunks, devices, trajectories, failures."""

import dataclasses
import subprocess
import sys
import textwrap

import ase.io
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.errors import UserError
from bayespot.md import NPT, NVT, REASONS, Length, engine, simulate
from bayespot.observables import Density, MeanEnergy
from bayespot.potentials import LennardJones
from bayespot.system import System

CRYSTAL = System.from_ase(bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 2, 2)))
LJ = LennardJones(3.405, 0.010323, 8.0, trainable=True)
STACK = {
    "log_sigma": jnp.log(jnp.linspace(3.3, 3.45, 5)),
    "log_epsilon": jnp.full(5, jnp.log(0.0103)),
}


def _run(length=None, ensemble=None, **more):
    return simulate(
        jax.random.key(0), LJ, STACK, CRYSTAL, ensemble or NVT(40.0, 5.0),
        length or Length(200, 40, stride=10, blocks=5), [MeanEnergy("u"), Density("d")],
        replicas=2, **more,
    )  # fmt: skip


def test_chunks_change_nothing(monkeypatch):
    whole = _run()
    seen = []
    divide = engine._Batch.divide

    def small(self, carry, memory):
        divide(self, carry, memory)
        seen.append(self.chunk)
        self.chunk = 2  # five draws: the last chunk is filled up

    monkeypatch.setattr(engine._Batch, "divide", small)
    parts = _run()
    assert seen == [5]
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)


def test_a_budget_makes_chunks():
    plan_sizes = []

    class Spy(engine._Batch):
        def divide(self, carry, memory):
            super().divide(carry, memory)
            plan_sizes.append(self.chunk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_Batch", Spy)
        _run(memory=1e12)
        _run(memory=1.0)
    assert plan_sizes[0] == 5
    assert plan_sizes[1] == 1


def test_draws_spread_over_devices():
    code = """
    import jax, numpy as np
    from tests.physics.test_engine import CRYSTAL, LJ, STACK
    from bayespot.md import NPT, Length, simulate
    from bayespot.observables import Density
    four = jax.tree.map(lambda x: x[:4], STACK)
    def go(**more):
        return simulate(jax.random.key(0), LJ, four, CRYSTAL, NPT(40.0, 5.0),
                        Length(60, stride=10, blocks=2), [Density("d")], replicas=2, **more)
    one, two = go(), go(mesh=jax.make_mesh((2,), ("draws",)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)
    try:
        simulate(jax.random.key(0), LJ, STACK, CRYSTAL, NPT(40.0), Length(10, blocks=1), [],
                 mesh=jax.make_mesh((2,), ("draws",)))
    except ValueError as error:
        assert "5 draws" in str(error)
        print("spread")
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        env={"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PATH": "", "HOME": "/tmp"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "spread", done.stderr


class Killed(Exception):
    pass


def test_trajectories_are_written_and_survive_a_kill(tmp_path):
    length = Length(80, 20, stride=5, blocks=4)

    def kill(block):
        if block.step >= 60:
            raise Killed

    ensemble = NPT(40.0, (5.0, 2.5))
    one = _run(length, ensemble, trajectory=tmp_path / "a.h5", trajectory_stride=2)
    with pytest.raises(Killed):
        _run(length, ensemble, trajectory=tmp_path / "b.h5", trajectory_stride=2,
             checkpoint=tmp_path / "c", callback=kill)  # fmt: skip
    assert not (tmp_path / "b.h5").exists()
    _run(length, ensemble, trajectory=tmp_path / "b.h5", trajectory_stride=2,
         checkpoint=tmp_path / "c")  # fmt: skip
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        assert a["positions"].shape == (8, 5, 2, 32, 3)
        for name in a:
            np.testing.assert_array_equal(a[name][()], b[name][()])
        np.testing.assert_allclose(a["time_between_frames"][0], [50.0, 25.0])
        np.testing.assert_array_equal(a["positions"][-1], one.final.positions)
        np.testing.assert_array_equal(a["cell"][-1], one.final.cell)
        assert a["positions"].attrs["unit"] == "Angstrom"
    _run(length, ensemble, trajectory=tmp_path / "folder", trajectory_stride=4)
    frames = ase.io.read(tmp_path / "folder/draw004_replica001.extxyz", ":")
    assert len(frames) == 4
    assert frames[-1].info == {"time_fs": 200.0, "state": "stable"}
    np.testing.assert_allclose(
        frames[-1].positions, np.asarray(one.final.positions)[4, 1], atol=1e-4
    )
    assert all(frames[0].pbc)
    with pytest.raises(UserError, match="do not divide"):
        _run(length, trajectory=tmp_path / "d.h5", trajectory_stride=3)
    with pytest.raises(UserError, match="no kind of trajectory"):
        _run(length, trajectory=tmp_path / "d.pdb")


def test_a_collapse_is_given_up_and_harms_no_other():
    """One draw attracts without end: its lists cannot grow for ever, the other's go on."""

    @dataclasses.dataclass(frozen=True)
    class Gravity(LennardJones):
        def atomic_energies(self, params, system, neighbors):
            centre = jnp.mean(system.positions, axis=0)
            return 0.5 * params["k"] * jnp.sum((system.positions - centre) ** 2, axis=1)

    sites = 9.5 * np.stack(np.meshgrid(*[np.arange(6)] * 3), -1).reshape(-1, 3)[:200]
    atoms = Atoms("Ar200", sites, cell=[60] * 3, pbc=True)
    made = simulate(
        jax.random.key(0), Gravity(3.4, 0.01, 4.0), {"k": jnp.array([0.0, 0.05])},
        System.from_ase(atoms), NVT(10.0, 5.0, friction=0.05),
        Length(1500, stride=50, blocks=3), [MeanEnergy("u")],
    )  # fmt: skip
    assert made.reason[0, 0] == 0
    assert REASONS[made.reason[1, 0]].startswith("atoms fell together")
    assert made.failed_at[1, 0] >= 0
    assert np.all(np.isfinite(made.means["u"]["energy"]))
    assert made.capacity_retries > 0
