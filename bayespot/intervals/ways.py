"""The mean of all draws simulated, watched and reweighted; and short runs of every draw from there.

One trajectory of the mean costs as much as one of every draw, step for step, but needs as many
steps once: MD noise is the same for all draws and falls with its length alone.  Short runs begin
where it has been, equilibrated but for what their draw changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.data import Dataset
from bayespot.intervals.agreement import agreement
from bayespot.intervals.reweighted import Reweighted, reweighted
from bayespot.md import (
    Ensemble,
    Frames,
    Length,
    Monitor,
    Progress,
    Simulation,
    Stability,
    Trajectories,
    Watched,
    watched,
)
from bayespot.observables import Context, Observable
from bayespot.potentials import CommitteeMean, Potential
from bayespot.propagate import propagate
from bayespot.uncertainty import Estimate, draw_values, estimate


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the mean is simulated.

    Attributes:
        length: of its trajectories.
        replicas: how many.
        every: frames (of ``length.stride`` steps) between two that are reweighted.
        monitor: of the draws' disagreement, or None.
        short: of the short runs of every draw; None makes none.
        short_replicas: of each.
    """

    length: Length
    replicas: int
    every: int = 1
    monitor: Monitor | None = None
    short: Length | None = None
    short_replicas: int = 2


@dataclasses.dataclass(frozen=True)
class Ways:
    """Estimates by other ways than simulating every draw.

    Attributes:
        estimates: way ("direct", "cumulant", "short") -> observable name -> estimate.
        used: way -> index of the draws in it.
        calls: way -> force calls of one member.
        notes: what a reader must know.
        uncertain: configurations of high uncertainty, (kept, atoms, 3) and (kept, 3, 3), with
            (draw, replica, frame) of each.
        scales: factors on uncertainties that the monitor had, as ``watched_with`` tells.
    """

    estimates: dict[str, dict[str, Estimate]]
    used: dict[str, np.ndarray]
    calls: dict[str, int]
    notes: tuple[str, ...]
    uncertain: tuple[np.ndarray, np.ndarray, np.ndarray]
    scales: dict[str, Any] = dataclasses.field(default_factory=dict)


def watched_with(monitor: Monitor | None) -> dict[str, Any]:
    """Its factors on uncertainties, as JSON has them; nothing where none differs from 1."""
    if monitor is None or not monitor.recalibrated:
        return {}
    return {
        "scale": monitor.scale,
        "element_scales": [[int(z), float(f)] for z, f in monitor.element_scales],
        "energy_scale": monitor.energy_scale,
    }


def other_ways(
    key: jax.Array,
    potential: Potential,
    params: Any,
    start: Dataset,
    ensemble: Ensemble,
    setting: Setting,
    observables: Sequence[Observable],
    context: Context,
    *,
    stability: Stability | None = None,
    folder: Path,
    fingerprint: str = "",
    callback: Callable[[Progress], None] | None = None,
) -> Ways:
    """Simulate the mean, weigh its frames, and make the short runs.

    Args:
        key: from ``jax.random.key``.
        potential: shared by the draws.
        params: its parameters, leading draw axis.
        start: frames to start from.
        ensemble, stability: as for every draw.
        setting: how.
        observables: those with a window are left to the short runs.
        context: conditions, for reductions.
        folder: for checkpoints; the caller removes it.
        fingerprint, callback: as for ``propagate``.
    """
    mean_key, short_key = jax.random.split(key)
    draws = len(jax.tree.leaves(params)[0])
    mean = CommitteeMean(potential, draws)
    stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], params)
    path = folder / "mean.h5"
    made = propagate(
        mean_key, mean, stacked, start, ensemble, setting.length, [], replicas=setting.replicas,
        stability=stability, monitor=setting.monitor, trajectory=path,
        trajectory_stride=setting.every, checkpoint=folder / "mean", fingerprint=fingerprint,
        callback=callback,
    )  # fmt: skip
    made = made._replace(frames=_frames(path))
    system = jax.tree.map(lambda x: x[0], start.batch.system)
    notes = _of_mean(made)
    nowhere = (np.zeros((0, 0, 3)), np.zeros((0, 3, 3)), np.zeros((0, 3), int))
    uncertain = nowhere
    if setting.monitor is not None:
        seen: Watched = watched(made)
        between = setting.length.stride * float(np.max(np.asarray(ensemble.time_step)))
        notes.append("Mean of the draws: " + seen.sentence(setting.monitor, between))
        uncertain = (seen.positions, seen.cell, seen.where)
    instant = [o for o in observables if not o.window]
    estimates: dict[str, dict[str, Estimate]] = {}
    used, calls = {}, {}
    steps = setting.length.equilibration + setting.length.steps
    if (made.reason[0] == 0).any() and instant:
        for method in ("direct", "cumulant"):
            found: Reweighted = reweighted(
                potential, params, mean, jax.tree.map(lambda x: x[0], stacked), system, made,
                instant, context, method=method,
            )  # fmt: skip
            estimates[method] = found.estimates
            used[method] = np.arange(draws)
            calls[method] = draws * setting.replicas * steps + 2 * draws * found.frames
            if found.warning:
                notes.append(f"{NAMES[method]}: {found.warning}")
    if setting.short is not None and (made.reason[0] == 0).any():
        runs = _short(
            short_key, potential, params, made, system, ensemble, setting, observables, stability,
            folder / "short", fingerprint, callback,
        )  # fmt: skip
        rows, which = {}, np.arange(draws)
        for o in observables:
            values, variances, which = draw_values(o, runs, context)
            if len(which) >= 2:
                rows[o.name] = estimate(values, variances)
        if len(which) < draws:
            notes.append(f"{NAMES['short']}: {draws - len(which)} draws broke and are left out")
        if rows:
            estimates["short"], used["short"] = rows, which
            short = setting.short
            calls["short"] = (
                draws * setting.short_replicas * (short.equilibration + short.steps)
                + draws * setting.replicas * steps
            )
    return Ways(estimates, used, calls, tuple(notes), uncertain, watched_with(setting.monitor))


