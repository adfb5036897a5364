"""Both systems; what a killed run has finished is not repeated.

The timings that are compared are one part: they come from one session.
"""

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import Setting, markdown, number, plain
from benchmarks.difftre import backprop, diamond, double_well, figures, peer, well
from benchmarks.difftre.cases import CASES, DATA, Case

PARTS = Path("runs/difftre")  # what a killed run continues from


def run(setting: Setting, out: Path) -> dict:
    if not DATA.is_dir():
        raise SystemExit(f"there are no reference data at {DATA}: this benchmark needs them")
    case = CASES[setting]
    made: dict[str, Any] = {"settings": dataclasses.asdict(case)}
    made |= _kept("double-well", case, _timed)
    made["learned"] = _kept("learned", case, _learned)
    made["norms"] = _kept("norms", case, lambda case: backprop.norms(case.lengths))
    figures.double_well(made, out / "difftre_double_well.png")
    made["diamond"] = _kept("diamond", case, lambda case: diamond.train(case.diamond))
    figures.diamond(made["diamond"], out / "difftre_diamond.png")
    return made


def _timed(case: Case) -> dict:
    """Ours, chemtrain and back-propagation, one right after the other."""
    ours = double_well.train(case.work, case.own_updates)
    theirs = peer.run(case.work, case.peer_updates)
    return {"ours": ours, "peer": theirs, "speed": backprop.speed(case.atoms, case.repeats)}


def _learned(case: Case) -> dict:
    """On one core: XLA shares noise for so few particles out over all, which takes three times as
    long."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_one_core) as pool:
        given = case.learning, well.UPDATES, double_well.NOISE
        return pool.submit(double_well.train, *given).result()


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])


def _kept(name: str, case: Case, make: Callable[[Case], dict]) -> dict:
    """From the file of an earlier call with the same settings."""
    where = PARTS / f"{name}.json"
    depends = plain(dataclasses.asdict(case))
    if where.exists():
        stored = json.loads(where.read_text())
        # a peer that was missing may be there by now
        if stored["depends"] == depends and "failed" not in stored["made"].get("peer", {}):
            return stored["made"]
    print(name, flush=True)
    made = plain(make(case))
    PARTS.mkdir(parents=True, exist_ok=True)
    where.write_text(json.dumps({"depends": depends, "made": made}))
    return made


def ratios(result: dict) -> dict[str, float]:
    """Times that chemtrain takes longer for an update with a new trajectory, by either clock.

    Of the same number of first updates, which all make one.
    """
    ours, theirs = result["ours"], result["peer"]
    if "failed" in theirs:
        return {}
    count = len(theirs["seconds"])
    found = {}
    for clock in ("seconds", "core_seconds"):
        first = {key: ours[key][:count] for key in (clock, "fresh")}
        a, b = (double_well.typical(x, clock)["fresh"] for x in (first, theirs))
        if a and b:
            found[clock] = b / a
    return found


def table(result: dict) -> str:
    return "\n\n".join([_double_well(result), _diamond(result["diamond"])])


def _double_well(result: dict) -> str:
    ours, theirs, speed = result["ours"], result["peer"], result["speed"]
    learned, chain = result["learned"], ours["exact_loss"]
    work, norms = result["settings"]["work"], result["norms"]
    wall, core = speed["ratios"]["seconds"], speed["ratios"]["core_seconds"]
    own, other = double_well.typical(ours), {"fresh": None}
    if "failed" not in theirs:
        other = double_well.typical(theirs)
    ratio = ratios(result)
    steps = (work["states"] + work["skip"]) * work["every"]

    def per_step(times: dict) -> float | None:
        return 1e6 * times["fresh"] / steps if times["fresh"] else None

    rows = [
        ("loss as simulated, first → last of 200 updates, Langevin",
         f"{number(learned['loss'][0])} → {number(learned['loss'][-1])}", "1.8 → 1.4e-4", "–"),
        ("the same, of the learned potential (exact density)",
         f"{number(learned['exact_loss'][0])} → {number(learned['exact_loss'][-1])}", "–", "–"),
        (f"the same after {len(chain) - 1} updates, Nosé–Hoover chain", number(chain[-1]), "–",
         "–" if "failed" in theirs else f"{number(theirs['exact_loss'][-1])} after"
         f" {len(theirs['exact_loss']) - 1}"),
        (f"gradient norm, {norms['length'][0]} → {norms['length'][-1]} states: DiffTRe",
         f"{number(norms['difftre'][0])} → {number(norms['difftre'][-1])}", "1.5 → 0.58", "–"),
        ("the same: back-propagation through MD",
         f"{number(norms['direct'][0])} → {number(norms['direct'][-1])}", "27 → 2.1e18", "–"),
        (f"gradient, times faster than back-propagation ({speed['particles']} particles)",
         f"{number(wall['gradient'], 3)} (core seconds: {number(core['gradient'], 3)})", "486",
         "–"),
        ("update, times faster than back-propagation",
         f"{number(wall['update'])} (core seconds: {number(core['update'])})", "3.7", "–"),
        (f"s per update with a new trajectory ({steps} steps)", number(own["fresh"], 3),
         "39.2 (1 100 000 steps)", number(other["fresh"], 3)),
        ("the same, µs of each step", number(per_step(own)), "36", number(per_step(other))),
        ("s per update without", number(own["reused"], 3), "2.76 (10 000 states)",
         number(other.get("reused"), 3)),
        ("s of the first update, which compiles", number(ours["first_update_seconds"], 3), "–",
         "–" if "failed" in theirs
         else number(theirs["set_up_seconds"] + theirs["first_update_seconds"], 3)),
        ("update, times faster than chemtrain",
         f"{number(ratio.get('seconds'), 3)} (core seconds:"
         f" {number(ratio.get('core_seconds'), 3)})", "–", "1"),
    ]  # fmt: skip
    return markdown(("double well", "bayespot", "paper", theirs.get("peer", "chemtrain")), rows)


def _diamond(made: dict) -> str:
    rows = []
    for i, name in enumerate(("C11", "C12", "C44")):
        cells = [
            f"{made[when][how][0][i]:.0f} ± {made[when][how][1][i]:.0f}"
            for when in ("before", "after")
            for how in ("fluctuation", "strained")
        ]
        rows.append((f"{name} / GPa", *cells, f"{diamond.EXPERIMENT[i]:g}",
                     (1070, 114, 560)[i]))  # fmt: skip
    pressures = [
        f"{p:.2f} ± {e:.2f}" for p, e in (made[w]["pressure"] for w in ("before", "after"))
    ]
    rows.append(("pressure / GPa", pressures[0], "–", pressures[1], "–", "0", "-0.3"))
    paper = figures.curve("Diamond_loss_seconds.csv")["loss"][-1]
    losses = (number(made["loss"][0]), "–", number(made["loss"][-1]), "–", "0", number(paper))
    rows.append(("loss", *losses))
    head = (f"diamond, {made['atoms']} atoms", "prior, fluctuations", "prior, explicit strain",
            "learned, fluctuations", "learned, explicit strain", "experiment", "paper")  # fmt: skip
    return markdown(head, rows)
