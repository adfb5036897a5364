"""DiffTRe, relative entropy and their turns on traps whose averages are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bayespot.errors import UserError
from bayespot.md import NVT, Length, Simulation, Stability
from bayespot.observables import MSD, VACF, EinsteinDiffusion, MeanEnergy
from bayespot.observed import Measurements
from bayespot.trainers import DiffTRe, Interleaved, RelativeEntropy, Target, fit
from tests.physics.traps import ATOMS, KT, SYSTEM, Spread, Trap, trap_simulation

pytestmark = pytest.mark.usefixtures("compile_fast")


def _start(*log_k):
    return {"log_k": jnp.asarray(log_k)}


ADAM = optax.adam(optax.exponential_decay(0.2, 20, 0.1), b1=0.1, b2=0.4)


def test_difftre_finds_the_spring(caplog):
    """Two members from either side; the answer is kT over the target."""
    trainer = DiffTRe(trap_simulation(), [Target(Spread(), 0.02, 0.002)], ADAM, replicas=4)
    made = fit(jax.random.key(0), trainer, _start(-0.2, 1.0), 25)
    exact = np.log(KT / 0.02)
    # 4 x 40 frames x 120 coordinates, correlated over a few frames
    np.testing.assert_allclose(made.params["log_k"], exact, atol=0.06)
    assert made.history["loss"][-1].max() < 0.05 * made.history["loss"][0].min()
    assert made.history["spread"].shape == (25, 2)
    again = made.history["trajectories"][:, 0]
    assert again[0] == 1
    assert again.sum() < 25  # some updates reweight
    assert np.all(np.diff(made.history["effective_share"][again == 1]) == 0)  # one after each


def test_energies_are_differentiated_too():
    """<U> is 3/2 N kT whatever k: the two ways its gradient depends on k cancel."""
    target = Target(MeanEnergy("energy"), 0.0)
    trainer = DiffTRe(trap_simulation(), [target], optax.sgd(0.0), replicas=4)
    state, record = trainer.update(trainer.init(jax.random.key(1), _start(0.5)))
    exact = 1.5 * ATOMS * KT
    assert record["energy"][0] == pytest.approx(exact, rel=0.05)
    # of <U>^2, against the part that each way gives
    assert record["gradient_norm"][0] < 0.2 * 2 * exact**2
    del state


def test_steps_that_would_lose_the_sample_are_shortened():
    far = optax.sgd(1.0)
    target = Target(Spread(), 0.002, 0.001)
    trainer = DiffTRe(trap_simulation(), [target], far, replicas=2, trust=0.3)
    state, record = trainer.update(trainer.init(jax.random.key(2), _start(0.0)))
    assert record["step_halved"][0] >= 3
    assert float(state.reference.fraction[0, 0]) >= 0.3
    bold = DiffTRe(trap_simulation(), [target], far, replicas=2, trust=0.0)
    state, record = bold.update(bold.init(jax.random.key(2), _start(0.0)))
    assert record["step_halved"][0] == 0
    assert float(state.reference.fraction[0, 0]) < 0.3


def test_state_points_are_told_apart():
    """Spreads at two temperatures: one spring, and free energies of each."""
    simulation = trap_simulation((300.0, 300.0, 600.0, 600.0))
    targets = [Target(Spread(), 0.02, 0.002, point=0), Target(Spread(), 0.04, 0.004, point=1)]
    trainer = DiffTRe(simulation, targets, ADAM, replicas=4)
    assert [p.temperature for p in trainer.resampler.points] == [300.0, 600.0]
    made = fit(jax.random.key(3), trainer, _start(0.6), 20)
    np.testing.assert_allclose(made.params["log_k"], np.log(KT / 0.02), atol=0.08)
    hot, cold = made.history["spread@1"][-1, 0], made.history["spread@0"][-1, 0]
    assert hot / cold == pytest.approx(2.0, rel=0.1)
    # A = 3/2 N kT ln k + const
    change = float(made.params["log_k"][0]) - 0.6
    expected = 1.5 * ATOMS * np.array([KT, 2 * KT]) * change
    found = trainer.free_energies(made.state)[0]
    np.testing.assert_allclose(found, expected, rtol=0.05)


def test_relative_entropy_finds_the_law_of_the_frames():
    generator = np.random.default_rng(4)
    exact = 0.7
    frames = generator.normal(0, np.sqrt(KT / np.exp(exact)), (300, ATOMS, 3))
    trainer = RelativeEntropy(trap_simulation(), [frames], ADAM, replicas=4, frames_per_update=100)
    made = fit(jax.random.key(5), trainer, _start(0.0), 25)
    np.testing.assert_allclose(made.params["log_k"], exact, atol=0.05)
    # S_rel falls by N/2 * 3 (ratio - 1 - ln ratio)
    ratio = np.exp(0.0 - exact)
    expected = -1.5 * ATOMS * (ratio - 1 - np.log(ratio))
    made_change = made.history["loss"][-1, 0] - made.history["loss"][0, 0]
    assert made_change == pytest.approx(expected, rel=0.2)


def test_training_resumes_bit_for_bit(tmp_path):
    def new():
        return DiffTRe(trap_simulation(), [Target(Spread(), 0.02, 0.002)], ADAM, replicas=2)

    def run(updates, where):
        return fit(
            jax.random.key(6), new(), _start(0.0, 0.4), updates, checkpoint=where,
            seconds_between=0.0,
        )  # fmt: skip

    whole = run(6, tmp_path / "a.npz")
    run(3, tmp_path / "b.npz")
    rest = run(6, tmp_path / "b.npz")
    np.testing.assert_array_equal(whole.params["log_k"], rest.params["log_k"])
    for name, values in whole.history.items():
        np.testing.assert_array_equal(values, rest.history[name])
    with pytest.raises(UserError, match="something else"):
        fit(jax.random.key(6), new(), _start(0.0), 6, checkpoint=tmp_path / "b.npz")


def test_failed_trajectories_count_nothing_and_all_failed_go_back():
    """A start beyond the distance allowed fails at once."""
    stability = Stability(bonds=((0, 1),), lengths=(0.0,), max_bond_deviation=1.0)
    simulation = trap_simulation(stability=stability)
    starts = np.zeros((1, 4, ATOMS, 3))
    starts[0, 1, 1, 0] = 12.0
    trainer = DiffTRe(
        simulation, [Target(Spread(), 0.02, 0.002)], ADAM, replicas=4, starts=jnp.asarray(starts)
    )
    state, record = trainer.update(trainer.init(jax.random.key(7), _start(0.2)))
    assert np.asarray(state.reference.valid).tolist() == [[True, False, True, True]]
    assert record["spread"][0] == pytest.approx(KT / np.exp(0.2), rel=0.1)
    assert np.isfinite(record["loss"]).all()
    # parameters under which every trajectory fails: half way back, until some stay
    lost = trainer.with_params(state, _start(-9.0))
    back, record = trainer.update(lost)
    assert float(back.params["log_k"][0]) > -5
    assert float(back.shrink[0]) < 1
    assert np.isfinite(record["loss"]).all()
    none = DiffTRe(simulation, [Target(Spread(), 0.02)], ADAM, starts=jnp.asarray(starts[:, 1:2]))
    with pytest.raises(UserError, match="with the first parameters"):
        none.update(none.init(jax.random.key(7), _start(-9.0)))


def test_turns_meet_where_both_agree_and_the_guard_steps_in():
    frames = np.random.default_rng(8).normal(0, np.sqrt(0.02), (200, ATOMS, 3))

    def both(value, tolerance, turns=(1, 1), adam=ADAM):
        target = Target(Spread(), value, 0.002)
        top = DiffTRe(trap_simulation(), [target], adam, replicas=2)
        return Interleaved(
            {
                "bottom": RelativeEntropy(trap_simulation(), [frames], adam, replicas=2),
                "top": top,
            },
            turns,
            tolerance,
        )

    made = fit(jax.random.key(9), both(0.02, 2.0), _start(0.8), 12)
    np.testing.assert_allclose(made.params["log_k"], np.log(KT / 0.02), atol=0.1)
    # one goes three steps the wrong way for each of the other's: its turns soon count for less
    steady = optax.adam(0.1, b1=0.1, b2=0.4)
    fought = fit(jax.random.key(9), both(0.005, 1.5, (3, 1), steady), _start(0.8), 8)
    free = fit(jax.random.key(9), both(0.005, np.inf, (3, 1), steady), _start(0.8), 8)
    assert fought.history["bottom/share"].min() < 0.4
    assert free.history["bottom/share"].min() == 1
    assert fought.history["top/loss"][-1] < 0.8 * free.history["top/loss"][-1]


def test_targets_are_checked():
    with pytest.raises(UserError, match="not positive"):
        Target(Spread(), 0.02, -1.0)
    with pytest.raises(UserError, match="not finite"):
        Target(Spread(), np.nan)
    with pytest.raises(UserError, match="state point 1, and 1 are simulated"):
        DiffTRe(trap_simulation(), [Target(Spread(), 0.02, point=1)], ADAM)
    with pytest.raises(UserError, match="two targets are called spread"):
        DiffTRe(trap_simulation(), [Target(Spread(), 0.02), Target(Spread(), 0.03)], ADAM)
    for past in (VACF("v", 3, 10.0), MSD("v", 3, 10.0), EinsteinDiffusion("v", 3, 10.0)):
        target = Target(past, np.zeros(past.shape))
        for kind in (DiffTRe, Measurements):
            with pytest.raises(UserError, match="v looks back in time, and kept frames have no"):
                kind(trap_simulation(), [target], *([ADAM] if kind is DiffTRe else []))
    keepless = Simulation(Trap(), SYSTEM, NVT(300.0), Length(16, stride=16, blocks=1))
    with pytest.raises(UserError, match="keeps no frames"):
        DiffTRe(keepless, [Target(Spread(), 0.02)], ADAM)
