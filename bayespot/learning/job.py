"""``bayespot learn``: a run, and new labels where they narrow its intervals, round after round.

A round trains the posterior, simulates its observables, explores with its draws, chooses frames,
and labels them; each is a directory ``rounds/00``, ``rounds/01``, ... that is an ordinary run
directory besides (round 0 is what ``bayespot run`` would have made).  Everything a round does is
decided by its seed and by files that are there whole or not at all: killed at any moment, the
same command ends with the same bytes.

The run directory ends with the files of the last round, ``learn.json`` (every round),
``learn.png`` and ``.svg``, ``learn.md`` to be read, and ``train.extxyz`` and ``validation.extxyz``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayespot import build, calculators, files
from bayespot import config as cfg
from bayespot.active import Labelled, label
from bayespot.config.learn import LearnConfig
from bayespot.data import Frame, make_dataset
from bayespot.errors import UserError
from bayespot.learning.rounds import Round, extend
from bayespot.pipeline import Given, Job, without_paths
from bayespot.progress import Progress
from bayespot.run_folder import Stage, claim, finish, potential_hash, versions

LAST = ("posterior.nc", "potential.json", "observables.nc", "report.json", "report.html")
"""Of the last round, copied to the top; reports are missing where MD was not stable."""


def learn(config: LearnConfig, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Learn in ``folder``, continuing whatever is there; return ``learn.json``.

    Raises:
        UserError: the folder belongs to another configuration or other data, the input is wrong, or
            the calculator does not give the labels of the training frames.
    """
    with jax.enable_x64(config.run.precision == "float64"):
        return _Learning(config, folder, progress or Progress(enabled=False)).run()


class _Learning:
    def __init__(self, config: LearnConfig, folder: Path, progress: Progress) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        self.seconds: dict[str, float] = {}
        self.records: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        with self._stage("read data"):
            self._read()
        done = self.folder / "learn.json"
        if done.exists():
            self.progress.note("learned already: learn.json")
            finish(self.folder, {})
            return json.loads(done.read_text(encoding="utf-8"))
        number = 0
        while True:
            self.progress.note(f"round {number}: {len(self.frames['train'])} training frames")
            folder = self.folder / "rounds" / f"{number:02d}"
            one = Round(
                self.config, folder, self.progress,
                functools.partial(self._job, folder, number, self.frames),
            )  # fmt: skip
            why = self._round(one, number)
            if why is not None:
                break
            number += 1
        self.progress.note(why)
        return self._end(one, why)

    def _read(self) -> None:
        """Data, the potential, which stays what it is, and the calculator."""
        config = self.config
        self.make = calculators.named(config.learn.calculator)
        self.frames = build.read_splits(config.data, config.run.seed)
        potential = build.potential(config.potential, self.frames["train"])
        splits = build.datasets(self.frames, potential.cutoff)
        self.given = Given(self.frames, potential, splits.shift, begin=list(self.frames["train"]))
        starts = build.simulated(config.md, self.frames["train"])
        build.observables(config, starts)
        posterior = build.posterior(config.posterior, potential, splits.train)
        self.init = posterior.init
        begin = make_dataset(starts, splits.shift, potential.cutoff)
        digest = "".join(part.fingerprint for part in (*splits[:3], begin))
        identity = {
            "settings": without_paths(config),
            "potential": potential_hash(potential),
            "data": hashlib.sha256(digest.encode()).hexdigest(),
        }
        claim(self.folder, cfg.dumps(config), identity)
        self.data_hash = identity["data"]
        check_calculator(self.make, self.frames["train"][0], self.folder / "rounds" / "check")

    def _round(self, one: Round, number: int) -> str | None:
        """Everything of a round; why it was the last, or None."""
        record = one.finished()
        if record is None:
            with self._stage(f"round {number}: train and simulate"):
                one.measure(number)
            record = one.judged()
        tried = sum(r.get("tried", 0) for r in self.records)
        self._tell(record)
        why = stops(self.config.learn, record, number, tried)
        if why is not None:
            self.records.append(record)
            return why
        if "tried" not in record:
            left = self.config.learn.labels
            count = self.config.learn.frames
            count = count if left is None else min(count, left - tried)
            with self._stage(f"round {number}: explore and choose"):
                one.explore(self.frames, count)
            with self._stage(f"round {number}: label"):
                record = one.label(self.make, record)
        self.records.append(record)
        made = one.added()
        for place, failed in made.failed.items():
            logging.getLogger("bayespot").warning("label %d failed: %s", place, failed)
        if made.failed:
            first = next(iter(made.failed.values()))
            self.progress.note(f"{len(made.failed)} of {record['tried']} labels failed: {first}")
        if not record["tried"]:
            return "exploration found nothing that is not there already"
        if not made.frames:
            return "all labels of a round failed"
        self._extend(made, number)
        self.before = one
        return None

    def _extend(self, made: Labelled, number: int) -> None:
        """New frames join training and, where that is a part of training, validation."""
        held = 0
        if self.config.data.validation is None:
            held = round(self.config.data.validation_fraction * len(made.frames))
        self.frames = extend(self.frames, made.frames, held, (self.config.run.seed, number))

    def _job(self, folder: Path, number: int, frames: dict[str, list[Frame]]) -> Job:
        """The run of this round, warm from the one before."""
        # an ordinary run: nothing of it depends on [learn]
        config = cfg.Config(**{k: v for k, v in self.config if k != "learn"})
        starts = None
        if number:
            seed = int(np.random.SeedSequence([config.run.seed, number]).generate_state(1)[0])
            changes: dict[str, Any] = {"run": config.run.model_copy(update={"seed": seed})}
            if self.config.learn.retrain == "warm":
                starts = self.before.last(self.init, seed)
                changes["sampler"] = shortened(config.sampler, self.config.learn.warm_share)
            config = config.model_copy(update=changes)
        given = self.given._replace(frames=frames, starts=starts)
        return Job(config, folder, self.progress, given)

    def _tell(self, record: dict[str, Any]) -> None:
        from bayespot.report.learning import line

        self.progress.note(line(record))

    def _end(self, one: Round, why: str) -> dict[str, Any]:
        from bayespot.report import learning as report

        if self.records[-1]["stability"]["draws"] >= 2:
            one.job.report(*one.state)
        for name in LAST:
            source = one.folder / name
            if source.exists():
                files.write_atomically(
                    self.folder / name, lambda p, s=source: shutil.copyfile(s, p)
                )
        for name in ("train", "validation"):
            write_frames(self.folder / f"{name}.extxyz", self.frames[name])
        made = {
            "title": self.config.title,
            "stopped": why,
            "reached": why == REACHED,
            "calculator": self.config.learn.calculator,
            "choice": self.config.learn.choice,
            "half_width": dict(self.config.learn.half_width),
            "labels": sum(r.get("tried", 0) for r in self.records),
            "failed_labels": sum(len(r.get("failed", {})) for r in self.records),
            "rounds": self.records,
            "versions": versions(),
            "data_sha256": self.data_hash,
        }
        report.write(self.folder, made)
        files.write_json(self.folder / "learn.json", made)
        finish(self.folder, self.seconds)
        return made

    def _stage(self, name: str) -> Stage:
        return Stage(name, self.seconds, self.progress)


