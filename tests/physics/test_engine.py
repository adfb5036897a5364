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
from bayespot.md import NPT, NVE, NVT, REASONS, Length, Stability, batch, program, simulate
from bayespot.neighbors import allocate
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


@pytest.mark.parametrize("chunk", [(2, 2), (1, 1)])
def test_chunks_change_nothing(monkeypatch, chunk):
    """Five draws in twos: the last chunk is filled up."""
    whole = _run()

    def small(self, carry, earlier=None):
        assert self.chunk == (5, 2)
        self.chunk = chunk

    monkeypatch.setattr(batch.Batch, "divide", small)
    parts = _run()
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)


def test_a_budget_is_kept_or_refused(monkeypatch):
    seen = []
    divide = batch.Batch.divide

    def spy(self, carry, chunk=None):
        divide(self, carry, chunk)
        kept = sum(x.nbytes for x in jax.tree.leaves((carry, carry, self.params)))
        needs = program.memory_needed(self.plan, *self._piece(carry, self.chunk))
        seen.append((self.chunk, kept, needs))

    monkeypatch.setattr(batch.Batch, "divide", spy)
    _run(memory=1e12)
    (whole, kept, needs) = seen[-1]
    assert whole == (5, 2)
    for share, chunk in ((0.5, (1, 2)), (0.15, (1, 1))):
        budget = kept + share * needs
        _run(memory=budget)
        assert seen[-1][0] == chunk
        assert seen[-1][1] + seen[-1][2] <= 1.02 * budget
    with pytest.raises(UserError, match="one trajectory needs"):
        _run(memory=1.0)


