"""From what each training set gave to the rows of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.common import markdown, number
from benchmarks.uq.case import PLACES
from benchmarks.uq.counting import LEVELS, MISSED, expected, share

CONTROL = "control: MD noise of one model"
NARROW = "control: exact, a third as wide"
AFTER = ", recalibrated"


def tally(found: Mapping[str, Sequence[dict]], observables: Sequence[str]) -> list[dict]:
    """One row a method and variant: shares over sets by place and observable, and costs.

    Args:
        found: method -> what each set gave.
        observables: their names.
    """
    rows = []
    for name, sets in found.items():
        rows.append(_row(name, "plain", sets, observables))
        rows.append(_row(name + AFTER, "recalibrated", sets, observables))
    base = "ensemble" if "ensemble" in found else next(iter(found))
    rows.append(_row(CONTROL, "noise", found[base], observables))
    if "exact" in found:
        rows.append(_row(NARROW, "third", found["exact"], observables))
    return rows


def _row(name: str, variant: str, sets: Sequence[dict], observables: Sequence[str]) -> dict:
    fine = [s for s in sets if "failed" not in s]
    row: dict[str, Any] = {"method": name, "sets": len(sets), "failed": len(sets) - len(fine)}
    for place in PLACES:
        row[place] = {
            "unstable": float(np.mean([s[place]["unstable"] for s in fine])) if fine else 1.0
        }
        for observable in observables:
            each = [MISSED if "failed" in s else s[place][observable][variant] for s in sets]
            row[place][observable] = _shares([e for e in each if e is not None])
            parts = [s[place][observable].get("parameter_share") for s in fine]
            known = [p for p in parts if p is not None]
            row[place][observable]["parameter_share"] = float(np.mean(known)) if known else None
    if variant == "plain":
        for key in ("seconds", "core_seconds", "gradients"):
            known = [s[key] for s in fine if s.get(key) is not None]
            row[key] = float(np.median(known)) if known else None
        row["md_core_seconds"] = _median([s["md"]["core_seconds"] for s in fine])
        for key in [f"forces_{what}_{p}" for what in ("rmse", "spread") for p in PLACES]:
            row[key] = _median([s[key] for s in fine])
    if variant == "recalibrated":
        row["factor"] = _median([s["factor"] for s in fine])
    return row


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None


def _shares(each: Sequence[dict]) -> dict:
    if not each:
        return {"sets": 0}
    made: dict[str, Any] = {"sets": len(each)}
    for level in map(str, LEVELS):
        made[level] = list(share([float(e[level]) for e in each]))
    widths = [e["width"] for e in each if e["width"] is not None and np.isfinite(e["width"])]
    made["width"] = _median(widths)
    return made


def tables(case: dict) -> str:
    """Markdown: coverage at each temperature, and what each method costs."""
    draws = case["draws"]
    right = " and ".join(f"{100 * expected(level, draws):.0f} %" for level in LEVELS)
    made = [
        f"**{case['title']}**, {case['sets']} training sets.  Of {draws} draws of a right posterior"
        f" {right} is the rate to expect.  In brackets: 95 % intervals over training sets; ±: half"
        " the 95 % interval over the value, of curves the mean over bins."
    ]
    for place in PLACES:
        kelvin = f"{case['temperatures'][place]:.0f} K"
        where = f"trained and simulated at {kelvin}" if place == "in" else f"simulated at {kelvin}"
        head = (where, *(f"{o}: in 68 %, 95 %" for o in case["observables"]), "unstable")
        rows = [
            (
                row["method"],
                *(_cell(row[place][o], draws) for o in case["observables"]),
                f"{100 * row[place]['unstable']:.0f} %",
            )
            for row in case["rows"]
        ]
        made.append(markdown(head, rows))
    made.append(_costs(case))
    return "\n\n".join(made)


def _cell(given: dict, draws: int) -> str:
    """Shares with their intervals, bold where all of it is below the rate to expect; the width."""
    if not given["sets"]:
        return "–"
    parts = []
    for level in LEVELS:
        mean, low, high = given[str(level)]
        text = f"{100 * mean:.0f} ({100 * low:.0f}–{100 * high:.0f})"
        # too few is what matters; of too many the width tells
        parts.append(text if high >= expected(level, draws) else f"**{text}**")
    width = given["width"]
    told = "" if width is None else f"; ± {number(100 * width)} %"
    return ", ".join(parts) + told


def _costs(case: dict) -> str:
    one = case["one_model"]
    factors = {
        row["method"].removesuffix(AFTER): row["factor"] for row in case["rows"] if "factor" in row
    }
    rows = []
    for row in case["rows"]:
        if "gradients" not in row:
            continue
        gradients = row["gradients"]
        rows.append(
            (
                row["method"],
                "–" if gradients is None else f"{gradients / one['gradients']:.1f}",
                _ratio(row["core_seconds"], one["core_seconds"]),
                number(row["core_seconds"]),
                number(row["md_core_seconds"]),
                *(
                    f"{number(_milli(row[f'forces_rmse_{p}']))} / "
                    f"{number(_milli(row[f'forces_spread_{p}']))}"
                    for p in PLACES
                ),
                number(factors.get(row["method"])),
            )
        )
    head = (
        f"cost of a posterior (one model: {one['gradients']} frame gradients,"
        f" {number(one['core_seconds'])} core s)",
        "gradients / one model", "core s / one model", "core s", "core s of MD",
        "force error / spread, in (meV/Å)", "away", "recalibration factor",
    )  # fmt: skip
    return markdown(head, rows)


def _milli(value: float | None) -> float | None:
    return None if value is None else 1e3 * value


def _ratio(value: float | None, one: float) -> str:
    return "–" if value is None else f"{value / one:.1f}"
