"""One round of learning: what its directory holds, and how it comes there.

``posterior.nc``, ``potential.json``, ``observables.nc`` as of any run; ``judged.json`` errors and
intervals; ``chosen.npz`` the frames to label, with what the members say about them; ``labels/`` a
file for each; ``round.json`` everything about the round, which ends it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot import active, build, files
from bayespot.committee import Committee
from bayespot.config.learn import LearnConfig
from bayespot.data import Frame
from bayespot.draws import Draws
from bayespot.learning.judge import errors, intervals, stability
from bayespot.md import REASONS, Ensemble, Length, Trajectories
from bayespot.pipeline import Job
from bayespot.potentials import Potential
from bayespot.potentials.committee import Biased, CommitteeMean
from bayespot.progress import Progress
from bayespot.run_folder import finish


class Round:
    """A round in its folder."""

    def __init__(
        self, config: LearnConfig, folder: Path, progress: Progress, job: Callable[[], Job]
    ) -> None:
        self.config, self.folder, self.progress, self._make = config, folder, progress, job

    @functools.cached_property
    def job(self) -> Job:
        """Its run; nothing of it is made before it is asked for."""
        return self._make()

    @functools.cached_property
    def state(self) -> tuple[Draws, Trajectories]:
        """Draws and trajectories, made or read."""
        return self.job.trajectories()

    def finished(self) -> dict[str, Any] | None:
        """Its record, if it was made already."""
        return self._read("round.json")

    def judged(self) -> dict[str, Any]:
        """Its record as far as posterior and observables go."""
        found = self._read("judged.json")
        assert found is not None
        return found

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def measure(self, number: int) -> None:
        """Train, simulate, and look at errors and intervals."""
        if (self.folder / "judged.json").is_file():
            return
        draws, trajectories = self.state
        job = self.job
        params = draws.flat(self.config.learn.members)["potential"]
        record = {
            "round": number,
            "frames": {n: len(part) for n, part in zip(NAMES, job.splits[:3], strict=True)},
            "chains": {"healthy": int(draws.healthy.sum()), "verdicts": list(draws.verdicts)},
            "errors": errors(job.potential, params, job.splits.test),
            "stability": stability(trajectories),
            "observables": intervals(job, trajectories),
        }
        files.write_json(self.folder / "judged.json", record)
        finish(self.folder, job.seconds)

    def explore(self, frames: dict[str, list[Frame]], count: int) -> None:
        """Find candidates, and choose ``count`` of them."""
        if (self.folder / "chosen.npz").is_file():
            return
        draws, _ = self.state
        job, settings = self.job, self.config.learn
        seed = job.config.run.seed
        key = jax.random.fold_in(jax.random.key(seed), 1)  # of no other stage
        found = self._candidates(draws, frames["train"], key)
        flat = draws.flat(settings.members)
        noise = {
            k: float(np.median(np.exp(np.asarray(v, float)))) for k, v in flat["noise"].items()
        }
        members = Committee(job.potential, flat["potential"], job.splits.shift)
        made = members.predict(found.structures)
        looked = active.candidates(
            made.energy, made.forces, noise["log_sigma_energy"], noise["log_sigma_forces"],
            active.Fingerprints(found.structures),
        )  # fmt: skip
        known = _Known([f.atoms for part in frames.values() for f in part], settings.similar,
                       found.structures)  # fmt: skip
        chosen = active.choose(
            looked, count, settings.choice, rng=np.random.default_rng([seed, 1]),
            allowed=known.new,
        )  # fmt: skip
        record = {
            "explored": {
                "trajectories": found.trajectories,
                "failed": {
                    REASONS[c]: int((found.reasons == c).sum())
                    for c in range(1, len(REASONS))
                    if (found.reasons == c).any()
                },
                "frames": found.seen,
                "unphysical": found.unphysical,
                "candidates": len(found.structures),
            },
            "chosen": {
                "how": settings.choice,
                "duplicates": len(known.refused),
                "information": active.information(looked, chosen),
                "uncertainty": looked.uncertainty[chosen].tolist(),
                "uncertainty_of_candidates": float(np.median(looked.uncertainty))
                if len(looked)
                else None,
                "draw": found.draw[chosen].tolist(),
            },
            "noise": {"energy": noise["log_sigma_energy"], "forces": noise["log_sigma_forces"]},
        }
        atoms = len(found.structures[0]) if found.structures else 0
        shape = (len(chosen), atoms, 3)
        picked = [found.structures[i] for i in chosen]
        some = [np.asarray(made.forces[i], float) for i in chosen]
        arrays = [
            np.reshape([a.positions for a in picked], shape),
            np.reshape([a.cell.array for a in picked], (len(chosen), 3, 3)),
            made.energy[:, chosen].mean(axis=0), made.energy[:, chosen].std(axis=0, ddof=1),
            np.reshape([f.mean(axis=0) for f in some], shape),
            np.reshape([f.std(axis=0, ddof=1) for f in some], shape),
            found.structures[0].numbers if picked else np.zeros(0, int),
            found.structures[0].pbc if picked else np.zeros(3, bool),
        ]  # fmt: skip
        files.save_arrays(self.folder / "chosen.npz", arrays, record)

    def _candidates(self, draws: Draws, train: list[Frame], key: jax.Array) -> active.Explored:
        settings = self.config.learn
        section = settings.explore
        params = draws.flat(section.draws or self.config.md.draws)["potential"]
        potential, params = driven(self.job.potential, params, section.bias)
        starts = build.simulated(self.config.md, train)
        ensemble, length = exploration(self.config)
        return active.explore(
            key, potential, params, starts, ensemble, length, replicas=section.replicas,
            stability=self.job.stability, least=settings.closest, most=settings.candidates,
            callback=self.progress.simulation(self.config.md.time_step),
        )  # fmt: skip

    def label(self, make: Any, record: dict[str, Any]) -> dict[str, Any]:
        """Label what was chosen; the whole record of the round."""
        structures, predicted, more = self._chosen()
        made = active.label(
            structures, make, self.folder / "labels", source=f"round {record['round']}",
            most_force=self.config.learn.max_force,
        )  # fmt: skip
        new = None
        if made.frames:
            energy, energy_sd, forces, forces_sd = (x[made.index] for x in predicted)
            atoms = len(structures[0])
            label_energy = np.array([f.energy for f in made.frames])
            label_forces = np.stack([f.forces for f in made.frames])
            noise = more["noise"]
            new = {
                "energy_rmse": _rms(energy - label_energy) / atoms,
                "energy_expected": _rms(np.sqrt(energy_sd**2 + noise["energy"] ** 2)) / atoms,
                "forces_rmse": _rms(forces - label_forces),
                "forces_expected": _rms(np.sqrt(forces_sd**2 + noise["forces"] ** 2)),
            }
        record = {
            **record,
            **more,
            "tried": len(structures),
            "added": len(made.frames),
            "failed": {str(place): why for place, why in made.failed.items()},
            "before_training": new,
        }
        files.write_json(self.folder / "round.json", record)
        return record

    def added(self) -> active.Labelled:
        """The frames of this round, all of whose labels are there."""
        structures, _, _ = self._chosen()
        number = int(self.folder.name)

        def none() -> Any:
            raise AssertionError("every label of a finished round is on disk")

        return active.label(structures, none, self.folder / "labels", source=f"round {number}")

    def _chosen(self) -> tuple[list[Any], list[np.ndarray], dict[str, Any]]:
        import ase

        arrays, record = files.load_arrays(self.folder / "chosen.npz")
        positions, cells, *predicted, numbers, pbc = arrays
        structures = [
            ase.Atoms(numbers, x, cell=cell if pbc.any() else None, pbc=pbc)
            for x, cell in zip(positions, cells, strict=True)
        ]
        return structures, predicted, record

    def last(self, init: Any, seed: int) -> Any:
        """Where each chain ended; chains that diverged begin anew."""
        key = jax.random.fold_in(jax.random.key(seed), 2)
        keys = jax.random.split(key, self.config.sampler.chains)
        fresh = jax.vmap(init)(keys)
        like = jax.eval_shape(init, keys[0])
        draws = Draws.load(self.folder / "posterior.nc", like)
        healthy = draws.healthy

        def take(old: np.ndarray, new: jax.Array) -> jax.Array:
            which = healthy.reshape(-1, *(1,) * (new.ndim - 1))
            return jnp.where(which, jnp.asarray(old[:, -1], new.dtype), new)

        return jax.tree.map(take, draws.params, fresh)


NAMES = ("train", "validation", "test")


class _Known:
    """Refuses candidates that are near duplicates of labelled frames or of those chosen."""

    def __init__(self, frames: list[Any], similar: float, structures: list[Any]) -> None:
        self._similar, self._structures = similar, structures
        self._seen = active.Seen(frames if similar else ())
        self._joined = 0
        self.refused: set[int] = set()

    def new(self, frame: int, chosen: list[int]) -> bool:
        """Whether to take it after ``chosen``."""
        if not self._similar:
            return True
        for i in chosen[self._joined :]:
            self._seen.add(self._structures[i])
        self._joined = len(chosen)
        if frame not in self.refused and (
            self._seen.nearest(self._structures[frame]) < self._similar
        ):
            self.refused.add(frame)
        return frame not in self.refused


def driven(potential: Potential, params: Any, bias: Any) -> tuple[Potential, Any]:
    """What explores: every draw for itself, or their mean with a bias; parameters have a leading
    axis of what is simulated."""
    if bias is None:
        return potential, jax.tree.map(jnp.asarray, params)
    members = len(jax.tree.leaves(params)[0])
    biased = Biased(CommitteeMean(potential, members), bias.depth, bias.width)
    return biased, jax.tree.map(lambda x: jnp.asarray(x)[None], params)


def exploration(config: LearnConfig) -> tuple[Ensemble, Length]:
    """Conditions and length of the simulations that find candidates."""
    section = config.learn.explore
    temperature = section.temperature or config.md.temperature
    md = config.md.model_copy(update={"temperature": temperature})
    frames = section.steps // section.stride
    blocks = max(b for b in range(1, 11) if frames % b == 0)
    return build.md(md)[0], Length(section.steps, 0, section.stride, blocks)


def extend(
    frames: dict[str, list[Frame]], new: list[Frame], held: int, seed: tuple[int, int]
) -> dict[str, list[Frame]]:
    """``frames`` with ``held`` of the new ones, chosen at random, in validation."""
    order = np.random.default_rng(seed).permutation(len(new))
    validation = [new[i] for i in sorted(order[:held])]
    train = [new[i] for i in sorted(order[held:])]
    return {
        **frames,
        "train": [*frames["train"], *train],
        "validation": [*frames["validation"], *validation],
    }


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