@pytest.mark.slow
def test_draws_spread_over_devices():
    code = """
    import jax, numpy as np
    from tests.physics.test_engine import CRYSTAL, LJ, STACK
    from bayespot.md import NPT, Length, simulate
    from bayespot.errors import UserError
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
    except UserError as error:
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


@pytest.mark.slow
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
    # finished: nothing to do again, and nothing to do wrong
    before = (tmp_path / "b.h5").read_bytes()
    _run(length, ensemble, trajectory=tmp_path / "b.h5", trajectory_stride=2,
         checkpoint=tmp_path / "c")  # fmt: skip
    assert (tmp_path / "b.h5").read_bytes() == before
    (tmp_path / "b.h5").rename(tmp_path / "moved.h5")
    with pytest.raises(UserError, match="is gone"):
        _run(length, ensemble, trajectory=tmp_path / "b.h5", trajectory_stride=2,
             checkpoint=tmp_path / "c")  # fmt: skip
    (tmp_path / "moved.h5").rename(tmp_path / "b.h5")
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


@pytest.mark.usefixtures("compile_fast")
@pytest.mark.slow
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


@pytest.mark.parametrize("ensemble", [NVE(40.0, 200.0), NVT(40.0, 200.0), NPT(40.0, 200.0)])
def test_a_time_step_that_blows_up_is_flagged(ensemble):
    """Energies stay finite, and a thermostat has the wreck cold again when anyone looks."""
    made = simulate(
        jax.random.key(0), LJ, STACK, CRYSTAL, ensemble, Length(200, stride=100, blocks=1), []
    )
    assert {REASONS[r].split(":")[0] for r in made.reason.ravel()} <= {
        "it blew up", "a number is not finite"
    }  # fmt: skip


@pytest.mark.slow
def test_a_hot_but_healthy_run_is_not_flagged():
    """A start far from rest at a low temperature, and three freedoms only."""
    far = CRYSTAL.positions + 0.3 * jax.random.normal(jax.random.key(1), CRYSTAL.positions.shape)
    made = simulate(
        jax.random.key(0), LJ, STACK, CRYSTAL, NVE(1.0, 2.0), Length(200, blocks=1), [],
        starts=jnp.broadcast_to(far, (5, 1, *far.shape)),
    )  # fmt: skip
    assert np.all(made.reason == 0)
    assert made.temperature.min() > 50.0
    lone = System.from_ase(Atoms("Ar", [[0, 0, 0]], cell=[20] * 3, pbc=True))
    made = simulate(
        jax.random.key(0), LJ, STACK, lone, NVT(2000.0, 5.0, friction=0.1), Length(20_000), [],
        replicas=8,
    )  # fmt: skip
    assert np.all(made.reason == 0)


def _drop(skin):
    """Argon atoms in a weak trap, from a dilute start."""

    @dataclasses.dataclass(frozen=True)
    class Trap(LennardJones):
        pairwise = False

        def atomic_energies(self, params, system, neighbors):
            pull = 0.5 * 0.02 * jnp.sum(system.positions**2, axis=1)
            return super().atomic_energies(params, system, neighbors) + pull

    sites = 11.0 * (np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3) - 1.5)
    system = System.from_ase(Atoms("Ar64", sites))
    return simulate(
        jax.random.key(0), Trap(3.405, 0.0103, 7.0), {}, system, NVT(30.0, 5.0, friction=0.02),
        Length(1500, stride=50, blocks=3), [MeanEnergy("u")], skin=skin,
    )  # fmt: skip


@pytest.mark.usefixtures("compile_fast")
@pytest.mark.slow
def test_a_gas_that_condenses_is_healthy():
    """Its lists outgrow those of a start without neighbours many times over."""
    narrow, wide = _drop(0.5), _drop(12.0)
    assert narrow.reason == 0
    assert narrow.capacity_retries > 3
    for a, b in zip(narrow.means["u"]["energy"], wide.means["u"]["energy"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0.1)


@pytest.mark.usefixtures("compile_fast")
def test_lists_make_room_for_the_densest_start():
    """The first start has no neighbours at all."""
    open_system = System.from_ase(Atoms("Ar40", np.zeros((40, 3))))
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3)[:40]
    apart, close = jnp.asarray(sites * 20.0), jnp.asarray(sites * 3.8)
    starts = jnp.stack([apart, close])[None].astype(float)
    made = simulate(
        jax.random.key(0), LennardJones(3.405, 0.0103, 8.0), {}, open_system, NVT(5.0, 2.0),
        Length(20, blocks=1), [MeanEnergy("u")], starts=starts,
    )  # fmt: skip
    energy = made.means["u"]["energy"][0, 0]
    assert energy[0] == 0.0
    assert energy[1] < -1.0


@pytest.mark.slow
def test_a_checkpoint_of_another_simulation_is_refused(tmp_path):
    def go(**change):
        settings = {"ensemble": NVT(40.0, 5.0), "length": Length(40, blocks=2)} | change
        return _run(checkpoint=tmp_path, **settings)

    first = go()
    again = go()
    np.testing.assert_array_equal(first.means["u"]["energy"], again.means["u"]["energy"])
    for change, match in (
        ({"ensemble": NVT(400.0, 5.0)}, "starts, parameters or conditions"),
        ({"ensemble": NPT(40.0, 5.0)}, "settings"),
        ({"length": Length(80, blocks=2)}, "settings"),
        ({"skin": 0.4}, "settings"),
        ({"fingerprint": "x"}, "fingerprint"),
    ):
        with pytest.raises(UserError, match=match):
            go(**change)


@pytest.mark.slow
def test_resume_is_bit_exact_with_grown_lists_and_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "CACHE", 4e6)

    def go(**more):
        return simulate(
            jax.random.key(4), LJ, STACK, CRYSTAL, NPT(20.0, 5.0, 3.0, compressibility=0.3),
            Length(600, stride=10, blocks=6), [Density("d")], replicas=2, skin=0.3, **more,
        )  # fmt: skip

    def kill(block):
        if block.step >= 500:
            raise Killed

    whole = go()
    assert whole.capacity_retries > 0
    with pytest.raises(Killed):
        go(checkpoint=tmp_path, callback=kill)
    parts = go(checkpoint=tmp_path)
    for a, b in zip(
        jax.tree.leaves((whole.means, whole.final)), jax.tree.leaves((parts.means, parts.final)),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)


def test_bonds_reach_across_the_boundary():
    pair = System.from_ase(Atoms("N2", [[0.4, 5, 5], [9.4, 5, 5]], cell=[10] * 3, pbc=True))
    momenta = jnp.zeros((2, 3))
    for length, code in ((1.0, 0), (1.8, 2)):
        criteria = Stability(((0, 1),), (length,), 0.5)
        assert int(criteria.check(pair, momenta, allocate(pair, 3.0))) == code
