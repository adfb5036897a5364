"""Free-energy surfaces side by side, and what training of each kind left of the error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.common import BLUE, GREEN, GREY, ORANGE

HIGHEST = 7.0  # kT
COLOURS = {"prior": GREY, "FM": BLUE, "RE": ORANGE, "FM+RE": GREEN}


def draw(made: dict, out: Path) -> str:
    """One figure; its name."""
    rows = {r["name"]: r for r in made["rows"]}
    maps = {
        "atoms (OpenMM)": np.asarray(made["reference"]["density"]),
        **{name: np.asarray(r["density"], float) for name, r in rows.items()},
    }
    figure, axes = plt.subplots(2, 5, figsize=(14.5, 5.6), width_ratios=[1, 1, 1, 1, 1.1])
    places = [(0, 0), (1, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    shown: Any = None
    for place, (name, counts) in zip(places, maps.items(), strict=True):
        axis = axes[place]
        with np.errstate(divide="ignore"):
            energy = -np.log(counts / counts.max())
        shown = axis.imshow(
            np.ma.masked_invalid(np.where(energy > HIGHEST, np.nan, energy)).T, origin="lower",
            extent=(-180, 180, -180, 180), vmin=0, vmax=HIGHEST, cmap="viridis",
        )  # fmt: skip
        axis.set(title=name, xticks=(-180, 0, 180), yticks=(-180, 0, 180), xlabel="φ / °")
        if place[1] == 0:
            axis.set(ylabel="ψ / °")
    figure.colorbar(shown, ax=axes[:, 3], label="F / kT", shrink=0.8)
    _errors(axes[0, 4], made, rows)
    _psi(axes[1, 4], maps)
    name = "alanine.png"
    figure.savefig(out / name)
    plt.close(figure)
    return name


def _errors(axis: Axes, made: dict, rows: dict) -> None:
    """MSE of the density, by kind and share of the data."""
    kinds = ("FM", "RE", "FM+RE")
    for n, share in enumerate(("all", "1/10")):
        for m, kind in enumerate(kinds):
            at = rows[f"{kind}, {share}"]
            axis.bar(
                4 * n + m, 1e3 * at["mse"], yerr=1e3 * at["mse_error"], color=COLOURS[kind],
                label=kind if n == 0 else None,
            )  # fmt: skip
    floors = list(made["floors"].values())
    for n, at in enumerate((floors[1], floors[2])):
        axis.hlines(1e3 * at["mse"], 4 * n - 0.5, 4 * n + 2.5, color=GREY, linestyle=":")
    axis.plot([], [], ":", color=GREY, label="its own frames")
    axis.set(
        xticks=(1, 5), xticklabels=("all frames", "a tenth"), ylabel="MSE of density / 1e-3 rad⁻⁴"
    )
    axis.legend()


def _psi(axis: Axes, maps: dict[str, np.ndarray]) -> None:
    centres = -180 + (np.arange(60) + 0.5) * 6
    for name, counts in maps.items():
        density = counts.sum(axis=0) / counts.sum() / 6
        kind = name.split(",")[0]
        if name.startswith("atoms"):
            axis.plot(centres, density, color="black", label="atoms", zorder=5)
        elif name.endswith("all") or name == "prior":
            axis.plot(centres, density, color=COLOURS[kind], label=kind, linewidth=1)
    axis.set(xlabel="ψ / °", ylabel="density / 1/°", xticks=(-180, 0, 180))
    axis.legend()
