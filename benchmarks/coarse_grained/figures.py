"""Loss and curves of a row, with the paper's own where there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.coarse_grained.water import DATA
from benchmarks.common import BLACK, BLUE, GREEN, ORANGE

LABELS = {"rdf": ("r / Å", "RDF"), "adf": ("angle / rad", "ADF / 1/rad"), "tcf": ("r / Å", "TCF")}


def draw(row: dict, out: Path) -> str:
    """One figure; its name."""
    judged = row["judged"]
    names = [n for n in LABELS if n in next(iter(judged.values()))]
    figure, axes = plt.subplots(1, 1 + len(names), figsize=(3.4 * (1 + len(names)), 2.9))
    _loss(axes[0], row)
    for axis, name in zip(axes[1:], names, strict=True):
        for colour, (label, at) in zip((BLUE, ORANGE), judged.items(), strict=True):
            axis.plot(at[f"{name}_axis"], np.asarray(at[name], float), color=colour, label=label)
        known = next(iter(judged.values()))
        axis.plot(
            known[f"{name}_axis"], known[f"{name}_known"], ":", color=BLACK, label="reference"
        )
        if row["row"] == "experiment":
            _paper(axis, name)
        axis.set(xlabel=LABELS[name][0], ylabel=LABELS[name][1])
    axes[1].legend()
    name = f"coarse_grained_{row['row'].split('/')[0].lower()}.png"
    figure.savefig(out / name)
    plt.close(figure)
    return name


def _loss(axis: Any, row: dict) -> None:
    loss = np.asarray(row["training"]["history"]["loss"], float)[:, 0]
    axis.plot(np.arange(len(loss)) + 1, loss, ".-", color=ORANGE, markersize=3, label="ours")
    axis.set(xlabel="update", ylabel="loss")
    if row["row"] == "experiment":
        theirs = np.loadtxt(
            DATA / "difftre_paper_curves" / "CG_water_loss_seconds.csv", delimiter=",", skiprows=1
        )
        axis.plot(np.arange(len(theirs)) + 1, theirs[:, 0], color=GREEN, label="DimeNet++ (paper)")
        axis.set(yscale="log")
        axis.legend()
    else:
        axis.set(ylabel="relative entropy, up to a constant")


def _paper(axis: Any, name: str) -> None:
    path = DATA / "difftre_paper_curves" / f"CG_water_final_{name}.csv"
    values = np.loadtxt(path)
    top = {"rdf": 10.0, "adf": np.pi}[name]
    where = (np.arange(len(values)) + 0.5) * top / len(values)
    inside = where < 8.4 if name == "rdf" else where < 4
    axis.plot(where[inside], values[inside], color=GREEN, linewidth=0.9, label="paper")
