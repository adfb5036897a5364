"""Observables as lines of text: numbers, and of curves and surfaces what stands out."""

from __future__ import annotations

import math
from typing import Any


def significant(value: float | int | None, digits: int = 3) -> str:
    """A number with ``digits`` significant digits, without exponent where that stays short."""
    if value is None:
        return "–"
    text = f"{value:.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    return text.replace("-", "−") if "e" not in text else text


def rounded(value: float, error: float) -> str:
    """A number to the second significant digit of its error."""
    if not error > 0:
        return f"{value:.6g}".replace("-", "−")
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f}".replace("-", "−")


def numbers(observable: dict[str, Any]) -> list[dict[str, Any]]:
    """An observable that is a number, each of its named components, or nothing of a curve."""
    if "axis" not in observable:
        return [observable]
    made = []
    for i, what in enumerate(observable.get("components", ())):
        one = _component(observable, i)
        if "recalibrated" in observable:
            one["recalibrated"] = _component(observable["recalibrated"], i)
        one |= {"title": f"{observable['title']} {what}", "unit": observable["unit"]}
        if "coverage" in observable:
            one["coverage"] = {"inside95": float(one["low95"] <= one["reference"] <= one["high95"])}
        made.append(one)
    return made


def _component(content: dict[str, Any], i: int) -> dict[str, Any]:
    lists = {k: v for k, v in content.items() if isinstance(v, list)}
    return {k: v[i] for k, v in lists.items() if k not in ("axis", "components")}


def columns(*cells: str, width: int = 30) -> str:
    """A label and right-aligned columns."""
    return (f"  {cells[0]:{width}s}" + "".join(f"{c:>14s}" for c in cells[1:])).rstrip()


def table(observables: dict[str, dict[str, Any]]) -> list[str]:
    """Lines for all observables of a report.

    The column "recalibrated" is half of the 95 % interval with the parameter part stretched.
    """

    def label(o: dict[str, Any]) -> str:
        return f"{o['title']} ({o['unit']})" if o["unit"] and "axis" not in o else o["title"]

    compared = any("coverage" in o for o in observables.values())
    rows = [n for o in observables.values() for n in numbers(o) or [o]]
    width = max(30, *(len(label(o)) + 1 for o in rows))
    stretched = any("recalibrated" in o for o in observables.values())
    more = ["recalibrated"] * stretched + ["ref. in 95 %"] * compared
    lines = [
        "Observables (95 % ±: half of the interval; the rest are standard deviations)",
        columns("", "mean", "95 % ±", "parameter", "MD of mean", *more, width=width),
    ]
    for o in rows:
        known = o.get("coverage")
        more = [f"{100 * known['inside95']:.0f} %" if known else "-"] if compared else []
        if "axis" not in o:
            lines.append(columns(label(o), *_cells(o), *more, width=width))
            continue
        more = [""] * stretched + more
        flat = not isinstance(o["mean"][0], list)
        relative = f"{100 * known['relative_width95']:.0f} %" if known else ""
        shape = "(curve)" if flat else "(surface)"
        lines.append(columns(o["title"], shape, relative, "", "", *more, width=width))
        for where, index in _peaks(o) if flat else _highest(o):
            lines.append(columns(f"  {where}", *_cells(o, *index), width=width))
    return lines


def ways_table(ways: dict[str, Any]) -> list[str]:
    """Lines for one observable after another, each by every way."""
    names = ways["names"]
    width = max(len(name) for name in names.values()) + 4
    lines = [
        "Other ways to the same intervals",
        columns("", "95 % ±", "MD of mean", "force calls", "agrees", width=width),
    ]
    for name, rows in ways["observables"].items():
        lines.append(f"  {name}")
        for way, row in rows.items():
            agrees = {None: "", True: "yes", False: "no"}[row.get("agree")]
            small = (significant(row[k], 2) for k in ("half95", "md_of_mean"))
            calls = f"{row['force_calls']:.2g}"
            lines.append(columns(f"  {names[way]}", *small, calls, agrees, width=width))
    return lines + [f"  {note}" for note in ways["notes"]]


def _cells(o: dict[str, Any], *index: int) -> list[str]:
    """Mean, half of the 95 % interval and its parts, of a number or one point of the others."""

    def at(name: str, among: dict[str, Any] = o) -> float:
        value = among[name]
        for i in index:
            value = value[i]
        return value

    half = (at("high95") - at("low95")) / 2
    small = [significant(x, 2) for x in (half, at("parameter"), at("md_of_mean"))]
    if "recalibrated" in o:
        low, high = (at(name, o["recalibrated"]) for name in ("low95", "high95"))
        small.append(f"± {significant((high - low) / 2, 2)}")
    return [rounded(at("mean"), at("total")), *small]


def _peaks(o: dict[str, Any], most: int = 3) -> list[tuple[str, tuple[int, ...]]]:
    """The highest points of a curve, or its end where it has none."""
    mean, unit = o["mean"], o["axis_label"].split(" / ")[-1]
    top = max((x for x in mean if not math.isnan(x)), default=0.0)
    tops = [
        i
        for i in range(1, len(mean) - 1)
        if mean[i] >= mean[i - 1] and mean[i] > mean[i + 1] and mean[i] > 0.2 * top
    ]
    chosen = sorted(sorted(tops, key=lambda i: -mean[i])[:most])
    if not chosen:
        return [(f"end at {o['axis'][-1]:.4g} {unit}", (len(mean) - 1,))]
    return [(f"peak at {o['axis'][i]:.4g} {unit}", (i,)) for i in chosen]


def _highest(o: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """The highest point of a surface."""
    seen = [
        (x, i, j) for i, row in enumerate(o["mean"]) for j, x in enumerate(row) if not math.isnan(x)
    ]
    if not seen:
        return []
    _, i, j = max(seen)
    axis, unit = o["axis"], o["axis_label"].split(" / ")[-1]
    return [(f"highest at {axis[i]:.4g}, {axis[j]:.4g} {unit}", (i, j))]
