"""Figures of a calibration page: inline SVG in the page's colours, each with its meaning in words.

Colours are CSS variables of the page, so that one figure serves light, dark and print.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bayespot.report.calibration_text import groups as ordered
from bayespot.report.figures import _svg
from bayespot.report.table import significant as sig

# what stands in the SVG for a variable of the page's style sheet
COLORS = {"ink": "#0a0b01", "soft": "#0a0b02", "line": "#0a0b03", "band": "#0a0b04"}
METHODS = tuple(f"#0a0b1{i}" for i in range(6))
STYLES: tuple[tuple[Any, str], ...] = (
    ("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"), ((0, (5, 1)), "v"), ((0, (3, 1, 1, 1)), "P"),
)  # fmt: skip
SIZE = (3.3, 2.55)
MOST_GROUPS = 14

Entry = tuple[str, dict[str, Any]]
"""Name of a method, and its entry of the quantity."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure and its words.

    Attributes:
        kind: "reliability", "pit", "scatter", "ence", "sparsification" or "groups".
        title: what it is.
        caption: how to read it.
        svg: inline SVG, with a text alternative that says what it shows.
    """

    kind: str
    title: str
    caption: str
    svg: str


def pictures(
    name: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> list[Picture]:
    """All figures that the numbers of a quantity allow.

    Args:
        name: of the quantity; unique on the page.
        label: the same in words.
        entries: methods that have the quantity.
        unit: factor and unit that numbers are shown in.
    """
    made = []
    for kind, draw in DRAWN.items():
        picture = draw(f"{kind}-{name}", label, entries, unit)
        if picture is not None:
            made.append(picture)
    return made


def _picture(
    mark: str,
    title: str,
    caption: str,
    alt: str,
    draw: Callable[[Any], None],
    left: float = 0.21,
) -> Picture:
    import matplotlib as mpl

    ink, soft = COLORS["ink"], COLORS["soft"]
    colors = {"text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": soft,
              "xtick.color": soft, "ytick.color": soft, "xtick.labelcolor": ink,
              "ytick.labelcolor": ink}  # fmt: skip

    def placed(axes: Any) -> None:
        draw(axes)
        # the room that words take is known: to search for it would take most of the time
        axes.figure.set_layout_engine("none")
        axes.set_position((left, 0.19, 0.945 - left, 0.78))

    with mpl.rc_context(colors):
        text = _svg(placed, SIZE, html.escape(alt), mark)
    for name, code in COLORS.items():
        text = text.replace(code, f"var(--{name})")
    for i, code in enumerate(METHODS):
        text = text.replace(code, f"var(--method{i})")
    # no part of a picture is a stop of the keyboard or a word of its own
    text = text.replace("<svg", '<svg focusable="false"', 1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return Picture(mark.split("-")[0], title, caption, text)


def _of(entries: Sequence[Entry], curve: str) -> list[tuple[int, str, Any]]:
    """Place, name and curve of the methods that have it."""
    found = [(i, name, q.get("curves", {}).get(curve)) for i, (name, q) in enumerate(entries)]
    return [each for each in found if each[2]]


def _style(i: int) -> tuple[Any, str]:
    """Line and marker: with the seventh method colours come again, in another style."""
    return STYLES[(i + i // len(METHODS)) % len(STYLES)]


def _color(i: int) -> dict[str, Any]:
    return {"color": METHODS[i % len(METHODS)], "ls": _style(i)[0]}


def _each(entries: Sequence[tuple[int, str, Any]], say: Callable[[int, Any], str]) -> str:
    """One sentence a method, named where there are several."""
    several = len(entries) > 1
    return " ".join((f"{name}: " if several else "") + say(i, x) for i, name, x in entries)


def reliability(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Observed against nominal coverage of central intervals."""
    del unit
    found = _of(entries, "reliability")
    if not found:
        return None

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=COLORS["soft"], lw=1)
        for i, _, points in found:
            x, y = np.array([(0, 0), *points, (1, 1)]).T
            axes.plot(x, y, lw=1.8, **_color(i))
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

    return _picture(
        mark, "Reliability",
        "How many truths each interval holds. On the diagonal is right, below it too narrow.",
        f"Reliability of {label}, observed against nominal coverage; the diagonal is perfect."
        f" {_each(found, say)}",
        draw,
    )  # fmt: skip


