"""One method on one training set: posterior, recalibration, MD, and whether intervals hold."""

from __future__ import annotations

import hashlib
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot import calibration
from bayespot.calibration import Labels, Predicted
from bayespot.data import Batch
from bayespot.errors import UserError
from bayespot.potentials import Potential, energy_and_forces
from bayespot.uncertainty import draw_values, estimate
from benchmarks.uq.case import PLACES, Case, TrainingSet
from benchmarks.uq.counting import MISSED, Interval
from benchmarks.uq.found import members
from benchmarks.uq.methods import Method, Methods
from benchmarks.uq.store import kept
from benchmarks.uq.timing import Clock

VARIANTS = ("plain", "recalibrated", "third", "noise")
VERSION = 1


class Runner:
    """One case in one process: methods, predictions and MD, each compiled once."""

    def __init__(self, case: Case, folder: Path, own: tuple[str, ...] = ()) -> None:
        self.case, self.folder = case, folder / case.name
        self.given = {name: load(name) for name in own}
        self.methods = Methods(case.recipe)
        self._predict: Any = None
        self._sets: dict[int, TrainingSet] = {}

    def names(self) -> tuple[str, ...]:
        """Methods of the case and the user's."""
        return (*self.case.methods, *self.given)

    def method(self, name: str) -> Method:
        """The user's, the case's own, or the package's."""
        if name in self.given:
            return self.given[name]
        return self.case.own_methods().get(name) or self.methods[name]

    def training_set(self, number: int) -> TrainingSet:
        """Kept for the methods that follow: they share its optimised start."""
        if number not in self._sets:
            self._sets = {number: self.case.training_set(number)}
        return self._sets[number]

    def one(self, number: int, name: str) -> dict:
        """One method on one training set."""
        where = self.folder / f"{number:03d}-{_file(name)}.json"
        depends = {"version": VERSION, "method": name, "case": self.case.settings()}
        if name in self.given:
            depends["source"] = _digest(self.given[name])
        return kept(where, depends, lambda: self._one(number, name))

    def cost_of_one_model(self) -> dict:
        """Seconds and gradients of a single network, compiled before."""

        def make() -> dict:
            given, key = self.training_set(0), jax.random.key(0)
            self.methods.one_model(key, given.train, given.validation)
            clock = Clock()
            draws = self.methods.one_model(key, given.train, given.validation)
            return {**clock.read(), "gradients": draws.provenance["gradients"]}

        depends = {"version": VERSION, "case": self.case.settings()}
        return kept(self.folder / "one_model.json", depends, make)

    def _one(self, number: int, name: str) -> dict:
        given = self.training_set(number)
        key = jax.random.key(1000 + number)
        clock = Clock()
        try:
            found = self.method(name)(key, given.train, given.validation)
            params, cost = members(found, self.case.recipe.members)
        except UserError as error:  # all chains diverged: a result, not an end
            return {"failed": str(error), **clock.read()}
        earlier = cost.get("earlier", {})
        made: dict[str, Any] = {k: x + earlier.get(k, 0.0) for k, x in clock.read().items()}
        made["gradients"] = cost.get("gradients")
        made["members"] = len(jax.tree.leaves(params)[0])
        factors = self._recalibrated(given, params, made)
        made["factor"] = factors["forces"]
        clock = Clock()
        md_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        trajectories = self.case.simulate(md_key, params["potential"])
        made["md"] = clock.read()
        for place in PLACES:
            made[place] = self._judged(trajectories[place], place, given, factors["forces"])
        return made

    def _recalibrated(self, given: TrainingSet, params: Any, made: dict) -> dict[str, float]:
        """Factors learnt on frames of their own; errors on test frames are noted by the way."""
        noise = {
            kind: np.exp(2 * np.asarray(params["noise"][f"log_sigma_{kind}"], float))
            for kind in ("energy", "forces")
            if "noise" in params
        }
        predicted, labels = self._compare(params["potential"], given.calibration, noise)
        quantities = calibration.quantities(predicted, labels)
        fitted = calibration.recalibrate(quantities)
        for place in PLACES:
            batch = self.case.test(place)
            energy, forces = self._predicted(params["potential"], batch)
            gap = forces.mean(0) - np.asarray(batch.forces)
            made[f"forces_rmse_{place}"] = np.sqrt(np.mean(gap**2))
            made[f"forces_spread_{place}"] = np.sqrt(np.mean(forces.var(0, ddof=1)))
            del energy
        return {name: fitted.factor(name) for name in ("energy", "forces")}

    def _predicted(self, params: Any, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        if self._predict is None:
            self._predict = predictor(self.training_set(0).train.likelihood.potential)
        energy, forces = self._predict(jax.tree.map(jnp.asarray, params), batch)
        return np.asarray(energy, float), np.asarray(forces, float)

    def _compare(
        self, params: Any, batch: Batch, noise: dict[str, np.ndarray]
    ) -> tuple[Predicted, Labels]:
        energy, forces = self._predicted(params, batch)
        count = len(batch.energy)
        labels = Labels(
            np.asarray(batch.energy, float), list(np.asarray(batch.forces, float)), None,
            list(np.asarray(batch.system.species)), np.full(count, ""), np.full(count, "in"),
        )  # fmt: skip
        return Predicted(energy, list(np.moveaxis(forces, 1, 0)), None, noise), labels

    def _judged(self, made: Any, place: Any, given: TrainingSet, factor: float) -> dict:
        reference = self.case.reference(place)
        context = self.case.context(place, given)
        told: dict[str, Any] = {"unstable": float(np.mean(made.reason > 0))}
        for observable in self.case.observables:
            truth, error = reference[observable.name]
            values, variances, used = draw_values(observable, made, context)
            if len(used) < 2:
                told[observable.name] = dict.fromkeys(VARIANTS, MISSED)
                continue
            interval = Interval.of(estimate(values, variances))
            noise = Interval.of_noise(values[0], variances[0], self.case.blocks)
            row = {
                "plain": interval.judged(truth, error),
                "recalibrated": interval.judged(truth, error, factor),
                "third": interval.judged(truth, error, 1 / 3),
                "noise": noise.judged(truth, error),
                # how much of the interval's variance is that of the parameters
                "parameter_share": _share_of_parameters(interval),
            }
            if not np.ndim(truth):
                half = np.sqrt(interval.parameter + interval.md)
                row |= {"value": float(interval.mean), "sd": float(half)}
            told[observable.name] = row
        return told


def _share_of_parameters(interval: Interval) -> float:
    """Of the variance, on average over bins with any."""
    total = interval.parameter + interval.md
    use = total > 0
    return float(np.mean(interval.parameter[use] / total[use]))


def predictor(potential: Potential) -> Any:
    """``params, batch -> energies (draw, frame), forces (draw, frame, atom, 3)``, compiled once."""

    def one(params: Any, system: Any, neighbors: Any) -> Any:
        return energy_and_forces(potential, params, system, neighbors)

    frames = jax.vmap(one, (None, 0, 0))
    every = jax.vmap(frames, (0, None, None))
    return jax.jit(lambda params, batch: every(params, batch.system, batch.neighbors))


def load(name: str) -> Method:
    """``module:callable``.

    Raises:
        SystemExit: there is nothing of that name.
    """
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SystemExit(f"--method {name}: {error}; give MODULE:CALLABLE") from error


def _digest(method: Method) -> str | None:
    """Of the file that the user wrote: another one is another method."""
    code = getattr(method, "__code__", None)
    if code is None:
        return None
    return hashlib.sha256(Path(code.co_filename).read_bytes()).hexdigest()


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c == "." else "_" for c in name.replace("τ", "tau"))
