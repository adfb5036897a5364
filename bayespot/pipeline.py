"""The main job: data -> posterior -> simulation -> report, each stage resumable.

A run directory holds ``config.toml`` (resolved), ``run.log``, and one file a finished stage:
``posterior.nc``, ``observables.nc``, ``report.json``, ``report.html``.  A stage whose file exists
is not repeated; an unfinished one continues from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayespot import build, files, infer, recalibrated
from bayespot.committee import save_potential
from bayespot.config import Config, dumps
from bayespot.data import Frame, Shift, fit_shift, make_dataset
from bayespot.draws import Draws
from bayespot.intervals import Ways, other_ways
from bayespot.intervals.stored import load_ways, save_ways, write_uncertain
from bayespot.intervals.ways import watched_with
from bayespot.md import Trajectories
from bayespot.observables import Context
from bayespot.potentials import Potential
from bayespot.progress import Progress
from bayespot.propagate import propagate
from bayespot.results import load_trajectories, save_trajectories, stability_summary
from bayespot.run_folder import (
    Stage,
    bare_names,
    claim,
    finish,
    fitted,
    fitted_hash,
    versions,
)
from bayespot.run_report import Answers, of_draws


def run(config: Config, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Do the whole job in ``folder``, continuing whatever is there; return the report.

    Raises:
        UserError: the folder belongs to another configuration or other data, or the input is wrong.
    """
    with jax.enable_x64(config.run.precision == "float64"):
        return Job(config, folder, progress or Progress(enabled=False)).run()


