"""Numbers about a run: its chains and errors, and intervals of what it simulated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot import infer, recalibrated
from bayespot.build import Splits
from bayespot.calibration import Calibration, calibrate
from bayespot.config import Config
from bayespot.data import Batch
from bayespot.draws import Draws
from bayespot.errors import UserError
from bayespot.intervals import Ways, compared, plan
from bayespot.md import Trajectories
from bayespot.observables import Context, Observable
from bayespot.posterior import Posterior
from bayespot.potentials import Potential
from bayespot.predict import predict
from bayespot.results import observable_json
from bayespot.uncertainty import (
    Coverage,
    Estimate,
    coverage,
    draw_values,
    estimate,
    stability_weights,
)


class Answer(NamedTuple):
    """Of one observable.

    Attributes:
        estimate: its value and intervals.
        known: a reference and its standard error, if any.
        coverage: of that reference.
        used: draws that it rests on.
    """

    estimate: Estimate
    known: tuple[np.ndarray, np.ndarray] | None
    coverage: Coverage | None
    used: np.ndarray


def of_draws(
    draws: Draws, potential: Potential, posterior: Posterior, splits: Splits, method: str
) -> dict[str, Any]:
    """Data, learned noise, convergence, and calibration on the test frames."""
    noise = draws.flat()["noise"]
    parts = zip(("train", "validation", "test"), splits[:3], strict=True)
    return {
        "data": {name: part.statistics() for name, part in parts},
        "noise": {
            name.removeprefix("log_"): float(np.mean(np.exp(np.asarray(x, float))))
            for name, x in noise.items()
        },
        "chains": _chains(draws, posterior, splits.validation.batch, method),
        "calibration": {
            name: dataclasses.asdict(c)
            for name, c in _calibrations(draws, potential, splits.test.batch).items()
        },
    }


def _chains(draws: Draws, posterior: Posterior, validation: Batch, method: str) -> dict[str, Any]:
    healthy = int(draws.healthy.sum())
    told: dict[str, Any] = {"verdicts": draws.verdicts, "healthy": healthy}
    if draws.num_draws >= 4 and method != "ensemble":  # whose members converge to nothing common
        made = infer.function_space_convergence(draws, posterior, validation)
        told["function_space"] = {
            "quantities": len(made.rhat),
            "rhat_median": float(np.median(made.rhat)),
            "rhat_max": float(np.max(made.rhat)),
            "ess_bulk_median": float(np.median(made.ess_bulk)),
            "ess_bulk_min": float(np.min(made.ess_bulk)),
            "draws": healthy * draws.num_draws,
        }
    return told


def _calibrations(draws: Draws, potential: Potential, test: Batch) -> dict[str, Calibration]:
    params = jax.tree.map(jnp.asarray, draws.flat())
    made = predict(potential, params["potential"], test)
    atoms = np.asarray(test.system.mask)
    variance = {k: np.exp(2 * np.asarray(v, float)) for k, v in params["noise"].items()}
    return {
        "energy": calibrate(np.asarray(test.energy), made.energy, variance["log_sigma_energy"]),
        "forces": calibrate(
            np.asarray(test.forces)[atoms].ravel(),
            made.forces[:, atoms].reshape(len(made.forces), -1),
            variance["log_sigma_forces"],
        ),
    }


@dataclasses.dataclass(frozen=True)
class Answers:
    """From trajectories of all draws to observables with intervals.

    Attributes:
        config: of the run.
        folder: where a recalibration lies, if any.
        observables: all of them.
        reference: by name: values to compare with and their standard errors.
        context: what observables are told of the system.
    """

    config: Config
    folder: Path
    observables: tuple[Observable, ...]
    reference: dict[str, tuple[np.ndarray, np.ndarray]]
    context: Context

    def of(self, trajectories: Trajectories, ways: Ways | None = None) -> dict[str, Any]:
        """Observables, other ways to them, and what half their intervals would take.

        Raises:
            UserError: fewer than two draws gave stable MD.
        """
        found = {o.name: self._answer(o, trajectories) for o in self.observables}
        known, wanted = recalibrated.stored(self.config, self.folder), self.config.md.recalibrated
        told = None
        if ways is not None:
            md = self.config.md
            calls = trajectories.reason.size * (md.equilibration + md.steps)
            estimates = {name: x.estimate for name, x in found.items()}
            told = compared(estimates, {name: x.used for name, x in found.items()}, calls, ways)
        return {
            "recalibration": recalibrated.described(known, wanted),
            "observables": described(self.observables, found, recalibrated.factor(known, wanted)),
            "ways": told,
            "half_width": self._plans(found),
        }

    def _answer(self, o: Observable, trajectories: Trajectories) -> Answer:
        values, variances, used = draw_values(o, trajectories, self.context)
        if len(used) < 2:
            raise UserError(
                f"only {len(used)} of {trajectories.reason.shape[0]} draws gave stable MD",
                "Lower [md] time_step or temperature, add training data or a prior potential",
            )
        evidence = self.config.md.unstable == "evidence"
        weights = stability_weights(trajectories, used) if evidence else None
        made, known = estimate(values, variances, weights), self.reference.get(o.name)
        return Answer(made, known, None if known is None else coverage(made, *known), used)

    def _plans(self, found: dict[str, Answer]) -> dict[str, str]:
        """Of each number, what half its interval would take."""
        md, told = self.config.md, {}
        for name, (made, *_) in found.items():
            half = float(np.sqrt(np.mean(np.square((made.high95 - made.low95) / 2))))
            if made.mean.ndim == 0 and np.isfinite(half) and half > 0:
                told[name] = plan(
                    made, md.replicas, md.steps, target=half / 2, equilibration=md.equilibration
                ).sentence
        return told


def described(
    observables: tuple[Observable, ...], found: dict[str, Answer], factor: float | None = None
) -> dict[str, Any]:
    """As JSON, under titles that differ; ``factor`` is that of a recalibration."""
    made = {o.name: observable_json(o, *found[o.name][:3], factor=factor) for o in observables}
    titles = [content["title"] for content in made.values()]
    for name, content in made.items():
        if titles.count(content["title"]) > 1:
            content["title"] += f", {name}"
    return made
