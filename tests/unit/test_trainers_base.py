"""The loop that drives trainers: resume, refusals, early stopping, callbacks."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayespot.errors import UserError
from bayespot.files import save_arrays
from bayespot.trainers import Trainer, fit, patience


class State(NamedTuple):
    params: jax.Array
    momentum: jax.Array
    key: jax.Array
    count: jax.Array


class Noisy(Trainer):
    """Descends to zero with momentum and noise; its steps depend on a buffer that it grows."""

    def __init__(self, stop_at=None):
        self.room, self.stop_at = 1, stop_at

    def init(self, key, params):
        none = jnp.zeros((), jnp.int32)
        return State(params, jnp.zeros_like(params), jax.random.key_data(key), none)

    def update(self, state):
        if self.stop_at is not None and int(state.count) == self.stop_at:
            raise KeyboardInterrupt
        self.room = max(self.room, int(state.count) // 2)
        use, key = jax.random.split(jax.random.wrap_key_data(state.key))
        noise = jax.random.normal(use, state.params.shape) / self.room
        momentum = 0.9 * state.momentum - 0.1 * state.params + 0.01 * noise
        params = state.params + momentum
        record = {"loss": jnp.sum(params**2, axis=-1), "curve": params}
        return State(params, momentum, jax.random.key_data(key), state.count + 1), record

    def sizes(self):
        return {"room": self.room}

    def restore_sizes(self, sizes):
        self.room = sizes["room"]


class Other(Noisy):
    pass


START = jnp.asarray([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])
KEY = jax.random.key(3)


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


def test_history_and_result():
    seen = []
    made = fit(KEY, Noisy(), START, 5, callback=lambda n, record: seen.append((n, record)))
    assert made.stopped == "5 updates made"
    assert made.history["loss"].shape == (5, 2)
    assert made.history["curve"].shape == (5, 2, 3)
    np.testing.assert_array_equal(made.params, made.history["curve"][-1])
    assert int(made.state.count) == 5
    assert [n for n, _ in seen] == [1, 2, 3, 4, 5]
    np.testing.assert_array_equal([r["loss"] for _, r in seen], made.history["loss"])
    nothing = fit(KEY, Noisy(), START, 0)
    assert nothing.history == {}
    np.testing.assert_array_equal(nothing.params, START)


@pytest.mark.parametrize("between", [0.0, 1e9])
def test_resume_after_an_interruption_is_bit_exact(tmp_path, between):
    """Killed at update 6; with rare checkpoints the work since the last is made again."""
    whole = fit(KEY, Noisy(), START, 9)
    where = tmp_path / "deep" / "fit.npz"
    fit(KEY, Noisy(), START, 4, checkpoint=where)
    with pytest.raises(KeyboardInterrupt):
        fit(KEY, Noisy(stop_at=6), START, 9, checkpoint=where, seconds_between=between)
    counted = []
    # neither key nor parameters of the call count: the state is that of the file
    resumed = fit(
        jax.random.key(8), Noisy(), 0 * START, 9,
        checkpoint=where, callback=lambda n, _: counted.append(n),
    )  # fmt: skip
    assert counted == ([7, 8, 9] if between == 0 else [5, 6, 7, 8, 9])
    same_bits(whole.history, resumed.history)
    same_bits(whole.state._asdict(), resumed.state._asdict())
    again = fit(KEY, Noisy(), START, 9, checkpoint=where)
    same_bits(whole.history, again.history)


def test_sizes_matter_to_the_bits(tmp_path):
    """Control of the test above: a trainer that forgets its sizes ends elsewhere."""

    class Forgetful(Noisy):
        def restore_sizes(self, sizes):
            del sizes

    where = tmp_path / "fit.npz"
    whole = fit(KEY, Forgetful(), START, 8)
    fit(KEY, Forgetful(), START, 7, checkpoint=where)
    odd = Forgetful()
    odd.room = 3  # right by chance
    same_bits(whole.history, fit(KEY, odd, START, 8, checkpoint=where).history)
    fit(KEY, Forgetful(), START, 7, checkpoint=tmp_path / "b.npz")
    far = Forgetful()
    far.room = 50
    made = fit(KEY, far, START, 8, checkpoint=tmp_path / "b.npz")
    assert not np.array_equal(whole.history["loss"], made.history["loss"])


def test_the_checkpoint_of_something_else_is_refused(tmp_path):
    where = tmp_path / "fit.npz"
    fit(KEY, Noisy(), START, 2, checkpoint=where, fingerprint="one")
    fit(KEY, Noisy(), START, 3, checkpoint=where, fingerprint="one")
    cases = [
        (Noisy(), START, "two"),
        (Other(), START, "one"),
        (Noisy(), START[:1], "one"),
        (Noisy(), START.astype(jnp.bfloat16), "one"),
    ]
    for trainer, params, mark in cases:
        with pytest.raises(UserError, match="training of something else"):
            fit(KEY, trainer, params, 4, checkpoint=where, fingerprint=mark)
    where.write_bytes(b"PK no archive")
    with pytest.raises(UserError, match="no checkpoint"):
        fit(KEY, Noisy(), START, 4, checkpoint=where, fingerprint="one")
    save_arrays(where, [np.zeros(3)], {"of": "another module"})
    with pytest.raises(UserError, match="training of something else"):
        fit(KEY, Noisy(), START, 4, checkpoint=where)


def test_a_trainer_with_nothing_to_say_resumes(tmp_path):
    class Silent(Noisy):
        def update(self, state):
            return super().update(state)[0], {}

    where = tmp_path / "fit.npz"
    fit(KEY, Silent(), START, 3, checkpoint=where)
    made = fit(KEY, Silent(), START, 5, checkpoint=where)
    assert int(made.state.count) == 5
    assert made.history == {}


def test_patience():
    """Counts updates since the last new minimum of any member."""
    falls = np.array([[5.0, 9], [4, 8], [4, np.nan], [4.5, 8], [6, 8]])
    stop = patience("loss", 3)
    assert [stop({"loss": falls[:n]}) for n in (1, 2, 3, 4)] == [None] * 4
    assert stop({"loss": falls}) == "loss has not improved for 3 updates"
    late = falls.copy()
    late[3, 1] = 7.9  # one member that improves is enough
    assert stop({"loss": late}) is None
    dead = np.full((4, 1), np.nan)
    assert stop({"loss": dead}) is not None
    assert stop({"loss": dead[:, 0]}) is not None
    with pytest.raises(UserError, match="no los to be patient with"):
        patience("los", 3)({"loss": falls})


def test_early_stopping_ends_the_loop_and_the_resumed_one(tmp_path):
    where = tmp_path / "fit.npz"

    def stop(history):
        return "enough" if len(history["loss"]) >= 3 else None

    for _ in range(2):
        made = fit(KEY, Noisy(), START, 9, stop=stop, checkpoint=where)
        assert made.stopped == "enough"
        assert len(made.history["loss"]) == 3
    whole = fit(KEY, Noisy(), START, 9)
    same_bits(whole.history, fit(KEY, Noisy(), START, 9, checkpoint=where).history)
