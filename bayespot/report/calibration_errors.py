"""Figures of errors beside uncertainties: each number, bins of them, and what sorting finds."""

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
    few_ticks,
    having,
    picture,
    style,
)
from bayespot.report.table import significant as sig


def scatter(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Size of the error against the predicted standard deviation."""
    factor, name = unit
    found = [(i, n, q["points"]) for i, n, q in entries if q.get("points")]
    found = [one for one in found if len(one[2]["sigma"])]
    ranks = {i: q["metrics"] for i, _, q in entries}
    if not found:
        return None

    def draw(axes: Any) -> None:
        sigmas = np.concatenate([p["sigma"] for _, _, p in found]) * factor
        ends = np.array([sigmas.min(), sigmas.max()]) * [0.8, 1.25]
        axes.plot(ends, ends, color=COLORS["soft"], lw=1)
        axes.plot(ends, 1.96 * ends, color=COLORS["soft"], lw=1, ls=":")
        for i, _, p in found:
            error = np.maximum(np.abs(p["error"]) * factor, 1e-12)
            axes.plot(np.asarray(p["sigma"]) * factor, error, style(i)[1], ms=2.6,
                      color=color(i)["color"], alpha=0.55, mew=0)  # fmt: skip
        errors = np.abs(np.concatenate([p["error"] for _, _, p in found])) * factor
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*ends)
        low = np.quantile(errors[errors > 0], 0.03) if (errors > 0).any() else ends[0]
        axes.set_ylim(bottom=min(low, ends[0] / 3), top=max(errors.max(), 1.96 * ends[1]) * 1.3)
        few_ticks(axes)
        axes.set_xlabel(f"predicted σ / {name}")
        axes.set_ylabel(f"|error| / {name}")

    def say(i: int, p: Any) -> str:
        out = np.mean(np.abs(p["error"]) > 1.96 * np.asarray(p["sigma"]))
        rank = ranks[i].get("spearman", {}).get("value")
        order = f"; rank correlation {sig(rank, 2)}" if rank is not None else ""
        return (
            f"of {len(p['sigma'])} points {100 * out:.0f} % lie above 1.96 σ, where 5 % are"
            f" expected{order}."
        )

    return picture(
        mark, "Error against σ",
        "Full line: error = σ; dotted: 1.96 σ, above which one point in twenty belongs.",
        f"Size of the error of {label} against its predicted standard deviation, both on"
        f" logarithmic axes. {each(found, say)}",
        draw,
    )  # fmt: skip


def ence(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Error against standard deviation in bins, with what chance makes of them."""
    factor, name = unit
    found = having(entries, "ence")
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
                      marker=style(i)[1], ms=4, lw=1, **color(i))  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        few_ticks(axes)
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

    return picture(
        mark, "Error in bins of σ",
        "On the line σ means what it says at every size. Band: mean deviation that chance allows.",
        f"Root mean square error of {label} in bins of predicted standard deviation, logarithmic"
        f" axes; the line is perfect. {each(found, say)}",
        draw,
    )  # fmt: skip


def sparsification(
    mark: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> Picture | None:
    """Error that is left when the most uncertain predictions are taken away."""
    del unit
    found = having(entries, "sparsification")
    if not found:
        return None

    def draw(axes: Any) -> None:
        for i, _, c in found:
            scale = c["random"][0] or 1.0
            axes.plot(c["fraction"], np.asarray(c["by_error"]) / scale, lw=1, ls=":",
                      color=color(i)["color"])  # fmt: skip
            axes.plot(c["fraction"], np.asarray(c["by_uncertainty"]) / scale, lw=1.8, **color(i))
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

    return picture(
        mark, "Sparsification",
        "Falls if σ finds the errors. Dotted: the best possible order; level line: a random one.",
        f"Error of {label} that is left when the most uncertain predictions are removed."
        f" {each(found, say)}",
        draw,
    )  # fmt: skip
