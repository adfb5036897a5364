"""Part ``bands``: what bands of a coarse-grained fluid hold (methods.md, rows 7 and 8).

Affordable stand-ins for the paper's water and peptide (Thaler, Doehner and Zavadlav 2023): small
polar molecules seen by their centres, networks that are trained on their mapped forces, and bands
of two standard deviations over draws, each with a simulation of its own.  Three questions: do
several modes widen bands to cover; does a cold posterior make simulations stable; does a potential
that sees ``k_B T`` cover the pressure at temperatures that no frame had?

Of the latter the paper has rho(T) at constant pressure.  Here it is p(T) at constant volume, the
same equation of state seen from the other side: pressures of 32 molecules decorrelate in a
hundredth of the time that their volume takes, and nothing boils.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayespot.md import Trajectories
from bayespot.observables import Context, Observable
from bayespot.uncertainty import draw_values
from benchmarks.common import Setting
from benchmarks.uq.bands_table import NOISE, tallied
from benchmarks.uq.beads import COLD, OBSERVABLES, TRAINED, Case, Plan
from benchmarks.uq.methods import Recipe
from benchmarks.uq.polar_fluid import CURVES, MOLECULES, TEMPERATURES, Size, Truth
from benchmarks.uq.store import kept
from benchmarks.uq.timing import Clock
from benchmarks.uq.workers import each

VERSION = 1
SIGMAS, SIGNAL = 2.0, 5.0
BOTH = (TEMPERATURES[0], TEMPERATURES[-1])  # of the trainings at two temperatures
ONE = (TRAINED,)
PAIRS = {
    ("pairs", ONE): "pairs, one temperature",
    ("thermal", ONE): "pairs that see k_B T, one temperature",
    ("pairs", BOTH): "pairs, two temperatures",
    ("thermal", BOTH): "pairs that see k_B T, two temperatures",
}
"""Ensembles of pairwise networks, by model and training temperatures."""
PLANS = {
    "quick": (Size(), Plan()),
    "full": (
        Size(steps=40000, replicas=8, frames=400),
        Plan(12, steps=5000, equilibration=1000, recipe=Recipe(members=8, adam=6000, steps=4000)),
    ),
}


def one_set(case: Case, which: int) -> dict:
    """All methods on one training set."""
    clock, members = Clock(), case.plan.recipe.members
    found: dict[str, tuple[str, tuple[float, ...], Any]] = {}  # model, trained at, draws
    diverged: dict[str, int] = {}
    first = case.ensemble("many-body", ONE, which)
    found["ensemble"] = ("many-body", ONE, first)
    for tau in COLD:
        several, alone, lost = case.chains(which, tau)
        found[f"{members} chains, τ = {tau:g}"] = ("many-body", ONE, several)
        if tau in (COLD[0], COLD[-1]):
            found[f"one chain, τ = {tau:g}"] = ("many-body", ONE, alone)
        diverged |= {f"{members} chains, τ = {tau:g}": lost}
    same = jax.tree.map(lambda x: np.repeat(np.asarray(x)[:1], members, axis=0), first)
    found[NOISE] = ("many-body", ONE, same)
    for (model, trained), name in PAIRS.items():
        found[name] = (model, trained, case.ensemble(model, trained, which))
    training = clock.read()
    clock = Clock()
    made: dict[str, Any] = {}
    for model in dict.fromkeys(model for model, _, _ in found.values()):
        names = [name for name, (m, _, _) in found.items() if m == model]
        draws = [found[name][2]["potential"] for name in names]
        params = jax.tree.map(lambda *x: np.concatenate([np.asarray(y) for y in x]), *draws)
        runs = case.simulate(model, which, params)
        for i, name in enumerate(names):
            mine = slice(i * members, (i + 1) * members)
            here = {t: _rows(run, mine) for t, run in runs.items()}
            made[name] = judged(here, case.truth, found[name][1])
            made[name]["force_rmse"] = case.force_rmse(model, draws[i])
            made[name]["diverged"] = diverged.get(name, 0)
    return {"methods": {name: made[name] for name in found}, "train": training, "md": clock.read()}


def _rows(made: Trajectories, draws: slice) -> Trajectories:
    means = {
        name: {key: x[:, draws] for key, x in snapshot.items()}
        for name, snapshot in made.means.items()
    }
    return made._replace(means=means, reason=made.reason[draws], failed_at=made.failed_at[draws])


def judged(
    runs: dict[float, Trajectories], truth: Truth, trained: tuple[float, ...]
) -> dict[str, Any]:
    """Shares of bins that bands hold, and pressures, of one method on one set."""
    made: dict[str, Any] = {
        "unstable": {f"{t:g}": int(np.sum(run.reason > 0)) for t, run in runs.items()},
        "curves": {},
    }
    for t, run in runs.items():
        for observable in CURVES:
            values = _values(observable, run, t)[0]
            known = (truth.made[f"{observable.name} {t:g}{x}"] for x in ("", " error"))
            made["curves"][f"{observable.name} {t:g}"] = band(values, *known)
    if set(runs) != set(TEMPERATURES):
        return made
    errors = pressure_errors(runs, truth)
    made["pressure"] = {
        "plain": _held(errors, truth),
        "matched": _held(matched(errors, trained), truth),
    }
    return made


def _values(observable: Observable, run: Trajectories, t: float) -> Any:
    return draw_values(observable, run, Context(t, MOLECULES))


def band(values: np.ndarray, truth: np.ndarray, error: np.ndarray) -> dict[str, Any] | None:
    """Share of bins where the truth is within two standard deviations over draws of their mean.

    Args:
        values: (draws, bins).
        truth, error: (bins,) with its standard error, which widens the band; bins count where the
            truth exceeds five of them.
    """
    if len(values) < 3:
        return None
    mean, sd = values.mean(0), values.std(0, ddof=1)
    use = truth > SIGNAL * error
    inside = np.abs(truth - mean) <= SIGMAS * np.hypot(sd, error)
    return {
        "share": float(np.mean(inside[use])),
        "width": float(np.mean(SIGMAS * sd[use]) / np.mean(truth[use])),
        "error": float(np.mean(np.abs(mean - truth)[use]) / np.mean(truth[use])),
        "mean": mean, "sd": sd, "draws": len(values),
    }  # fmt: skip


def pressure_errors(runs: dict[float, Trajectories], truth: Truth) -> np.ndarray:
    """(draws, temperatures) GPa above the truth, of draws that are stable everywhere."""
    stable = np.all([run.reason[:, 0] == 0 for run in runs.values()], axis=0)
    found = []
    for t, run in runs.items():
        values, _, used = _values(OBSERVABLES[-1], run, t)
        every = np.full(len(stable), np.nan)
        every[used] = values
        found.append(every - truth.made[f"pressure {t:g}"])
    return np.stack(found, axis=1)[stable]


def matched(errors: np.ndarray, trained: tuple[float, ...]) -> np.ndarray:
    """Errors (draws, temperatures) that are left where each draw has a term of the volume alone,
    which no structure feels, so that its mean pressure is right at the temperatures it was trained
    at (Das and Andersen 2010; the paper matches by iterated virials)."""
    columns = [TEMPERATURES.index(t) for t in trained]
    return errors - errors[:, columns].mean(axis=1, keepdims=True)


def _held(errors: np.ndarray, truth: Truth) -> dict[str, list[float]] | None:
    """Of (draws, temperatures): whether two standard deviations hold zero; mean and deviation."""
    if len(errors) < 3:
        return None
    mean, sd = errors.mean(0), errors.std(0, ddof=1)
    noise = np.array([truth.made[f"pressure {t:g} error"] for t in TEMPERATURES])
    held = np.abs(mean) <= SIGMAS * np.hypot(sd, noise)
    return {"held": held.astype(float).tolist(), "mean": mean.tolist(), "sd": sd.tolist()}


def work(setting: Setting, folder: Path, sets: int | None, worker: int, workers: int) -> None:
    """Every ``workers``-th training set."""
    case, count = make(setting, folder, sets)
    for which in range(worker, count, workers):
        _kept(case, which, folder)
        print(f"bands: set {which} done", flush=True)


def make(setting: Setting, folder: Path, sets: int | None) -> tuple[Case, int]:
    """The case of a setting, and how many sets."""
    size, plan = PLANS[setting]
    return Case(Truth(size, folder), plan), plan.sets if sets is None else sets


def _kept(case: Case, which: int, folder: Path) -> dict:
    plan = dataclasses.asdict(case.plan)
    del plan["sets"]  # more of them leave the first as they are
    depends = {"version": VERSION, "size": dataclasses.asdict(case.truth.size), "plan": plan}
    return kept(folder / f"{which:03d}.json", depends, lambda: one_set(case, which))


def run(setting: Setting, folder: Path, sets: int | None, workers: int) -> dict:
    """All sets, shared among ``workers`` processes."""
    folder = folder / setting / "bands"
    case, count = make(setting, folder, sets)
    clock = Clock()
    truth = case.truth.made  # made once, before workers would all make it
    seconds = clock.read()
    if workers > 1:
        each(work, [(setting, folder, sets, i, workers) for i in range(workers)], workers)
    found = [_kept(case, which, folder) for which in range(count)]
    known = {
        f"{what} {t:g}{more}": truth[f"{what} {t:g}{more}"]
        for what in (*(o.name for o in CURVES), "pressure")
        for t in TEMPERATURES
        for more in ("", " error")
    }
    forces = truth[f"forces {TRAINED:g}"]
    return {
        "sets": count, "members": case.plan.recipe.members,
        "settings": {"size": dataclasses.asdict(case.truth.size),
                     "plan": dataclasses.asdict(case.plan)},
        "temperatures": TEMPERATURES, "trained": TRAINED, "truth": known,
        "axes": {o.name: o.axis for o in CURVES}, "force_rms": np.sqrt(np.mean(forces**2)),
        "truth_seconds": seconds,
        "rows": [tallied(found, n, case.plan.recipe.members) for n in found[0]["methods"]],
        "cost": {part: [s[part]["core_seconds"] for s in found] for part in ("train", "md")},
    }  # fmt: skip