NAMES = {
    "draws": "every draw simulated",
    "direct": "mean simulated, weighted",
    "cumulant": "mean simulated, cumulant expansion",
    "short": "short runs of every draw",
}


def _of_mean(made: Trajectories) -> list[str]:
    lost = int((made.reason[0] > 0).sum())
    if not lost:
        return []
    return [f"Mean of the draws: {lost} of {made.reason.shape[1]} trajectories stopped early"]


def _frames(path: Path) -> Frames:
    import h5py

    with h5py.File(path) as file:
        positions, cell = (np.moveaxis(np.asarray(file[k]), 0, 2) for k in ("positions", "cell"))
    return Frames(positions, cell, np.zeros(positions.shape[:3]))


def _short(
    key: jax.Array, potential: Potential, params: Any, mean: Trajectories, system: Any,
    ensemble: Ensemble, setting: Setting, observables: Sequence[Observable],
    stability: Stability | None, checkpoint: Path, fingerprint: str, callback: Any,
) -> Trajectories:  # fmt: skip
    assert setting.short is not None
    assert mean.frames is not None
    draws = len(jax.tree.leaves(params)[0])
    pick, run = jax.random.split(key)
    stable = np.flatnonzero(mean.reason[0] == 0)
    positions, cells = (
        np.asarray(x)[0, stable].reshape(-1, *np.shape(x)[3:]) for x in mean.frames[:2]
    )
    choice = np.asarray(
        jax.random.randint(pick, (draws, setting.short_replicas), 0, len(positions))
    )
    simulation = Simulation(
        potential, system, ensemble, setting.short, observables, stability=stability
    )
    return simulation.run(
        run, params, starts=jnp.asarray(positions[choice]),
        cells=jnp.asarray(cells[choice]) if ensemble.varies_cell else None,
        checkpoint=checkpoint, fingerprint=fingerprint, callback=callback,
    )  # fmt: skip


def compared(
    rigorous: dict[str, Estimate], which: dict[str, np.ndarray], calls: int, ways: Ways
) -> dict[str, Any]:
    """As JSON: each observable by each way, and whether it agrees with the first.

    Args:
        rigorous: observable name -> estimate with every draw simulated.
        which: observable name -> index of the draws in it.
        calls: force calls it took.
        ways: the others.
    """
    rows: dict[str, Any] = {}
    for name, first in rigorous.items():
        found = {"draws": _numbers(first, calls)}
        for way, estimates in ways.estimates.items():
            if name not in estimates:
                continue
            other = estimates[name]
            row = _numbers(other, ways.calls[way])
            both = np.intersect1d(which[name], ways.used[way])
            if len(both) >= 2:
                told = agreement(
                    _part(first, which[name], both), _part(other, ways.used[way], both),
                    (NAMES["draws"], NAMES[way]),
                )  # fmt: skip
                row |= {"agree": told.agree, "z": told.z, "width_ratio": told.width,
                        "correlation": told.correlation}  # fmt: skip
            found[way] = row
        rows[name] = found
    return {"names": NAMES, "observables": rows, "notes": list(ways.notes)}


def _part(made: Estimate, which: np.ndarray, both: np.ndarray) -> Estimate:
    values = made.values[np.isin(which, both)]
    return dataclasses.replace(made, values=values, draws=len(values))


def _numbers(made: Estimate, calls: int) -> dict[str, Any]:
    """Of a curve the root mean squares over its bins, and no mean."""
    half = (made.high95 - made.low95) / 2
    found = {"half95": half, "parameter": made.parameter, "md_of_mean": made.md_of_mean}
    numbers = {k: float(np.sqrt(np.nanmean(np.square(v)))) for k, v in found.items()}
    mean = float(made.mean) if made.mean.ndim == 0 else None
    return {"mean": mean, **numbers, "draws": made.draws, "force_calls": calls}