REACHED = "every observable is as certain as wanted"


def stops(settings: Any, record: dict[str, Any], number: int, tried: int) -> str | None:
    """Why learning ends after a round was judged, or None.

    Args:
        settings: [learn].
        record: of the round.
        number: of the round, the first is 0.
        tried: labels before it.
    """
    widths = {name: record["observables"][name]["half_width"] for name in settings.half_width}
    stability = record["stability"]
    lost = stability["draws_lost"] / max(stability["draws_lost"] + stability["draws"], 1)
    narrow = all(w is not None and w <= settings.half_width[n] for n, w in widths.items())
    if widths and narrow and lost <= settings.max_unstable:
        return REACHED
    if number == settings.rounds:
        return f"{number} rounds made"
    if settings.labels is not None and tried >= settings.labels:
        return f"{tried} labels spent"
    return None


def shortened(sampler: cfg.SamplerConfig, share: float) -> cfg.SamplerConfig:
    """The same with a part of its optimisation: it starts where another ended."""
    if sampler.warm_start is None:
        return sampler
    steps = max(1, round(share * sampler.warm_start.steps))
    warm = sampler.warm_start.model_copy(update={"steps": steps})
    return sampler.model_copy(update={"warm_start": warm})


def check_calculator(make: Any, frame: Frame, folder: Path) -> None:
    """Refuse a calculator that labels a training frame otherwise than it is labelled.

    Raises:
        UserError: it fails, or belongs to another method, charge or energy zero.
    """
    made = label([frame.atoms], make, folder, source="the calculator's check")
    fix = "Name the calculator of the training labels in [learn], or label those anew"
    if made.failed:
        raise UserError(f"the calculator fails on {frame.where}: {made.failed[0]}", fix)
    gap = float(np.sqrt(np.mean((made.frames[0].forces - frame.forces) ** 2)))
    size = float(np.sqrt(np.mean(frame.forces**2)))
    energy = abs(made.frames[0].energy - frame.energy) / len(frame.atoms)
    if gap > 0.02 + 0.05 * size or energy > 0.02:
        raise UserError(
            f"the calculator's label of {frame.where} differs from the one there by"
            f" {gap:.3g} eV/Angstrom and {energy:.3g} eV an atom",
            fix,
        )


def write_frames(path: Path, frames: list[Frame]) -> None:
    """Labelled frames as extxyz."""
    import ase.io
    from ase.calculators.singlepoint import SinglePointCalculator

    images = []
    for frame in frames:
        atoms = frame.atoms.copy()
        for name in ("energy", "forces", "stress"):
            atoms.info.pop(f"REF_{name}", None)
            atoms.arrays.pop(f"REF_{name}", None)
        more = {} if frame.stress is None else {"stress": frame.stress}
        atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces, **more)
        images.append(atoms)
    files.write_atomically(path, lambda p: ase.io.write(p, images, format="extxyz"))
