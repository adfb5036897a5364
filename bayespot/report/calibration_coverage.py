"""Figures of coverage: reliability, the histogram of the probability transform, groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayespot.report.calibration_drawing import (
    COLORS,
    Entry,
    Picture,
    color,
    each,
    having,
    picture,
    style,
)
from bayespot.report.calibration_text import GROUPS
from bayespot.report.calibration_text import groups as ordered
from bayespot.report.table import significant as sig

MOST_GROUPS = 14


def reliability(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Observed against nominal coverage of central intervals."""
    del unit
    found = having(entries, "reliability")
    if not found:
        return None

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=COLORS["soft"], lw=1)
        for i, _, points in found:
            x, y = np.array([(0, 0), *points, (1, 1)]).T
            axes.plot(x, y, lw=1.8, **color(i))
        axes.text(0.04, 0.93, "too wide", fontsize=9, color=COLORS["soft"])
        axes.text(0.96, 0.04, "too narrow", fontsize=9, color=COLORS["soft"], ha="right")
        axes.set_xlabel("nominal coverage")
        axes.set_ylabel("observed coverage")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)

    def say(_: int, points: Any) -> str:
        x, y = np.asarray(points, float).T
        at = {level: float(np.interp(level, x, y)) for level in (0.5, 0.95)}
        gap = float(np.mean(y - x))
        word = "on the diagonal" if abs(gap) < 0.02 else "below it" if gap < 0 else "above it"
        return (
            f"the 50 % interval holds {100 * at[0.5]:.0f} % of the truths, the 95 % interval"
            f" {100 * at[0.95]:.0f} %; the curve lies {word}."
        )

    return picture(
        mark, "Reliability",
        "How many truths each interval holds. On the diagonal is right, below it too narrow.",
        f"Reliability of {label}, observed against nominal coverage; the diagonal is perfect."
        f" {each(found, say)}",
        draw,
    )  # fmt: skip


def pit(mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]) -> Picture | None:
    """Histogram of the predictive distribution's value at the truth."""
    del unit
    found = having(entries, "pit")
    if not found:
        return None

    def draw(axes: Any) -> None:
        low, high = found[0][2]["band"]
        axes.axhspan(low, high, color=COLORS["band"], lw=0)
        axes.axhline(1, color=COLORS["soft"], lw=1)
        for i, _, made in found:
            axes.stairs(made["density"], made["edges"], lw=1.6, baseline=None,
                        edgecolor=color(i)["color"], ls=color(i)["ls"])  # fmt: skip
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("predictive distribution at the truth")
        axes.set_ylabel("density")

    def say(_: int, made: Any) -> str:
        d = np.asarray(made["density"], float)
        third = max(1, len(d) // 10)
        ends, middle = float(np.mean([d[:third], d[-third:]])), float(np.mean(d[third:-third]))
        shape = "flat" if made["band"][0] <= ends <= made["band"][1] else (
            "a U, too many truths far out" if ends > middle else "a hump, too few truths far out"
        )  # fmt: skip
        lean = float(np.mean(d[: len(d) // 2]) - np.mean(d[-(len(d) // 2) :]))
        side = "" if abs(lean) < 0.2 else f"; leaning to the {'left' if lean > 0 else 'right'}"
        return f"density {sig(ends, 2)} at the ends, {sig(middle, 2)} between: {shape}{side}."

    return picture(
        mark, "PIT histogram",
        "Flat within the band is right; a U is too narrow, a hump too wide, a slope is a bias.",
        f"Probability integral transform of {label}; 1 everywhere is perfect, the band is what"
        f" chance allows. {each(found, say)}",
        draw,
    )  # fmt: skip


def groups(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Coverage of the 95 % interval in every group, with its bootstrap interval."""
    del unit
    names: list[tuple[str, str]] = []
    for _, _, q in entries:
        for kind in q.get("groups", {}):
            for group, made in ordered(q, kind):
                known = made["metrics"].get("coverage_95", {}).get("value") is not None
                if known and (kind, group) not in names:
                    names.append((kind, group))
    # a kind with one group repeats the whole
    names = [n for n in names if sum(kind == n[0] for kind, _ in names) > 1][:MOST_GROUPS]
    if not names:
        return None
    words = [GROUPS.get(n, n[1]) for n in names]
    rows = [(i, n, [q["groups"].get(k, {}).get(g) for k, g in names]) for i, n, q in entries]

    def draw(axes: Any) -> None:
        axes.axvline(0.95, color=COLORS["soft"], lw=1)
        for place, (i, _, made) in enumerate(rows):
            offset = min(0.16, 0.8 / len(rows)) * (place - (len(rows) - 1) / 2)
            for y, group in enumerate(made):
                if group is None:
                    continue
                c = group["metrics"]["coverage_95"]
                if c.get("low") is not None:
                    axes.plot([c["low"], c["high"]], [y + offset] * 2, lw=1.4,
                              color=color(i)["color"])  # fmt: skip
                axes.plot(c["value"], y + offset, style(i)[1], ms=4.5,
                          color=color(i)["color"])  # fmt: skip
        axes.set_yticks(range(len(names)), words, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(min(0.85, axes.get_xlim()[0]), 1.01)
        axes.set_xlabel("share in the 95 % interval")

    def say(_: int, made: Any) -> str:
        values = [
            (group["metrics"]["coverage_95"]["value"], words[y])
            for y, group in enumerate(made)
            if group is not None
        ]
        low, where = min(values)
        high, there = max(values)
        return f"from {100 * low:.0f} % in {where} to {100 * high:.0f} % in {there}."

    return picture(
        mark, "Where it holds",
        "Left of the line: too narrow there. Bars: bootstrap over frames, 95 %.",
        f"Coverage of the 95 % interval of {label} in {len(names)} groups of the test data."
        f" {each(rows, say)}",
        draw,
        left=0.06 + 0.019 * max(map(len, words)),
    )  # fmt: skip
