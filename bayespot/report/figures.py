"""Figures as inline SVG, drawn with matplotlib's object interface (no global state)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

INK, BAND, SOFT, REFERENCE = "#1d3557", "#457b9d", "#a8c5d8", "#c1121f"


def _svg(draw: Callable[[Any], None], size: tuple[float, float], alt: str) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # no date, fixed ids: equal numbers give an equal page
    settings: Any = {"svg.hashsalt": alt, "svg.fonttype": "none", "font.family": "sans-serif",
                "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}  # fmt: skip
    with mpl.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # ids are per figure; several figures share one page
    mark = re.sub(r"\W", "", alt)[:24]
    text = re.sub(r'id="([^"]+)"', rf'id="{mark}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{mark}-", text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'class="figure"', text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)


def curve(observable: dict[str, Any]) -> str:
    """Mean and bands of a curve over its reference."""
    x = np.asarray(observable["axis"])
    get = {k: np.asarray(v) for k, v in observable.items() if isinstance(v, list)}

    def draw(axes: Any) -> None:
        axes.fill_between(x, np.maximum(get["low95"], 0), get["high95"], color=SOFT, lw=0,
                          label="95 %")  # fmt: skip
        axes.fill_between(x, np.maximum(get["low68"], 0), get["high68"], color=BAND, lw=0,
                          alpha=0.6, label="68 %")  # fmt: skip
        axes.plot(x, get["mean"], color=INK, lw=1.2, label="mean of draws")
        if "reference" in get:
            axes.plot(x, get["reference"], color=REFERENCE, lw=1.1, ls="--", label="reference")
        axes.set_xlabel(observable["axis_label"])
        axes.set_ylabel(f"density ({observable['unit']})")
        axes.set_xlim(x[0], x[-1])
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=9)

    return _svg(
        draw, (5.6, 3.0), f"{observable['title']}: mean, 68 and 95 percent bands, reference"
    )


def number(observable: dict[str, Any]) -> str:
    """Mean and intervals of a number as a bar, with its reference."""

    def draw(axes: Any) -> None:
        axes.plot([observable["low95"], observable["high95"]], [0, 0], color=SOFT, lw=12,
                  solid_capstyle="butt", label="95 %")  # fmt: skip
        axes.plot([observable["low68"], observable["high68"]], [0, 0], color=BAND, lw=12,
                  solid_capstyle="butt", label="68 %")  # fmt: skip
        axes.plot(observable["mean"], 0, "|", color=INK, ms=22, mew=2, label="mean of draws")
        if "reference" in observable:
            axes.errorbar(observable["reference"], 0, xerr=observable["reference_error"],
                          color=REFERENCE, marker="D", ms=6, capsize=4,
                          label="reference ± standard error")  # fmt: skip
        axes.set_xlabel(observable["unit"])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.margins(x=0.15)
        axes.set_ylim(-0.4, 1.2)
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")

    return _svg(draw, (5.6, 1.8), f"{observable['title']}: mean, intervals and reference")


def reliability(calibration: dict[str, Any]) -> str:
    """Observed against nominal coverage of energies and forces."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color="#888888", lw=1, ls=":", label="perfect")
        for (name, c), style in zip(calibration.items(), ("-", "--"), strict=False):
            points = np.array([(0, 0), *c["reliability"], (1, 1)])
            color = INK if style == "-" else REFERENCE
            axes.plot(*points.T, style, color=color, lw=1.6, label=name)
        axes.set_xlabel("nominal coverage of the interval")
        axes.set_ylabel("observed coverage")
        axes.set_aspect("equal")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.legend(frameon=False, fontsize=9, loc="upper left")

    return _svg(draw, (4.2, 4.0), "reliability curve of energies and forces")
