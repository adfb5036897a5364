"""Tables of part ``bands``: bands of curves, what broke, and pressures."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.common import markdown, number
from benchmarks.uq.counting import share
from benchmarks.uq.polar_fluid import TEMPERATURES

NOISE = "control: one model, only MD noise"


def tallied(found: list[dict], name: str, members: int) -> dict:
    """One method over sets; curves to draw are those of the first."""
    sets = [s["methods"][name] for s in found]
    row: dict[str, Any] = {
        "method": name,
        "unstable": {t: sum(s["unstable"][t] for s in sets) for t in sets[0]["unstable"]},
        "trajectories": len(sets) * members,
        "diverged": sum(s["diverged"] for s in sets),
        "force_rmse": _mean([s["force_rmse"] for s in sets]),
        "curves": {},
    }  # fmt: skip
    for curve in sets[0]["curves"]:
        each = [s["curves"][curve] for s in sets]
        there = [x for x in each if x is not None]
        # sets with too few stable draws for a band hold nothing
        told: dict[str, Any] = {"share": share([x["share"] if x else 0.0 for x in each])}
        for what in ("width", "error"):
            told[what] = float(np.mean([x[what] for x in there])) if there else None
        told |= {k: there[0][k] if there else None for k in ("mean", "sd")}
        row["curves"][curve] = told
    row["pressure"] = {}
    for kind in sets[0].get("pressure", ()):
        each = [s["pressure"][kind] for s in sets]
        there = [x for x in each if x is not None]
        row["pressure"][kind] = {
            f"{t:g}": {
                "held": share([x["held"][i] if x else 0.0 for x in each]),
                "error": float(np.mean([x["mean"][i] for x in there])) if there else None,
                "sd": float(np.mean([x["sd"][i] for x in there])) if there else None,
            }
            for i, t in enumerate(TEMPERATURES)
        }
    return row


def _mean(values: list[float | None]) -> float | None:
    """Of sets whose parameters are finite."""
    known = [x for x in values if x is not None]
    return float(np.mean(known)) if known else None


def table(result: dict) -> str:
    """Three: bands of curves, what broke, and pressures."""
    kelvin = [f"{t:g}" for t in result["temperatures"]]
    here, away = f"{result['trained']:g}", kelvin[0]
    curves = [f"{o} {t}" for t in (here, away) for o in result["axes"]]
    forces = result["force_rms"]
    intro = (
        f"**Bands of a coarse-grained fluid**, {result['sets']} training sets of"
        f" {result['settings']['plan']['train']} frames at {here} K, {result['members']} draws of"
        " each posterior. Shares of bins within two standard deviations over draws, in brackets"
        " 95 % intervals over sets; ±: half the band over the mean of the curve, and the mean's own"
        " error likewise."
    )
    rows = [
        (row["method"], "–" if row["force_rmse"] is None else number(1e3 * row["force_rmse"], 3),
         *(_curve(row["curves"][c]) for c in curves))
        for row in result["rows"] if "two temperatures" not in row["method"]
    ]  # fmt: skip
    head = (f"trained at {here} K", f"force RMSE / meV/Å (of {number(1e3 * forces, 3)})",
            *(f"{c} K" for c in curves))  # fmt: skip
    made = [intro, markdown(head, rows)]
    rows = [
        (row["method"], *(str(row["unstable"].get(t, "–")) for t in kelvin),
         str(row["trajectories"]), str(row["diverged"]))
        for row in result["rows"] if row["method"] != NOISE
    ]  # fmt: skip
    head = ("unstable trajectories", *(f"{t} K" for t in kelvin), "of", "diverged chains")
    made.append(markdown(head, rows))
    rows = [
        (row["method"], *(_pressure(row["pressure"][kind][t]) for kind in ("plain", "matched")
                          for t in kelvin))
        for row in result["rows"] if row["pressure"]
    ]  # fmt: skip
    head = (
        f"error of the pressure ± one deviation / MPa, share of sets held (two temperatures:"
        f" {kelvin[0]} K and {kelvin[-1]} K)",
        *(f"{t} K" for t in kelvin), *(f"matched where trained, {t} K" for t in kelvin),
    )  # fmt: skip
    made.append(markdown(head, rows))
    return "\n\n".join(made)


def _curve(given: dict) -> str:
    mean, low, high = given["share"]
    text = f"{100 * mean:.0f} ({100 * low:.0f}–{100 * high:.0f}) %"
    if given["width"] is None:
        return text
    return f"{text}; ± {100 * given['width']:.0f} %, off by {100 * given['error']:.0f} %"


def _pressure(given: dict) -> str:
    if given["error"] is None:
        return "–"
    mean, low, high = given["held"]
    return (
        f"{1e3 * given['error']:+.0f} ± {1e3 * given['sd']:.0f};"
        f" {100 * mean:.0f} ({100 * low:.0f}–{100 * high:.0f}) %"
    )
