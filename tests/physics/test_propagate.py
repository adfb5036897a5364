"""Trajectories that break are begun again elsewhere, and counted."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.data import Frame, Shift, make_dataset
from bayespot.md import NVT, Length, Stability
from bayespot.neighbors import SMALL
from bayespot.observables import Custom
from bayespot.potentials import Potential
from bayespot.propagate import propagate


@dataclasses.dataclass(frozen=True)
class Bond(Potential):
    @property
    def cutoff(self):
        return 0.0

    def init(self, key, system):
        return {"k": jnp.ones(())}

    def atomic_energies(self, params, system, neighbors):
        x = system.positions
        length = jnp.linalg.norm(x[1] - x[0])
        return jnp.zeros(len(x)).at[0].set(0.5 * params["k"] * (length - 1.0) ** 2)


def _length(frame):
    return jnp.linalg.norm(frame.system.positions[1] - frame.system.positions[0])


LENGTH = Custom("length", _length, unit="Å")
PARAMS = {"k": jnp.asarray([0.05, 0.05, 0.05])}


def _starts(*lengths):
    assert SMALL > 2
    atoms = [Atoms("Ar2", positions=[[0, 0, 0], [0, 0, d]]) for d in lengths]
    frames = [Frame(a, 0.0, np.zeros((2, 3)), "made", n) for n, a in enumerate(atoms)]
    return make_dataset(frames, Shift((18,), (0.0,)), 0.0)


def _run(starts, restarts, **more):
    return propagate(
        jax.random.key(2), Bond(), PARAMS, starts, NVT(20.0, 5.0, friction=0.01),
        Length(100, stride=10, blocks=2), [LENGTH], replicas=4,
        stability=Stability(((0, 1),), (1.0,), 0.5), restarts=restarts, **more,
    )  # fmt: skip


def test_broken_trajectories_are_begun_again_and_counted(tmp_path):
    starts = _starts(1.0, 1.0, 1.9)  # the last breaks at once
    plain, mended = _run(starts, 0), _run(starts, 4)
    broken = plain.reason > 0
    assert 1 < broken.sum() < 10
    assert plain.restarted is None
    assert np.all(mended.reason == 0)
    np.testing.assert_array_equal(mended.restarted > 0, broken)
    assert mended.restarted.max() >= 1
    # what was stable is untouched, what was mended is a whole trajectory
    before, after = plain.means["length"]["value"], mended.means["length"]["value"]
    np.testing.assert_array_equal(after[:, ~broken], before[:, ~broken])
    assert np.all(np.abs(after - 1.0) < 0.4)
    assert np.all(np.abs(mended.temperature - 20.0) < 60)
    # once more from its checkpoint: the same bytes
    kept = _run(starts, 4, checkpoint=tmp_path)
    again = _run(starts, 4, checkpoint=tmp_path)
    np.testing.assert_array_equal(kept.means["length"]["value"], after)
    np.testing.assert_array_equal(again.means["length"]["value"], after)


def test_what_always_breaks_stays_broken():
    made = _run(_starts(1.9), 2)
    assert np.all(made.reason > 0)
    np.testing.assert_array_equal(made.restarted, 2)


def test_configurations_of_restarted_trajectories_are_not_kept():
    with pytest.raises(ValueError, match="not kept"):
        _run(_starts(1.0), 1, keep=1)