def pit(mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]) -> Picture | None:
    """Histogram of the predictive distribution's value at the truth."""
    del unit
    found = _of(entries, "pit")
    if not found:
        return None

    def draw(axes: Any) -> None:
        low, high = found[0][2]["band"]
        axes.axhspan(low, high, color=COLORS["band"], lw=0)
        axes.axhline(1, color=COLORS["soft"], lw=1)
        for i, _, made in found:
            axes.stairs(made["density"], made["edges"], lw=1.6, baseline=None,
                        edgecolor=_color(i)["color"], ls=_color(i)["ls"])  # fmt: skip
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

    return _picture(
        mark, "PIT histogram",
        "Flat within the band is right; a U is too narrow, a hump too wide, a slope is a bias.",
        f"Probability integral transform of {label}; 1 everywhere is perfect, the band is what"
        f" chance allows. {_each(found, say)}",
        draw,
    )  # fmt: skip


def scatter(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Size of the error against the predicted standard deviation."""
    factor, name = unit
    found = [(i, n, q["points"]) for i, (n, q) in enumerate(entries) if q.get("points")]
    found = [each for each in found if len(each[2]["sigma"])]
    if not found:
        return None

    def draw(axes: Any) -> None:
        sigmas = np.concatenate([p["sigma"] for _, _, p in found]) * factor
        ends = np.array([sigmas.min(), sigmas.max()]) * [0.8, 1.25]
        axes.plot(ends, ends, color=COLORS["soft"], lw=1)
        axes.plot(ends, 1.96 * ends, color=COLORS["soft"], lw=1, ls=":")
        for i, _, p in found:
            error = np.maximum(np.abs(p["error"]) * factor, 1e-12)
            axes.plot(np.asarray(p["sigma"]) * factor, error, _style(i)[1], ms=2.6,
                      color=_color(i)["color"], alpha=0.55, mew=0)  # fmt: skip
        errors = np.abs(np.concatenate([p["error"] for _, _, p in found])) * factor
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*ends)
        low = np.quantile(errors[errors > 0], 0.03) if (errors > 0).any() else ends[0]
        axes.set_ylim(bottom=min(low, ends[0] / 3), top=max(errors.max(), 1.96 * ends[1]) * 1.3)
        _few_ticks(axes)
        axes.set_xlabel(f"predicted σ / {name}")
        axes.set_ylabel(f"|error| / {name}")

    def say(i: int, p: Any) -> str:
        out = np.mean(np.abs(p["error"]) > 1.96 * np.asarray(p["sigma"]))
        rank = entries[i][1]["metrics"].get("spearman", {}).get("value")
        order = f"; rank correlation {sig(rank, 2)}" if rank is not None else ""
        return (
            f"of {len(p['sigma'])} points {100 * out:.0f} % lie above 1.96 σ, where 5 % are"
            f" expected{order}."
        )

    return _picture(
        mark, "Error against σ",
        "Full line: error = σ; dotted: 1.96 σ, above which one point in twenty belongs.",
        f"Size of the error of {label} against its predicted standard deviation, both on"
        f" logarithmic axes. {_each(found, say)}",
        draw,
    )  # fmt: skip


def ence(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Error against standard deviation in bins, with what chance makes of them."""
    factor, name = unit
    found = _of(entries, "ence")
    if not found:
        return None

    def draw(axes: Any) -> None:
        values = np.concatenate([[*c["predicted"], *c["observed"]] for _, _, c in found]) * factor
        ends = np.array([max(values.min(), 1e-12) / 1.25, values.max() * 1.25])
        chance = max(c.get("null_high") or 0.0 for _, _, c in found)
        axes.fill_between(ends, ends * max(1 - chance, 0.02), ends * (1 + chance),
                          color=COLORS["band"], lw=0)  # fmt: skip
        axes.plot(ends, ends, color=COLORS["soft"], lw=1)
        for i, _, c in found:
            axes.plot(np.asarray(c["predicted"]) * factor, np.asarray(c["observed"]) * factor,
                      marker=_style(i)[1], ms=4, lw=1, **_color(i))  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        _few_ticks(axes)
        axes.set_xlabel(f"predicted σ in bins / {name}")
        axes.set_ylabel(f"RMSE in bins / {name}")

    def say(_: int, c: Any) -> str:
        ratio = np.asarray(c["observed"], float) / np.asarray(c["predicted"], float)
        odd = (c.get("p") if c.get("p") is not None else 1.0) < 0.05
        return (
            f"errors are {sig(float(ratio[0]), 2)} times σ in the lowest bin and"
            f" {sig(float(ratio[-1]), 2)} times in the highest; ENCE {sig(c['value'], 2)}, chance"
            f" gives {sig(c['null_mean'], 2)} and up to {sig(c['null_high'], 2)}:"
            f" {'more than' if odd else 'no more than'} chance."
        )

    return _picture(
        mark, "Error in bins of σ",
        "On the line σ means what it says at every size. Band: mean deviation that chance allows.",
        f"Root mean square error of {label} in bins of predicted standard deviation, logarithmic"
        f" axes; the line is perfect. {_each(found, say)}",
        draw,
    )  # fmt: skip


def sparsification(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Error that is left when the most uncertain predictions are taken away."""
    del unit
    found = _of(entries, "sparsification")
    if not found:
        return None

    def draw(axes: Any) -> None:
        for i, _, c in found:
            scale = c["random"][0] or 1.0
            axes.plot(c["fraction"], np.asarray(c["by_error"]) / scale, lw=1, ls=":",
                      color=_color(i)["color"])  # fmt: skip
            axes.plot(c["fraction"], np.asarray(c["by_uncertainty"]) / scale, lw=1.8, **_color(i))
        axes.axhline(1, color=COLORS["soft"], lw=1)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("fraction removed, most uncertain first")
        axes.set_ylabel("RMSE / RMSE of all")

    def say(_: int, c: Any) -> str:
        x, scale = c["fraction"], c["random"][0] or 1.0
        half = [float(np.interp(0.5, x, c[k])) / scale for k in ("by_uncertainty", "by_error")]
        return (
            f"without the more uncertain half {100 * half[0]:.0f} % of the error is left; without"
            f" the half of larger errors it would be {100 * half[1]:.0f} %."
        )

    return _picture(
        mark, "Sparsification",
        "Falls if σ finds the errors. Dotted: the best possible order; level line: a random one.",
        f"Error of {label} that is left when the most uncertain predictions are removed."
        f" {_each(found, say)}",
        draw,
    )  # fmt: skip


def groups(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Coverage of the 95 % interval in every group, with its bootstrap interval."""
    del unit
    names: list[tuple[str, str]] = []
    for _, q in entries:
        for kind in q.get("groups", {}):
            for group, made in ordered(q, kind):
                known = made["metrics"].get("coverage_95", {}).get("value") is not None
                if known and (kind, group) not in names:
                    names.append((kind, group))
    # a kind with one group repeats the whole
    names = [n for n in names if sum(kind == n[0] for kind, _ in names) > 1][:MOST_GROUPS]
    if not names:
        return None
    rows = [
        (i, n, [q["groups"].get(k, {}).get(g) for k, g in names])
        for i, (n, q) in enumerate(entries)
    ]

    def draw(axes: Any) -> None:
        axes.axvline(0.95, color=COLORS["soft"], lw=1)
        for i, _, made in rows:
            offset = min(0.16, 0.8 / len(rows)) * (i - (len(rows) - 1) / 2)
            for y, group in enumerate(made):
                if group is None:
                    continue
                c = group["metrics"]["coverage_95"]
                if c.get("low") is not None:
                    axes.plot([c["low"], c["high"]], [y + offset] * 2, lw=1.4,
                              color=_color(i)["color"])  # fmt: skip
                axes.plot(c["value"], y + offset, _style(i)[1], ms=4.5,
                          color=_color(i)["color"])  # fmt: skip
        axes.set_yticks(range(len(names)), [g for _, g in names], fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(right=1.01)
        axes.set_xlabel("share in the 95 % interval")

    def say(_: int, made: Any) -> str:
        values = [
            (group["metrics"]["coverage_95"]["value"], names[y][1])
            for y, group in enumerate(made)
            if group is not None
        ]
        low, where = min(values)
        high, there = max(values)
        return f"from {100 * low:.0f} % in {where} to {100 * high:.0f} % in {there}."

    return _picture(
        mark, "Where it holds",
        "Left of the line: too narrow there. Bars: bootstrap over frames, 95 %.",
        f"Coverage of the 95 % interval of {label} in {len(names)} groups of the test data."
        f" {_each(rows, say)}",
        draw,
        left=0.06 + 0.019 * max(len(group) for _, group in names),
    )  # fmt: skip


def _few_ticks(axes: Any) -> None:
    """On logarithmic axes two to five round numbers, whose labels do not touch."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for steps in ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            ticks = np.outer(powers, steps).ravel()
            ticks = ticks[(ticks >= low) & (ticks <= high)]
            if len(ticks) <= 4:
                break
        ticks = ticks[:: max(1, len(ticks) // 4)]
        axis.set_ticks(ticks, [f"{x:g}" for x in ticks])
        axis.set_ticks([], minor=True)


DRAWN: dict[
    str, Callable[[str, str, Sequence[Entry], tuple[float, str]], Picture | None]
] = {
    "reliability": reliability, "pit": pit, "scatter": scatter, "ence": ence,
    "sparsification": sparsification, "groups": groups,
}  # fmt: skip
