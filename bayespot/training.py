"""``bayespot fit``: data and targets -> a trainer -> parameters, history, errors.

A run directory holds ``config.toml`` (resolved), ``run.log``, and once training has ended
``history.npz`` (what every update recorded), ``posterior.nc`` (the members, as draws), figures of
the loss and the targets, and ``fit.json``, the report.  Until then the checkpoint of the trainer
is all that counts: a fit that is killed at any moment ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayespot import build, files, trainers
from bayespot import config as cfg
from bayespot.committee import save_potential
from bayespot.draws import Draws
from bayespot.errors import UserError
from bayespot.progress import Progress
from bayespot.run_folder import (
    Stage,
    bare_names,
    claim,
    finish,
    fitted_hash,
    potential_hash,
    start_params,
    versions,
)
from bayespot.training_report import (
    course,
    label_errors,
    log_noise,
    resampler_of,
    target_table,
    verdicts,
)


def fit(config: cfg.FitConfig, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train in ``folder``, continuing whatever is there; return the report.

    Raises:
        UserError: the folder belongs to another configuration or other data, or the input is wrong.
    """
    with jax.enable_x64(config.run.precision == "float64"):
        return _Job(config, folder, progress or Progress(enabled=False)).run()


class _Job:
    def __init__(self, config: cfg.FitConfig, folder: Path, progress: Progress) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        self.seconds: dict[str, float] = {}

    def run(self) -> dict[str, Any]:
        with self._stage("read data"):
            self.input = build.read_input(self.config)
            start, init, walk, *self.measure = jax.random.split(
                jax.random.key(self.config.run.seed), 6
            )
            self.trainer = build.trainer(self.config, self.input, start)
            self.data_hash = _data_hash(self.config, self.input)
        self._open()
        done = self.folder / "fit.json"
        if done.exists():
            self.progress.note("fitted already: fit.json")
            finish(self.folder, {})
            return json.loads(done.read_text())
        params = self._start(init)
        with self._stage("train"):
            made = trainers.fit(
                walk,
                self.trainer,
                params,
                self.config.trainer.updates,
                stop=self._stop(),
                checkpoint=self.folder / "checkpoints" / "fit.npz",
                seconds_between=self.config.trainer.checkpoint_seconds,
                fingerprint=self.fingerprint,
                callback=self.progress.training(self.config.trainer.updates),
            )
        self.progress.note(made.stopped)
        files.save_named(self.folder / "history.npz", made.history)
        draws = self._draws(made)
        save_potential(self.folder, self.input.potential, self.input.starts[0].atoms)
        draws.save(self.folder / "posterior.nc")
        with self._stage("report"):
            report = self._report(params, made, draws)
        files.write_json(done, report)
        finish(self.folder, self.seconds)
        return report

    def _open(self) -> None:
        identity = {
            "settings": _settings(self.config),
            "potential": potential_hash(self.input.potential),
            "data": self.data_hash,
        }
        if self.config.trainer.start is not None:
            identity["fit"] = fitted_hash(self.config.trainer.start)
        self.fingerprint = claim(self.folder, cfg.dumps(self.config), identity)
        logging.getLogger("bayespot").info(
            "seed %d, device %s, data %s",
            self.config.run.seed, jax.devices()[0].device_kind, self.data_hash,
        )  # fmt: skip

    def _start(self, key: jax.Array) -> Any:
        """First parameters of all members."""
        potential, system = self.input.potential, self.input.system
        members, folder = self.config.trainer.members, self.config.trainer.start
        if folder is None:
            keys = jax.random.split(key, members)
            return jax.vmap(lambda k: potential.init(k, system))(keys)
        like = jax.eval_shape(lambda k: potential.init(k, system), key)
        params, provenance = start_params(folder, like, members)
        if provenance.get("potential_sha256") != potential_hash(potential):
            self.progress.note(
                f"[potential] has other numbers than in {folder}: its parameters mean something"
                " else here"
            )
        return jax.tree.map(lambda x, y: jax.numpy.asarray(x, y.dtype), params, like)

    def _stop(self) -> trainers.Stop | None:
        """Early stopping."""
        section = self.config.trainer
        stable = self.config.part(cfg.StABlEPart)
        if stable is section and stable.stable_for is not None:
            return self.trainer.stable(stable.stable_for)  # type: ignore[attr-defined]
        if section.patience is not None:
            labels = isinstance(section, cfg.ForceMatchingPart)
            return trainers.patience("validation_loss" if labels else "loss", section.patience)
        return trainers.give_up() if isinstance(section, cfg.InterleavedTrainer) else None

    def _draws(self, made: trainers.Fit) -> Draws:
        """Members as draws, one of each chain."""
        params, splits = made.params, self.input.splits
        content = {"potential": params}
        if splits is not None:
            content["noise"] = log_noise(self.input.potential, params, splits.validation.batch)
        told, healthy = verdicts(params, made.history)
        if not healthy.any():
            raise UserError(
                f"no member has finite parameters ({told[0]})",
                "Lower learning_rate of [trainer.optimizer], or look at the data for outliers",
            )
        config = self.config
        if config.data is not None:
            config = config.model_copy(update={"data": bare_names(config.data)})
        return Draws(
            jax.tree.map(lambda x: np.asarray(x)[:, None], content),
            np.full((len(healthy), 1), np.nan),  # a fit has no density
            healthy,
            told,
            {
                "config": cfg.dumps(config),
                "data_sha256": self.data_hash,
                "potential_sha256": potential_hash(self.input.potential),
                "seed": config.run.seed,
                "versions": versions(),
                "energy_shift": None if splits is None else splits.shift._asdict(),
            },
        )

    def _report(self, first: Any, made: trainers.Fit, draws: Draws) -> dict[str, Any]:
        from bayespot.report import training as figures

        splits = self.input.splits
        report: dict[str, Any] = {
            "title": self.config.title,
            "trainer": self.config.trainer.kind,
            "members": self.config.trainer.members,
            "updates": len(next(iter(made.history.values()))),
            "stopped": made.stopped,
            "verdicts": draws.verdicts,
            "versions": versions(),
            "data_sha256": self.data_hash,
            "course": course(made.history),
        }
        if splits is not None:
            report["data"] = {
                name: part.statistics()
                for name, part in zip(("train", "validation", "test"), splits[:3], strict=True)
            }
            labels = self.config.part(cfg.ForceMatchingPart)
            sites = labels is not None and labels.mapping is not None
            report["errors"] = label_errors(
                self.input.potential, made.params, splits, energies=not sites
            )
        if self.input.targets:
            self.progress.note("simulate the first and the last parameters")
            report["targets"] = target_table(
                *self._resampler(), self.input.measured, {"before": first, "after": made.params},
                self.measure[1:],
            )  # fmt: skip
        figures.write(self.folder, made.history, report)
        return report

    def _resampler(self) -> tuple[trainers.Resampler, Any]:
        """The trainer's; a new one where labels are all it knows and targets a check."""
        own = resampler_of(self.trainer)
        if own is not None:
            return own
        assert self.config.md is not None
        simulation, more = build.simulation_of(
            self.config.md, self.config.trainer.members, self.input, self.measure[0]
        )
        return trainers.Resampler(simulation, more["replicas"]), more["starts"]

    def _stage(self, name: str) -> Stage:
        return Stage(name, self.seconds, self.progress)


