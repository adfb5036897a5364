"""Survival of the replicas, the phases of training, and the curves that were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import BLACK, BLUE, GREY, LIGHT, ORANGE

COLOURS = (BLUE, ORANGE, GREY)  # of the models, in their order


def draw(row: dict, out: Path) -> str:
    """One figure for a case; its name."""
    judged = row["judged"]
    figure, axes = plt.subplots(1, 2 + len(judged), figsize=(3.4 * (2 + len(judged)), 3.0))
    for axis, at in zip(axes, judged, strict=False):
        _survival(axis, row, at)
    _phases(axes[-2], row["models"])
    _curves(axes[-1], row)
    name = f"stable_{row['case']}.png"
    figure.savefig(out / name)
    plt.close(figure)
    return name


def _survival(axis: Any, row: dict, judged: dict) -> None:
    horizon = judged["horizon_ps"]
    for colour, name in zip(COLOURS, row["models"], strict=False):
        times = [np.inf if t is None else t for t in np.asarray(judged[name]["time_ps"], object)]
        times = np.sort(np.array(times, float))
        times = np.where(np.isnan(times), np.inf, times)
        steps = np.concatenate([[0.0], np.sort(times[np.isfinite(times)]), [horizon]])
        lost = np.concatenate([np.arange(len(steps) - 1), [len(steps) - 2]]) / len(times)
        axis.step(steps, lost, where="post", color=colour, label=name)
    axis.set(xlabel="time / ps", ylabel="fraction of replicas unstable", ylim=(-0.03, 1.03))
    axis.set_title(f"{row['case']}, {judged['temperature']:.0f} K")
    axis.legend(loc="best")


def _phases(axis: Any, models: dict) -> None:
    """Unstable replicas while StABlE runs; shaded where it learns."""
    history = next(m["history"] for m in models.values() if "phase" in m.get("history", {}))
    phase, unstable = (np.asarray(history[k], float)[:, 0] for k in ("phase", "unstable"))
    updates = np.arange(1, len(phase) + 1)
    axis.bar(updates[phase == 1], 1.0, width=1.0, color=LIGHT, label="learning")
    axis.plot(updates, unstable, ".-", color=ORANGE, markersize=3)
    axis.set(xlabel="update of StABlE", ylabel="fraction of replicas unstable", ylim=(0, 1))
    axis.legend(loc="upper right")


def _curves(axis: Any, row: dict) -> None:
    radius, judged = np.asarray(row["axis"]), row["judged"][0]
    if isinstance(row["reference"], dict):
        for shift, (pair, known) in enumerate(row["reference"].items()):
            axis.plot(radius, np.asarray(known) + 3 * shift, color=BLACK)
            axis.text(radius[-1], 3 * shift + 1.3, pair, ha="right")
            for colour, name in zip(COLOURS, row["models"], strict=False):
                curve = np.asarray(judged[name]["rdf"][pair], float)
                axis.plot(radius, curve + 3 * shift, color=colour, linewidth=0.9)
        axis.set(xlabel="r / Å", ylabel="g(r), shifted by 3", ylim=(0, 10))
        return
    axis.plot(radius, row["reference"], color=BLACK, label="AIMD")
    for colour, name in zip(COLOURS, row["models"], strict=False):
        axis.plot(radius, np.asarray(judged[name]["h"], float), color=colour, linewidth=0.9)
    axis.set(xlabel="r / Å", ylabel="h(r) / 1/Å", xlim=(0.6, 8))
    axis.legend()
