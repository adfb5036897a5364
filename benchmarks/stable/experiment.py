"""Force matching until a weak network has converged; StABlE; and MD with either."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.common import Setting, markdown, number
from benchmarks.stable import figures, judge, train
from benchmarks.stable.cases import DATA, Case, cases
from benchmarks.stable.parts import Parts
from benchmarks.stable.problem import DISTANCES, Problem, load, reference

NAMES = BEFORE, AFTER, CONTROL = "force matching", "StABlE", "as much more force matching"
PARTS = Path("runs/stable")  # what a killed run continues from


def run(setting: Setting, out: Path) -> dict:
    if not DATA.is_dir():
        raise SystemExit(f"there are no reference data at {DATA}: this benchmark needs them")
    found = [_case(case, PARTS / setting / case.name) for case in cases(setting == "quick")]
    names = [figures.draw(row, out) for row in found]
    return {"cases": found, "figures": names}


def _case(case: Case, folder: Path) -> dict:
    problem, keep = load(case), Parts(folder, dataclasses.asdict(case))
    like = train.like(problem)

    def trained(make: Any, *given: Any) -> Any:
        def part(where: Path) -> tuple[Any, dict]:
            made = make(case, problem, *given, where)
            errors = train.errors(problem, made.params)
            return made.params, {**errors, "seconds": made.seconds, "history": made.history}

        return part

    models, told = {}, {}
    models[BEFORE], told[BEFORE] = keep("pretrained", trained(train.pretrain), like)
    models[AFTER], told[AFTER] = keep("stable", trained(train.stabilise, models[BEFORE]), like)
    learnt = int(np.sum(told[AFTER]["history"]["phase"]))
    if case.teaching.label_weight:  # was it the labels?

        def control(where: Path) -> tuple[Any, dict]:
            del where
            made = train.more_matching(case, problem, models[BEFORE], learnt)
            errors = train.errors(problem, made.params)
            return made.params, {**errors, "seconds": made.seconds}

        models[CONTROL], told[CONTROL] = keep("control", control, like)

    def judged(kelvin: float) -> dict:
        def part(_: Path) -> tuple[Any, dict]:
            return None, judge.judge(case, problem, models, kelvin)

        return keep(f"judged_{kelvin:.0f}K", part)[1]

    found = [judged(kelvin) for kelvin in case.judging.temperatures]
    return {
        "case": case.name,
        "paper": case.paper,
        "settings": dataclasses.asdict(case),
        "parameters": sum(x.size for x in jax.tree.leaves(models[BEFORE])),
        "learning_steps": learnt,
        "models": told,
        "judged": found,
        **_references(case, problem, found),
    }


def _references(case: Case, problem: Problem, judged: list[dict]) -> dict:
    """What figures compare with, and errors of curves."""
    if case.localized:
        return {
            "reference": {c.observable.name: c.reference for c in judge.radial(problem)},
            "axis": judge.radial(problem)[0].observable.axis,
        }
    first = judged[0]  # at the temperature of the ab-initio dynamics
    errors = {n: judge.distance_error(first[n]["h"], problem) for n in NAMES if n in first}
    everything = np.concatenate([problem.pool, problem.held_out])
    half = reference(DISTANCES, problem.system, everything[::2])
    return {
        "reference": reference(DISTANCES, problem.system, everything),
        "axis": DISTANCES.axis,
        "h_error": errors,
        "h_error_of_half_the_frames": judge.distance_error(half, problem),
    }


def table(result: dict) -> str:
    rows = []
    for row in result["cases"]:
        for name, told in row["models"].items():
            first = True
            for judged in row["judged"]:
                at = judged[name]
                median = (
                    number(at["median_ps"]) if at["median_ps"] else f"> {judged['horizon_ps']:g}"
                )
                rows.append(
                    (
                        row["case"],
                        name,
                        number(told["forces_mae_mev"], 3) if first else "",
                        number(told["seconds"], 3) if first else "",
                        f"{judged['temperature']:.0f}",
                        f"{100 * at['unstable']:.0f} % after {judged['horizon_ps']:g} ps",
                        median,
                        _curves(row, judged, name),
                        _paper(row, judged["temperature"], name),
                    )
                )
                first = False
    return markdown(
        ("system", "trained by", "force MAE / meV/Å", "training / s", "T / K", "unstable",
         "median stable time / ps", "averages", "paper"), rows,
    )  # fmt: skip


def _paper(row: dict, kelvin: float, name: str) -> str:
    for temperature, *known in row["paper"]:
        if temperature == kelvin and name in (BEFORE, AFTER):
            return known[name == AFTER]
    return ""


def _curves(row: dict, judged: dict, name: str) -> str:
    """Integrals of the absolute errors of curves, over what was stable."""
    at = judged[name]
    if "rdf_error" in at and not at["stable_blocks"]:
        return "not stable for long enough"
    if "rdf_error" in at:
        told = ", ".join(f"{k} {number(v)}" for k, v in at["rdf_error"].items())
        spread = number(at.get("diffusion"))
        return f"g(r) off by {told} Å; D {spread}e-9 m²/s"
    if judged is not row["judged"][0]:
        return ""
    return (
        f"h(r) off by {number(row['h_error'][name])}"
        f" (half of the AIMD frames: {number(row['h_error_of_half_the_frames'])})"
    )