def simulate(config: Config, folder: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Data, posterior and simulation without the report on the test set; ``simulation.json``.

    ``run`` in the same folder goes on from there.

    Raises:
        UserError: as for ``run``.
    """
    with jax.enable_x64(config.run.precision == "float64"):
        return Job(config, folder, progress or Progress(enabled=False)).simulate()


class Given(NamedTuple):
    """What a run takes over from another instead of reading or making it.

    Attributes:
        frames: of the three splits.
        potential: the fixed numbers of which came from other training frames, perhaps.
        shift: of the energies.
        starts: first position of each chain (like one draw, leading chain axis); random where None.
        begin: training frames that simulations may start from; all of them where None.
    """

    frames: dict[str, list[Frame]]
    potential: Potential
    shift: Shift
    starts: Any = None
    begin: list[Frame] | None = None


class Job:
    """The stages of a run, one by one."""

    def __init__(
        self, config: Config, folder: Path, progress: Progress, given: Given | None = None
    ) -> None:
        self.config, self.folder, self.progress = config, folder, progress
        self.given = given
        self.seconds: dict[str, float] = {}
        self.ways: Ways | None = None

    def run(self) -> dict[str, Any]:
        """All of them; the report."""
        return self.report(*self.trajectories())

    def report(self, draws: Draws, trajectories: Trajectories) -> dict[str, Any]:
        """The last stage: errors on the test set, observables with intervals, the page."""
        with self._stage("report"):
            report = self._report(draws, trajectories)
        self._finish()
        return report

    def simulate(self) -> dict[str, Any]:
        """All but the report on the test set; ``simulation.json``."""
        _, trajectories = self.trajectories()
        made = {
            "title": self.config.title,
            "versions": versions(),
            "data_sha256": self.data_hash,
            "stability": stability_summary(trajectories, self.config.md),
            **self.answers.of(trajectories, self.ways),
        }
        files.write_json(self.folder / "simulation.json", made)
        self._finish()
        return made

    def _finish(self) -> None:
        finish(self.folder, self.seconds)

    def trajectories(self) -> tuple[Draws, Trajectories]:
        """All stages but the last."""
        with self._stage("read data"):
            given = self.given or self._read()
            self.potential, frames = given.potential, given.frames
            self.splits = build.datasets(frames, self.potential.cutoff, given.shift)
            train = self.splits.train
            starts = build.simulated(self.config.md, given.begin or frames["train"])
            self.observables = build.observables(self.config, starts)
            self.reference = build.reference(self.config.reference, self.observables)
            self.starts = make_dataset(starts, self.splits.shift, self.potential.cutoff)
            self.stability = build.stability(self.config.md, starts)
            self.posterior = build.posterior(self.config.posterior, self.potential, train)
            self.ensemble, self.length = build.md(self.config.md)
            self.data_hash = hashlib.sha256(
                "".join(part.fingerprint for part in (*self.splits[:3], self.starts)).encode()
            ).hexdigest()
        self._open()
        root = jax.random.key(self.config.run.seed)
        sample_key, md_key = jax.random.split(root)
        draws = self._sample(sample_key)
        made = self._propagate(md_key, draws)
        self.ways = self._other_ways(jax.random.fold_in(root, 2), draws)
        return draws, made

    def _read(self) -> Given:
        frames = build.read_splits(self.config.data, self.config.run.seed)
        potential = build.potential(self.config.potential, frames["train"])
        return Given(frames, potential, fit_shift(frames["train"]))

    def _open(self) -> None:
        """Claim the folder, or find that it is ours already."""
        identity = {
            "settings": without_paths(self.config),
            "potential": hashlib.sha256(repr(self.potential).encode()).hexdigest(),
            "data": self.data_hash,
        }
        if self.config.sampler.fit is not None:
            identity["fit"] = fitted_hash(self.config.sampler.fit)
        self.fingerprint = claim(self.folder, dumps(self.config), identity)
        logging.getLogger("bayespot").info(
            "seed %d, device %s, data %s",
            self.config.run.seed, jax.devices()[0].device_kind, self.data_hash,
        )  # fmt: skip

    def _sample(self, key: jax.Array) -> Draws:
        if self.config.sampler.fit is not None:
            self.progress.note(f"draws are the members of {self.config.sampler.fit}")
            like = jax.eval_shape(self.posterior.init, key)
            return fitted(self.config.sampler.fit, like, self.potential, self.splits.shift)
        path = self.folder / "posterior.nc"
        save_potential(self.folder, self.potential, self.splits.train.frames[0].atoms)
        if path.exists():
            like = jax.eval_shape(self.posterior.init, key)
            self.progress.note("sampled already: posterior.nc")
            return Draws.load(path, like)
        with self._stage("sample"):
            draws = infer.sample(
                key,
                self.posterior,
                build.sampling(self.config.sampler),
                self.splits.validation.batch,
                starts=None if self.given is None else self.given.starts,
                checkpoint=self.folder / "checkpoints",
                fingerprint=self.fingerprint,
                callback=self.progress.sampling,
            )
            draws.by_chain()  # raises when no chain is healthy
            draws = dataclasses.replace(
                draws,
                provenance={
                    "config": dumps(
                        self.config.model_copy(update={"data": bare_names(self.config.data)})
                    ),
                    "data_sha256": self.data_hash,
                    "seed": self.config.run.seed,
                    "versions": versions(),
                    "energy_shift": self.splits.shift._asdict(),
                },
            )
            draws.save(path)
            for chain, verdict in enumerate(draws.verdicts):
                level = logging.INFO if draws.healthy[chain] else logging.WARNING
                logging.getLogger("bayespot").log(level, "chain %d: %s", chain, verdict)
        return draws

    def _propagate(self, key: jax.Array, draws: Draws) -> Trajectories:
        path = self.folder / "observables.nc"
        if path.exists():
            self.progress.note("simulated already: observables.nc")
            return load_trajectories(path)
        with self._stage("simulate"):
            md = self.config.md
            params = jax.tree.map(jnp.asarray, draws.flat(md.draws)["potential"])
            trajectories = propagate(
                key,
                self.potential,
                params,
                self.starts,
                self.ensemble,
                self.length,
                self.observables,
                replicas=md.replicas,
                stability=self.stability,
                restarts=md.restarts if md.unstable == "restart" else 0,
                checkpoint=self.folder / "checkpoints" / "md",
                fingerprint=self.fingerprint,
                callback=self.progress.simulation(self.config.md.time_step),
            )
            save_trajectories(path, trajectories)
        return trajectories

    def _other_ways(self, key: jax.Array, draws: Draws) -> Ways | None:
        """The mean simulated, watched and reweighted, where [md.mean] asks for it."""
        known, md = recalibrated.stored(self.config, self.folder), self.config.md
        scales = recalibrated.scales(known, md.recalibrated, self.splits.shift.elements)
        setting, path = build.mean_setting(md, scales), self.folder / "mean.npz"
        if setting is None:
            return None
        scales = watched_with(setting.monitor)
        if path.exists():
            found = load_ways(path)
            if found.scales == scales:
                self.progress.note("mean simulated already: mean.npz")
                return found
            self.progress.note("mean simulated again: its monitor's recalibration is another")
        # one that was killed with another recalibration is not continued
        mark = hashlib.sha256(json.dumps(scales).encode()).hexdigest()[:8] if scales else ""
        with self._stage("simulate the mean"):
            made = other_ways(
                key,
                self.potential,
                jax.tree.map(jnp.asarray, draws.flat(self.config.md.draws)["potential"]),
                self.starts,
                self.ensemble,
                setting,
                self.observables,
                self.context,
                stability=self.stability,
                folder=self.folder / "checkpoints" / mark,
                fingerprint=self.fingerprint,
                callback=self.progress.simulation(self.config.md.time_step),
            )
            write_uncertain(self.folder / "uncertain.extxyz", made, self.starts.frames[0].atoms)
            save_ways(path, made)
        return made

    @property
    def context(self) -> Context:
        """What observables are told of the simulated system."""
        numbers = self.starts.frames[0].atoms.numbers
        return Context(self.config.md.temperature, len(numbers), self.splits.shift.of(numbers))

    def _report(self, draws: Draws, trajectories: Trajectories) -> dict[str, Any]:
        from bayespot.report import write

        self.progress.note("predict the test set and compute diagnostics")
        settings: dict[str, Any] = {
            "sampler": self.config.sampler.method,
            "posterior_temperature": self.config.posterior.temperature,
            "md_temperature": self.config.md.temperature,
            "seed": self.config.run.seed,
            "versions": versions(),
            "data_sha256": self.data_hash,
        }
        if self.config.reference is not None:
            settings["reference"] = self.config.reference.label
        made = {
            "title": self.config.title,
            "settings": settings,
            **of_draws(draws, self.potential, self.posterior, self.splits, settings["sampler"]),
            "stability": stability_summary(trajectories, self.config.md),
            **self.answers.of(trajectories, self.ways),
        }
        write(self.folder, made)
        return made

    @property
    def answers(self) -> Answers:
        """What turns trajectories into intervals."""
        return Answers(
            self.config, self.folder, tuple(self.observables), self.reference, self.context
        )

    def _stage(self, name: str) -> Stage:
        return Stage(name, self.seconds, self.progress)


def without_paths(config: Config) -> dict[str, Any]:
    """Settings that results depend on; of files the content counts, which is hashed elsewhere."""
    content = config.model_dump(mode="json")
    if content["md"]["start"] is not None:
        del content["md"]["start"]["structure"]  # its atoms are part of the data's hash
    for term in (content["potential"], *content["potential"].get("priors", ())):
        term.pop("file", None)  # its content is part of the potential
    content["sampler"].pop("fit")  # the draws in it are hashed
    content["data"] = {k: v for k, v in content["data"].items() if "fraction" in k}
    # stages that a recalibration enters know which it was
    content["md"].pop("recalibrated")
    # the title and the reference enter no number that a stage stores
    return {k: v for k, v in content.items() if k not in ("title", "reference")}
