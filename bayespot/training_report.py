"""Numbers about a fit: errors on labelled frames, targets before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.build import Splits
from bayespot.data import Batch
from bayespot.likelihood import SIX
from bayespot.potentials import Potential
from bayespot.predict import predict
from bayespot.trainers import Interleaved, Resampler, StABlE, Target, Trainer
from bayespot.trainers.averages import Averages
from bayespot.trainers.reweighted import Reweighted


def _residuals(potential: Potential, params: Any, batch: Batch) -> dict[str, np.ndarray]:
    """(members, numbers) of each kind of label: eV, eV/Angstrom, eV/Angstrom^3."""
    made = predict(potential, params, batch, stress=batch.stress is not None)
    atoms = np.asarray(batch.system.mask)
    gap = made.forces[:, atoms] - np.asarray(batch.forces)[atoms]
    found = {
        "energy": made.energy - np.asarray(batch.energy),
        "forces": gap.reshape(len(gap), -1),
    }
    if made.stress is not None:
        label, known = (np.asarray(x) for x in batch.stress_labels)
        six = (slice(None), slice(None), *SIX)
        found["stress"] = (made.stress - label)[:, known][six].reshape(len(gap), -1)
    return {name: np.asarray(x, float) for name, x in found.items()}


def label_errors(
    potential: Potential, params: Any, splits: Splits, energies: bool = True
) -> dict[str, Any]:
    """Errors on each split: energies per atom, forces and stresses, of every member and of their
    mean prediction; without ``energies`` where frames have none."""
    made = {}
    for name, part in zip(("train", "validation", "test"), splits[:3], strict=True):
        found = _residuals(potential, params, part.batch)
        found["energy"] = found["energy"] / np.asarray(part.batch.system.mask).sum(axis=-1)
        made[name] = {
            label: {
                "rmse": _root_mean_square(gap).tolist(),
                "mae": np.abs(gap).mean(axis=1).tolist(),
                "rmse_of_mean": float(_root_mean_square(gap.mean(axis=0))),
            }
            for label, gap in found.items()
            if label != "energy" or energies
        }
    return made


def log_noise(potential: Potential, params: Any, batch: Batch) -> dict[str, np.ndarray]:
    """Log of what members miss, (members,): the noise of a likelihood that knows no better."""
    found = _residuals(potential, params, batch)
    return {
        f"log_sigma_{name}": np.log(np.maximum(_root_mean_square(gap), 1e-12))
        for name, gap in found.items()
        if name != "stress"
    }


def _root_mean_square(gap: np.ndarray) -> Any:
    return np.sqrt(np.mean(gap**2, axis=-1))


def verdicts(params: Any, history: dict[str, np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
    """A sentence about each member, and whether its parameters are of use."""
    leaves = [np.asarray(x) for x in jax.tree.leaves(params)]
    finite = [np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in leaves]
    healthy = np.all(finite, axis=0)
    told = ["healthy" if good else "a parameter is not finite" for good in healthy]
    for name in (n for n in history if n.split("/")[-1] == "alive"):
        for member in np.flatnonzero(~history[name][-1]):
            last = int(history[name][:, member].sum())
            told[member] = f"a number was not finite after update {last}: the best before it"
            healthy[member] &= last > 0
    return tuple(told), healthy


def course(history: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """First and last loss, and share of replicas that break, on average over members."""
    told = {}
    for name, values in history.items():
        if name.split("/")[-1] in ("loss", "validation_loss", "label_loss", "unstable"):
            means = [float(np.mean(x[np.isfinite(x)])) for x in values if np.isfinite(x).any()]
            if means:
                told[name] = (means[0], means[-1])
    return told


def resampler_of(trainer: Trainer) -> tuple[Resampler, Any] | None:
    """Of the trainer, or the first of several, that simulates; and where its replicas start."""
    several = trainer.trainers.values() if isinstance(trainer, Interleaved) else (trainer,)
    for one in several:
        if isinstance(one, Reweighted | StABlE):
            return one.resampler, one.starts
    return None


def target_table(
    resampler: Resampler,
    starts: Any,
    targets: Sequence[Target],
    params: dict[str, Any],
    keys: Sequence[jax.Array],
) -> list[dict[str, Any]]:
    """Every target, and what fresh trajectories of each set of ``params`` give.

    Values are those of the members, errors the standard errors of their trajectories; None where
    all trajectories of a member failed.
    """
    measure = _measure(Averages(resampler, targets))
    found = {
        name: _simulated(resampler, measure, starts, each, key)
        for (name, each), key in zip(params.items(), keys, strict=True)
    }
    rows = []
    for number, target in enumerate(targets):
        point, o = resampler.points[target.point], target.observable
        row: dict[str, Any] = {
            "name": o.name,
            "title": o.title,
            "unit": o.unit,
            "temperature": point.temperature,
            "pressure": point.pressure,
            "target": np.asarray(target.value, float).tolist(),
            "error": np.asarray(target.error, float).tolist(),
        }
        if o.axis is not None and len(o.shape) == 1:
            row |= {"axis": o.axis.tolist(), "axis_label": o.axis_label}
        for name, made in found.items():
            row[name] = None if made is None else [x.tolist() for x in made[number]]
        rows.append(row)
    return rows


def _measure(averages: Averages) -> Any:
    """Values, variances (a leading axis of members) and whether lists were too small."""

    @jax.jit
    def measure(params: Any, references: Any, lists: Any) -> Any:
        def one(x: Any) -> Any:
            cached, full = averages.prepare(x[0], x[1].samples, lists)
            values, variances, _, crowded = averages.of(x[0], cached, x[1], lists, errors=True)
            return values, variances, full | crowded

        values, variances, crowded = jax.lax.map(one, (params, references))
        return values, variances, jnp.any(crowded)

    return measure


def _simulated(
    resampler: Resampler, measure: Any, starts: Any, params: Any, key: jax.Array
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Values and standard errors of each target; None where trajectories failed."""
    reference = resampler.renew(key, params, resampler.empty(params, starts))
    if int(reference.made) == 0:
        return None
    each = reference._replace(made=None, failed=None)  # type: ignore[arg-type]
    while True:
        values, variances, crowded = measure(params, each, resampler.lists)
        if not bool(crowded):
            break
        resampler.grow()
    return [
        (np.asarray(v, float), np.sqrt(np.asarray(s, float)))
        for v, s in zip(values, variances, strict=True)
    ]
