"""Chains that diverge are told apart, reported, and never averaged in."""

import numpy as np

from bayespot.infer import _draws, runaway
from samplers import Info, Result


def _result(alive=(True, True, True), divergent=0.0, worse=None):
    noise = np.full((3, 5), np.log(0.05))
    if worse is not None:
        noise[worse] = np.log(0.9)
    trace = np.zeros((3, 7))
    info = Info(trace, trace, trace, np.full((3, 7), divergent))
    draws = {
        "potential": np.zeros((3, 5, 2)),
        "noise": {"log_sigma_energy": noise, "log_sigma_forces": np.full((3, 5), np.log(0.05))},
    }
    failed = np.where(alive, -1, 17)
    return Result(draws, info, np.asarray(alive), failed, 2)


START = {"noise": {k: np.full(3, np.log(0.04)) for k in ("log_sigma_energy", "log_sigma_forces")}}


def test_a_runaway_chain_is_excluded_and_named():
    made = _draws(_result(worse=1), START)
    assert made.healthy.tolist() == [True, False, True]
    assert "far worse than its start" in made.verdicts[1]
    assert runaway({k: v * np.nan for k, v in _result().draws["noise"].items()}, START["noise"], 0)


def test_dead_chains_and_dead_starts_are_excluded():
    made = _draws(_result((True, False, True)), START, np.array([True, False, False]))
    assert made.healthy.tolist() == [False, False, True]
    assert "warm start" in made.verdicts[0]
    assert "step 17" in made.verdicts[1]
    assert made.by_chain()["potential"].shape[0] == 1


def test_divergent_transitions_are_counted_after_burn_in():
    made = _draws(_result(divergent=1.0))
    assert "5 divergent transitions" in made.verdicts[0]
    assert made.healthy.all()
