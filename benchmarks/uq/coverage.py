"""Part ``coverage``: how often intervals hold the truth, over independent training sets."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from benchmarks.common import Setting
from benchmarks.uq.case import Case
from benchmarks.uq.runner import Runner
from benchmarks.uq.tally import tally
from benchmarks.uq.workers import each


def make_cases(
    setting: Setting, folder: Path, sets: int | None, only: tuple[str, ...] = ()
) -> list[Case]:
    """What the setting affords, or ``only`` those whose names begin so."""
    from benchmarks.uq import argon, argon_truth, molecule

    quick = setting == "quick"
    usual, more = (
        argon.cases(matter, folder, quick, sets or 20)
        for matter in (argon_truth.FLUID, argon_truth.CRYSTAL)
    )
    fewer = min(sets or 20, 20)  # what the frames of molecules are enough for
    every: list[Case] = [*usual, *more, molecule.peroxide(fewer, quick)]
    if not quick:
        every.append(molecule.ethanol(folder, fewer))
    for name in only:
        if not any(case.name.startswith(name) for case in every):
            raise SystemExit(f"no case {name}; there are {', '.join(c.name for c in every)}")
    if only:
        return [case for case in every if case.name.startswith(only)]
    return [*usual] if quick else every  # quick has no time for more unless it is asked for


def work(
    setting: Setting,
    folder: Path,
    sets: int | None,
    own: tuple[str, ...],
    worker: int,
    workers: int,
    only: tuple[str, ...] = (),
) -> None:
    """Every ``workers``-th training set of all cases.

    Workers begin with different cases: what one has compiled the others find.
    """
    if workers > 1:
        jax.config.update("jax_compilation_cache_dir", str(folder / "programs"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    cases = make_cases(setting, folder, sets, only)
    first = worker % len(cases)
    for case in [*cases[first:], *cases[:first]]:
        runner = Runner(case, folder, own)
        if worker == 0:
            runner.cost_of_one_model()
        for number in range(worker, case.sets, workers):
            for name in runner.names():
                runner.one(number, name)
            print(f"{case.name}: set {number} done", flush=True)


def run(
    setting: Setting, folder: Path, sets: int | None, own: tuple[str, ...], workers: int,
    only: tuple[str, ...] = (),
) -> dict:  # fmt: skip
    """All cases, or ``only`` some; ``workers`` processes share the training sets."""
    folder = folder / setting
    for case in make_cases(setting, folder, sets, only):
        case.reference("in")  # made once, before workers would all make it
    if workers > 1:
        # programs that another worker compiled are told to be of another machine, at every load
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        each(
            work, [(setting, folder, sets, own, i, workers, only) for i in range(workers)], workers
        )
    else:
        work(setting, folder, sets, own, 0, 1, only)
    cases = make_cases(setting, folder, sets, only)
    return {"cases": [_gathered(case, folder, own) for case in cases]}


def _gathered(case: Case, folder: Path, own: tuple[str, ...]) -> dict:
    runner = Runner(case, folder, own)
    found = {
        name: [runner.one(number, name) for number in range(case.sets)] for name in runner.names()
    }
    return {
        "name": case.name, "title": case.title, "sets": case.sets,
        "draws": case.recipe.members, "temperatures": case.temperatures,
        "settings": case.settings(), "one_model": runner.cost_of_one_model(),
        "rows": tally(found, [o.name for o in case.observables]),
        "observables": [o.name for o in case.observables],
    }  # fmt: skip
