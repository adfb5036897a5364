"""Figures of a fit: losses and errors against updates, targets before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bayespot.files import write_atomically
from bayespot.report.figures import BAND, INK, REFERENCE, SOFT, own_style
from bayespot.units import GPA

Draw = Callable[[Any], None]

LOSSES = (
    ("loss", "training", INK, "-"),
    ("validation_loss", "validation", REFERENCE, "--"),
    ("label_loss", "labels", BAND, "-."),
)
"""Label, colour and line of each."""

ERRORS = {
    "energy_rmse": (1000.0, "energy (meV/atom)", INK, "-"),
    "forces_rmse": (1000.0, "forces (meV/Å)", REFERENCE, "--"),
    "stress_rmse": (1 / GPA, "stress (GPa)", BAND, "-."),
}
"""Factor, label, colour and line of each error."""


def write(folder: Path, history: dict[str, np.ndarray], report: dict[str, Any]) -> None:
    """``loss`` and, where curves were targets, ``targets``, as PNG and SVG."""
    _save(folder / "loss", loss_panels(history), (4.4, 3.2))
    curves = [_curve(row) for row in report.get("targets", ()) if "axis" in row]
    if curves:
        _save(folder / "targets", curves, (4.4, 3.2))


def _save(stem: Path, panels: list[Draw], size: tuple[float, float]) -> None:
    from matplotlib.figure import Figure

    with own_style(stem.name):
        figure = Figure(figsize=(size[0] * len(panels), size[1]), layout="constrained")
        each = figure.subplots(1, len(panels), squeeze=False)[0]
        for draw, axes in zip(panels, each, strict=True):
            draw(axes)
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):

            def put(path: Path, kind: str = kind, metadata: Any = metadata) -> None:
                figure.savefig(path, format=kind, metadata=metadata, dpi=150)

            write_atomically(stem.with_suffix(f".{kind}"), put)


def loss_panels(history: dict[str, np.ndarray]) -> list[Draw]:
    """For each trainer its losses, its errors, and how many of its replicas break."""
    trainers = dict.fromkeys(name.rpartition("/")[0] for name in history)
    made: list[Draw] = []
    for trainer in trainers:
        own = {
            name.rpartition("/")[2]: x
            for name, x in history.items()
            if name.rpartition("/")[0] == trainer and x.ndim == 2
        }
        title = trainer.replace("_", " ")
        losses = [
            (own[name], *more)
            for name, *more in LOSSES
            if name in own and (name == "loss" or np.isfinite(own[name]).any())
        ]
        made.append(_lines(title, "loss", losses))
        errors = [(f * own[n], *more) for n, (f, *more) in ERRORS.items() if n in own]
        if errors:
            made.append(_lines(title, "RMSE, validation frames", errors))
        if "unstable" in own:
            lines = [(own["unstable"], "unstable", INK, "-")]
            made.append(_lines(title, "fraction of replicas unstable", lines, log=False))
    return made


def _lines(title: str, label: str, lines: list[Any], log: bool = True) -> Draw:
    """(updates, members) each; members share a colour."""

    def draw(axes: Any) -> None:
        for values, name, color, style in lines:
            steps = np.arange(1, len(values) + 1)
            for member, y in enumerate(values.T):
                mark = "." if np.isfinite(y).sum() < 3 else None
                label_of = None if member else name
                alpha = 1.0 if len(values.T) == 1 else 0.6
                axes.plot(
                    steps, y, style, color=color, lw=1.2, alpha=alpha, marker=mark, label=label_of
                )
        found = np.concatenate([np.ravel(line[0]) for line in lines])
        if log and np.all(found[np.isfinite(found)] > 0):
            axes.set_yscale("log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("update")
        axes.set_ylabel(label)
        axes.set_title(title, fontsize=10)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=9)

    return draw


def _curve(row: dict[str, Any]) -> Draw:
    x = np.asarray(row["axis"])

    def draw(axes: Any) -> None:
        for name, color in (("before", SOFT), ("after", INK)):
            if row[name] is None:
                continue
            for member, y in enumerate(np.asarray(row[name][0])):
                axes.plot(x, y, color=color, lw=1.3, label=None if member else name)
        error = np.broadcast_to(row["error"], x.shape)
        target = np.asarray(row["target"])
        axes.plot(x, target, "--", color=REFERENCE, lw=1.2, label="target ± standard error")
        axes.fill_between(x, target - error, target + error, color=REFERENCE, alpha=0.15, lw=0)
        axes.set_xlabel(row["axis_label"])
        axes.set_ylabel(f"{row['title']} ({row['unit']})" if row["unit"] else row["title"])
        axes.set_title(f"{row['temperature']:g} K", fontsize=10)
        axes.legend(frameon=False, fontsize=9)

    return draw
