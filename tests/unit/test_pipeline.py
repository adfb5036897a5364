"""What a run directory's files say, without running anything."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from bayespot import config, pipeline
from bayespot.errors import UserError
from bayespot.md import Trajectories
from bayespot.potentials import PairMLP
from bayespot.progress import Progress

RAW = {
    "data": {"train": "train.extxyz", "test": "test.extxyz"},
    "potential": {"kind": "pair_mlp"},
    "sampler": {"method": "ensemble", "chains": 2},
    "md": {"temperature": 300.0},
    "observables": [{"kind": "mean_energy"}],
}


def _job(folder, **changes):
    made = pipeline.Job(config.parse({**RAW, **changes}), folder, Progress(enabled=False))
    made.data_hash, made.potential = "0" * 64, PairMLP()
    return made


def _turned(content):
    """The same content, every mapping in the opposite order."""
    if isinstance(content, dict):
        return {k: _turned(content[k]) for k in reversed(list(content))}
    return [_turned(x) for x in content] if isinstance(content, list) else content


def test_the_order_of_fields_is_no_other_run(tmp_path, monkeypatch):
    first, second = _job(tmp_path), _job(tmp_path)
    first._open()
    real = pipeline.without_paths
    monkeypatch.setattr(pipeline, "without_paths", lambda c: _turned(real(c)))
    assert list(pipeline.without_paths(second.config)) != list(real(second.config))
    second._open()
    assert second.fingerprint == first.fingerprint
    other = _job(tmp_path, md={"temperature": 301.0})
    with pytest.raises(UserError, match="other settings"):
        other._open()
    # a table that was edited: its file has the same name, the potential is another
    edited = _job(tmp_path)
    edited.potential = PairMLP(range=4.0)
    with pytest.raises(UserError, match="other potential"):
        edited._open()


def test_simulation_json_is_json_whatever_the_numbers(tmp_path, monkeypatch):
    job = _job(tmp_path)
    made = Trajectories(
        {}, np.full((1, 2, 1), np.nan), np.zeros((2, 1), int), np.full((2, 1), -1), 0
    )
    monkeypatch.setattr(job, "trajectories", lambda: (None, made))
    odd = {"observables": {"u": {"mean": float("nan"), "md": 0.5}}}
    monkeypatch.setattr(pipeline.Job, "answers", SimpleNamespace(of=lambda made, ways: odd))
    job.simulate()

    def refuse(constant):
        raise AssertionError(constant)

    written = json.loads((tmp_path / "simulation.json").read_text(), parse_constant=refuse)
    assert written["observables"] == {"u": {"mean": None, "md": 0.5}}
    assert written["stability"]["mean_temperature"] is None
    assert written["stability"]["draws"] == 2
