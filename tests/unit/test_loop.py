"""What the loop does besides stepping: watching, stopping, storing, sharding, advising."""

import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import Target, constant, resgld, run, sgld


def _target():
    def log_density(x, batch=None):
        return -0.5 * jnp.sum((x - 3.0) ** 2)

    return Target(log_density, log_density, 1)


def _run(h=0.2, start=None, **more):
    settings = {"num_burn_in": 100, "num_draws": 400, "thinning": 5, **more}
    start = jnp.zeros((4, 2)) if start is None else start
    return run(jax.random.key(0), sgld(_target(), constant(h)), start, **settings)


def _square(x):
    return x**2


def test_what_is_watched_is_the_function_of_every_draw():
    made = _run(watch=_square)
    np.testing.assert_allclose(made.watched, made.draws**2, rtol=1e-6)
    assert _run().watched.shape == (4, 400, 0)


def test_stops_once_the_ess_is_reached():
    blocks = []
    made = _run(num_draws=4000, watch=_square, min_ess=300.0, callback=blocks.append)
    assert made.stopped == "ess"
    count = made.draws.shape[1]
    assert 100 < count < 2000
    assert blocks[-1].ess >= 300
    assert blocks[-1].rhat < 1.05
    assert made.watched.shape == (4, count, 2)
    with pytest.raises(ValueError, match="min_ess needs watch"):
        _run(min_ess=10.0)


def test_stops_when_the_time_is_up_and_says_so(tmp_path):
    made = _run(
        num_draws=4000, max_seconds=0.2, checkpoint=tmp_path, callback=lambda _: time.sleep(0.1)
    )
    assert made.stopped == "time"
    assert 0 < made.draws.shape[1] < 4000
    again = _run(num_draws=4000, checkpoint=tmp_path)  # a stopped run answers at once
    np.testing.assert_array_equal(again.draws, made.draws)
    assert again.stopped == "time"


def test_draws_on_disk_are_mapped_and_readable_by_numpy(tmp_path):
    made = _run(checkpoint=tmp_path)
    assert isinstance(made.draws.base, np.memmap) or isinstance(made.draws, np.memmap)
    np.testing.assert_array_equal(made.draws, _run().draws)
    plain = np.load(tmp_path / "draws_float32.npy")
    np.testing.assert_array_equal(plain.reshape(400, 4, 2).swapaxes(0, 1), made.draws)
    assert {x.name for x in tmp_path.iterdir()} == {
        "draws_float32.npy", "info_float32.npy", "state.npz",
    }  # fmt: skip


def test_a_torn_block_is_written_again(tmp_path):
    """A kill between the rows and the state leaves rows that nothing counts."""

    class Killed(Exception):
        pass

    def kill(block):
        if block.step > 1000:
            raise Killed

    with pytest.raises(Killed):
        _run(checkpoint=tmp_path, callback=kill)
    before = (tmp_path / "state.npz").read_bytes()
    with pytest.raises(Killed):
        _run(checkpoint=tmp_path, callback=kill)
    (tmp_path / "state.npz").write_bytes(before)
    with open(tmp_path / "draws_float32.npy", "ab") as file:
        file.write(b"half a row")
    np.testing.assert_array_equal(_run(checkpoint=tmp_path).draws, _run().draws)


def test_chains_that_disagree_are_advised_on():
    far = jnp.asarray([[-20.0], [20.0]])

    def wells(x, batch=None):
        return -0.5 * jnp.min((jnp.abs(x) - 20.0) ** 2)

    made = run(
        jax.random.key(0), sgld(Target(wells, wells, 1), constant(0.1)), far, num_burn_in=10,
        num_draws=100, watch=lambda x: x,
    )  # fmt: skip
    assert "chains disagree: R-hat" in made.advice[0]
    assert "resgld, cyclical" in made.advice[0]
    assert _run(watch=_square).advice == ()


def test_a_finite_blow_up_is_advised_on():
    made = _run(h=4.3, num_burn_in=0, num_draws=4)
    assert made.alive.all()
    assert any("runs away: its log density fell by" in text for text in made.advice)


def test_a_ladder_with_a_gap_is_advised_on():
    def narrow(x, batch=None):
        return -0.5 * jnp.sum(x**2)

    sampler = resgld(Target(narrow, narrow, 1), constant(0.01), (1.0, 1e5), 5, 0)
    made = run(jax.random.key(0), sampler, jnp.zeros((2, 20)), num_burn_in=500, num_draws=50)
    assert any("replicas 0 and 1 swap at a rate" in text for text in made.advice)


def test_bad_proposals_are_advised_on():
    from samplers import amagold

    made = run(
        jax.random.key(0), amagold(_target(), 1.9, 0.1, 30), jnp.zeros((2, 50)),
        jnp.zeros((4, 1)), batch_size=2, num_burn_in=0, num_draws=60,
    )  # fmt: skip
    assert any("proposals are accepted: lower the step size" in text for text in made.advice)


MESH = """
import jax, jax.numpy as jnp, numpy as np
from samplers import Target, constant, run, sgld
assert len(jax.devices()) == 2
data = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
f = lambda x, b: -0.5 * jnp.sum(jnp.mean((b - x) ** 2, axis=0)) * 64
target = Target(f, lambda x: f(x, data), 64)
mesh = jax.make_mesh((2,), ("chains",))
sampler = sgld(target, constant(1e-3))
def go(**more):
    return run(jax.random.key(0), sampler, jnp.zeros((4, 3)), data, batch_size=8, num_burn_in=10,
               num_draws=30, thinning=2, **more)
one = go()
for more in ({}, {"stream": True}):
    np.testing.assert_allclose(go(mesh=mesh, **more).draws, one.draws, rtol=1e-5, atol=1e-6)
try:
    run(jax.random.key(0), sampler, jnp.zeros((3, 3)), data, batch_size=8, num_burn_in=0,
        num_draws=3, mesh=mesh)
except ValueError as error:
    assert "3 chains cannot be spread" in str(error)
    print("sharded")
"""


def test_chains_shard_over_a_mesh():
    done = subprocess.run(
        [sys.executable, "-c", MESH], capture_output=True, text=True, timeout=300, check=False,
        env={"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PATH": "", "HOME": "/tmp"},
    )  # fmt: skip
    assert done.stdout.strip() == "sharded", done.stderr


def test_a_cycle_that_gives_no_draw_is_refused():
    from samplers import cyclical

    sampler = cyclical(lambda h, temperature: sgld(_target(), h), 0.1, 10, exploration=0.5)
    with pytest.raises(ValueError, match="choose a thinning"):
        run(jax.random.key(0), sampler._replace(keep=lambda n: n < 0), jnp.zeros((1, 2)),
            num_burn_in=0, num_draws=5)  # fmt: skip