def _settings(config: cfg.FitConfig) -> dict[str, Any]:
    """What results depend on; of files the content counts, which is hashed elsewhere."""
    content = config.model_dump(mode="json")
    for term in (content["potential"], *content["potential"].get("priors", ())):
        term.pop("file", None)
    if content["md"] is not None and content["md"]["start"] is not None:
        del content["md"]["start"]["structure"]
    if content["data"] is not None:
        content["data"] = {k: v for k, v in content["data"].items() if "fraction" in k}
    for target in content["targets"]:
        target.pop("file")
    for part in (content["trainer"], *content["trainer"].get("parts", ())):
        part.pop("reference", None)
        if part.get("mapping"):
            part["mapping"].pop("file")  # frames are hashed as mapped
        for criterion in part.get("structure", ()):
            criterion.pop("file")
    for name in ("start", "checkpoint_seconds"):
        content["trainer"].pop(name)
    return {k: v for k, v in content.items() if k != "title"}


def _data_hash(config: cfg.FitConfig, made: build.Input) -> str:
    """Of everything that was read but the potential's files."""
    digest = hashlib.sha256()
    if made.splits is not None:
        digest.update("".join(part.fingerprint for part in made.splits[:3]).encode())
        labels = config.part(cfg.ForceMatchingPart)
        if labels is not None:
            weights = build.frame_weights(labels, made.splits.train.frames)
            digest.update(b"" if weights is None else weights.tobytes())
    for frames in (made.starts, *made.reference):
        for frame in frames:
            atoms = frame.atoms
            for values in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.get_masses()):
                digest.update(np.ascontiguousarray(values, np.float64).tobytes())
    curves = [(t.value, t.error) for t in made.targets]
    for numbers in (*curves, *((c.reference,) for c in made.structure)):
        for values in numbers:
            digest.update(np.ascontiguousarray(values, np.float64).tobytes())
    return digest.hexdigest()
