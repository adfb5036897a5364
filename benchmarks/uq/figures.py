"""Figures of all parts."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.common import BLACK, BLUE, GREEN, GREY, LIGHT, ORANGE, PURPLE, RED, SKY, YELLOW
from benchmarks.uq.case import PLACES

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, RED, BLACK)


def coverage(case: dict, out: Path) -> str:
    """Shares of sets whose intervals hold the truth, of every method and observable."""
    rows, names = case["rows"][::-1], case["observables"]
    fig, axes = plt.subplots(
        1, len(names), figsize=(2.1 * len(names) + 2.2, 0.24 * len(rows) + 1.1), sharey=True
    )
    y = np.arange(len(rows))
    for ax, name in zip(axes, names, strict=True):
        for nominal in (0.68, 0.95):
            ax.axvline(nominal, color=GREY, ls="--", lw=1)
        for place, colour, shift in zip(PLACES, (BLUE, ORANGE), (0.15, -0.15), strict=True):
            for at, row in zip(y, rows, strict=True):
                if not row[place][name]["sets"]:
                    continue
                kelvin = f"{case['temperatures'][place]:.0f} K"
                for level, fill in (("95", colour), ("68", "white")):
                    mean, low, high = row[place][name][level]
                    ax.plot([low, high], [at + shift] * 2, color=colour, lw=1, alpha=0.6)
                    label = kelvin if at == 0 and level == "95" else ""
                    ax.plot(mean, at + shift, "o", ms=3.5, mec=colour, mfc=fill, label=label)
        ax.set(title=name, xlim=(0, 1.02), xlabel="truth in 95 % (68 %: hollow)")
        ax.grid(axis="y", color=LIGHT, lw=0.5)
    axes[0].set_yticks(y, [row["method"] for row in rows])
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncol=2)
    name = f"uq_coverage_{case['name']}.png"
    fig.savefig(out / name)
    plt.close(fig)
    return name


def dft(result: dict, out: Path, name: str) -> list[str]:
    """Errors and stated uncertainties, in distribution and out of it, of each method."""
    cases = result["cases"]
    fig, axes = plt.subplots(1, len(cases), figsize=(3.8 * len(cases), 3.4), squeeze=False)
    for ax, case in zip(axes[0], cases, strict=True):
        ends = []
        for colour, (method, given) in zip(COLOURS, case["methods"].items(), strict=False):
            for marker, outside in zip("sD", case["outside"], strict=False):
                forces = next(
                    row["forces"]
                    for row in given["rows"]
                    if row["method"] == method and row["outside"] == outside
                )
                points = [
                    (1e3 * forces[d]["sharpness"]["value"], 1e3 * forces[d]["rmse"]["value"])
                    for d in ("in", "out")
                ]
                x, y = zip(*points, strict=True)
                first = marker == "s"
                ax.plot(x, y, "-", color=colour, lw=1)
                ax.plot(x[0], y[0], "o", color=colour, ms=4, label=method if first else "")
                ax.plot(x[1], y[1], marker, color=colour, ms=5)
                ends += [*x, *y]
        span = (0.8 * min(ends), 1.25 * max(ends))
        ax.plot(span, span, "--", color=GREY, lw=1)
        ax.set(xscale="log", yscale="log", xlim=span, ylim=span)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        ax.set(xlabel="stated uncertainty of forces (meV/Å)", ylabel="RMSE of forces (meV/Å)")
        signs = zip(("squares", "diamonds"), case["outside"], strict=False)
        told = "; ".join(f"{sign}: {outside}" for sign, outside in signs)
        ax.set_title(f"{case['name']}\n{told}", loc="left", fontsize=8)
        ax.legend(loc="lower right")
    fig.savefig(out / f"{name}.png")
    plt.close(fig)
    return [f"{name}.png"]


def route(result: dict, out: Path) -> list[str]:
    """Seconds of each stage, ours and the peer's."""
    rows = [(name, row) for name, row in result["routes"].items() if "failed" not in row]
    fig, ax = plt.subplots(figsize=(6.5, 0.5 * len(rows) + 1.2))
    stages = max((list(row["stages"]) for _, row in rows), key=len)  # who has them all, in order
    for at, (_, row) in enumerate(rows):
        left = 0.0
        for colour, stage in zip(COLOURS, stages, strict=False):
            width = row["stages"].get(stage, {}).get("seconds", 0.0)
            ax.barh(at, width, left=left, color=colour, label=stage if at == 0 else "")
            left += width
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.set(xlabel="seconds from files to the report")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncol=len(stages))
    fig.savefig(out / "uq_route.png")
    plt.close(fig)
    return ["uq_route.png"]
