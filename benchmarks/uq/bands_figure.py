"""The figure of part ``bands``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED
from benchmarks.uq.bands import PAIRS

SHOWN = (BLUE, ORANGE, GREEN)


def draw(result: dict, out: Path) -> str:
    """Angles of the first set beside the truth, what broke, and pressures over temperature."""
    rows = {row["method"]: row for row in result["rows"]}
    members = result["members"]
    here, away = f"{result['trained']:g}", f"{result['temperatures'][0]:g}"
    methods = ("ensemble", f"{members} chains, τ = 0.01", "one chain, τ = 0.01")
    fig, axes = plt.subplots(2, 3, figsize=(9.4, 5.4))
    for row, t in zip(axes[:, :2].T, (here, away), strict=True):
        _curves(row[0], result, [rows[m] for m in methods], f"ADF {t}", np.rad2deg)
        row[0].set(xlabel="angle (°)", ylabel="density (1/rad)", title=f"angles at {t} K")
        _curves(row[1], result, [rows[m] for m in methods], f"g(r) {t}", lambda r: r)
        row[1].set(xlabel="r (Å)", ylabel="g(r)", title=f"g(r) at {t} K", xlim=(2, 5))
    axes[0, 0].legend(fontsize=6.5, loc="upper right")
    _broken(axes[0, 2], result)
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
        share = 100 * given["share"][0]
        ax.fill_between(axis, mean - 2 * sd, mean + 2 * sd, color=colour, alpha=0.3, lw=0)
        ax.plot(axis, mean, color=colour, lw=1, label=f"{row['method']}: {share:.0f} % held")
    ax.plot(axis, result["truth"][name], color=BLACK, lw=1.2, label="all atoms")


def _broken(ax, result: dict) -> None:  # type: ignore[no-untyped-def]
    """Share of trajectories that broke, of every posterior."""
    rows = [r for r in result["rows"] if "control" not in r["method"]][::-1]
    total = [len(r["unstable"]) * r["trajectories"] for r in rows]
    shares = [100 * sum(r["unstable"].values()) / n for r, n in zip(rows, total, strict=True)]
    ax.barh(range(len(rows)), shares, color=RED)
    for i, x in enumerate(shares):
        ax.text(x, i, f" {x:.0f}", va="center", fontsize=7)
    ax.set_yticks(range(len(rows)), [r["method"] for r in rows], fontsize=6)
    ax.set(xlabel="unstable trajectories (%)", xlim=(0, max(5.0, 1.15 * max(shares))))


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
    ax.set(xlabel="temperature (K)", ylabel="error of the pressure (MPa)")
    ax.set_title("pressure, matched where trained; two deviations")
    ax.legend(fontsize=6)
