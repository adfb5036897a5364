"""The figure of part ``bands``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import BLACK, BLUE, GREEN, ORANGE, PURPLE
from benchmarks.uq.bands import PAIRS

SHOWN = (BLUE, ORANGE, GREEN)


def draw(result: dict, out: Path) -> str:
    """Curves of the first set beside the truth, shares of bins held, pressures over temperature."""
    rows = {row["method"]: row for row in result["rows"]}
    members = result["members"]
    here, away = f"{result['trained']:g}", f"{result['temperatures'][0]:g}"
    methods = ("ensemble", f"{members} chains, τ = 1", "one chain, τ = 1")
    fig, axes = plt.subplots(2, 3, figsize=(10.6, 5.6), width_ratios=(1, 1, 1.25))
    for row, t in zip(axes[:, :2].T, (here, away), strict=True):
        _curves(row[0], result, [rows[m] for m in methods], f"g(r) {t}", lambda r: r)
        row[0].set(xlabel="r (Å)", ylabel="g(r)", title=f"g(r) at {t} K", xlim=(2, 5))
        _curves(row[1], result, [rows[m] for m in methods], f"ADF {t}", np.rad2deg)
        row[1].set(xlabel="angle (°)", ylabel="density (1/rad)", title=f"angles at {t} K")
    axes[0, 0].legend(fontsize=6.5, loc="upper right", title="band: two deviations",
                      title_fontsize=6.5)  # fmt: skip
    _held(axes[0, 2], result, here, away)
    _pressures(axes[1, 2], result, rows)
    fig.savefig(out / "uq_bands.png")
    plt.close(fig)
    return "uq_bands.png"


def _curves(ax, result: dict, rows: list[dict], name: str, to) -> None:  # type: ignore[no-untyped-def]
    axis = to(np.asarray(result["axes"][name.split()[0]]))
    for colour, row in zip(SHOWN, rows, strict=True):
        given = row["curves"][name]
        if given["mean"] is None:
            continue
        mean, sd = (np.asarray(given[k], float) for k in ("mean", "sd"))
        ax.fill_between(axis, mean - 2 * sd, mean + 2 * sd, color=colour, alpha=0.3, lw=0)
        ax.plot(axis, mean, color=colour, lw=1, label=row["method"])
    ax.plot(axis, result["truth"][name], color=BLACK, lw=1.2, label="all atoms")


def _held(ax, result: dict, here: str, away: str) -> None:  # type: ignore[no-untyped-def]
    """Shares of the bins of g(r) in the bands of every posterior, and how many runs broke."""
    rows = [r for r in result["rows"] if "two temperatures" not in r["method"]][::-1]
    for t, colour, shift in ((here, BLUE, 0.12), (away, ORANGE, -0.12)):
        shares = np.array([r["curves"][f"g(r) {t}"]["share"] for r in rows])
        for i, (mean, low, high) in enumerate(100 * shares):
            ax.plot([low, high], [i + shift] * 2, color=colour, lw=1)
            ax.plot(mean, i + shift, "o", color=colour, ms=3.5, label=f"{t} K" if i == 0 else None)
    ax.axvline(95, color=BLACK, lw=0.8, ls=":")
    ax.set_yticks(range(len(rows)), [_short(r["method"]) for r in rows], fontsize=6.5)
    ax.set(xlabel="bins of g(r) in two deviations (%)", xlim=(0, 102))
    broken = sum(sum(r["unstable"].values()) for r in result["rows"])
    runs = sum(len(r["unstable"]) * r["trajectories"] for r in result["rows"])
    ax.set_title(f"held by the bands ({broken} of {runs} runs broke)")
    ax.legend(fontsize=6.5, loc="center right", bbox_to_anchor=(0.94, 0.5))


def _short(method: str) -> str:
    return method.replace("control: one model, only MD noise", "control: MD noise").replace(
        ", one temperature", ""
    )


def _pressures(ax, result: dict, rows: dict[str, dict]) -> None:  # type: ignore[no-untyped-def]
    """Errors of matched pressures: with and without the embedding."""
    kelvin = np.asarray(result["temperatures"])
    styles = ((BLUE, "-"), (ORANGE, "-"), (GREEN, "--"), (PURPLE, "--"))
    shifts = (-3, -1, 1, 3)  # side by side
    for name, (colour, style), shift in zip(PAIRS.values(), styles, shifts, strict=True):
        given = [rows[name]["pressure"]["matched"][f"{t:g}"] for t in kelvin]
        if given[0]["error"] is None:
            continue
        mean = [1e3 * g["error"] for g in given]
        reach = [2e3 * g["sd"] for g in given]
        ax.errorbar(kelvin + shift, mean, reach, color=colour, ls=style, marker="o", ms=3, lw=1,
                    label=name)  # fmt: skip
    ax.axhline(0, color=BLACK, lw=0.8)
    noise = [1e3 * result["truth"][f"pressure {t:g} error"] for t in kelvin]
    ax.fill_between(kelvin, [-2 * x for x in noise], [2 * x for x in noise], color="0.85", lw=0)
    ax.set(xlabel="temperature (K)", ylabel="error, two deviations (MPa)")
    ax.set_title("pressure, matched where trained")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.45 * (high - low))  # room for the legend
    ax.legend(fontsize=6, loc="upper right")
