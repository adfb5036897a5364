"""Figures as inline SVG, drawn with matplotlib's object interface (no global state)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

INK, BAND, SOFT, REFERENCE = "#1d3557", "#457b9d", "#a8c5d8", "#c1121f"


STRETCHED = "95 %, recalibrated"
"""Of intervals whose parameter part a recalibration stretched."""

POWERS = (-3, 5)
"""Of ten, between which ticks have no exponent."""

ABOVE: Any = {"frameon": False, "fontsize": 9, "ncols": 4, "loc": "lower center",
              "bbox_to_anchor": (0.5, 1.0)}  # fmt: skip
"""A legend that hides nothing."""


def own_style(salt: str, more: dict[str, Any] | None = None) -> Any:
    """A context of matplotlib with its own defaults, whatever the caller's are, and fixed ids:
    equal numbers give an equal page."""
    import matplotlib.style

    return matplotlib.style.context(["default", {**settings(salt), **(more or {})}])


def settings(salt: str) -> Any:
    """Of matplotlib: what all figures have in common."""
    return {"svg.hashsalt": salt, "svg.fonttype": "none", "font.family": "sans-serif",
            "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}  # fmt: skip


def svg(
    draw: Callable[[Any], None],
    size: tuple[float, float],
    alt: str,
    mark: str,
    panels: int = 1,
    more: dict[str, Any] | None = None,
) -> str:
    """Draw one figure as inline SVG.

    Args:
        draw: onto matplotlib's axes, or an array of them where there are several panels.
        size: width and height, inches.
        alt: what it shows, as it may stand in an attribute of HTML.
        mark: unique on the page; in front of all ids.
        panels: side by side.
        more: settings of matplotlib besides the common ones.
    """
    from matplotlib.figure import Figure

    with own_style(alt, more):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, panels)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # ids are per figure; several figures share one page
    text = re.sub(r'id="([^"]+)"', rf'id="{mark}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{mark}-", text)
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'class="figure"', text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)


def picture(name: str, observable: dict[str, Any]) -> str:
    """Of whatever shape an observable has; ``name`` is unique on the page."""
    if "axis" not in observable:
        return number(name, observable)
    if "components" in observable:
        return components(name, observable)
    flat = np.ndim(observable["mean"]) == 1
    return curve(name, observable) if flat else surface(name, observable)


def _arrays(observable: dict[str, Any]) -> dict[str, np.ndarray]:
    names = ("mean", "low68", "high68", "low95", "high95", "reference", "reference_error")
    return {k: np.asarray(observable[k], float) for k in names if k in observable}


def _recalibrated(observable: dict[str, Any]) -> dict[str, np.ndarray]:
    """Ends of the 95 % interval with the parameter part stretched, if that was done."""
    made = observable.get("recalibrated", {})
    return {k: np.asarray(made[k], float) for k in ("low95", "high95") if k in made}


def curve(name: str, observable: dict[str, Any]) -> str:
    """Mean and bands of a curve over its reference."""
    x, get = np.asarray(observable["axis"]), _arrays(observable)
    # a quantity that is nowhere negative is none that can be
    shown = np.concatenate([get["mean"], get.get("reference", get["mean"])])
    low = 0.0 if np.nanmin(shown, initial=0.0) >= 0 else -np.inf

    def draw(axes: Any) -> None:
        axes.fill_between(x, np.maximum(get["low95"], low), get["high95"], color=SOFT, lw=0,
                          label="95 %")  # fmt: skip
        axes.fill_between(x, np.maximum(get["low68"], low), get["high68"], color=BAND, lw=0,
                          alpha=0.6, label="68 %")  # fmt: skip
        axes.plot(x, get["mean"], color=INK, lw=1.2, label="mean of draws")
        for end, values in _recalibrated(observable).items():
            axes.plot(x, np.maximum(values, low), color=INK, lw=0.8, ls=":",
                      label=STRETCHED if end == "low95" else None)  # fmt: skip
        if "reference" in get:
            axes.plot(x, get["reference"], color=REFERENCE, lw=1.1, ls="--", label="reference")
        axes.set_xlabel(observable["axis_label"])
        axes.set_ylabel(observable["unit"])
        axes.set_xlim(x[0], x[-1])
        if low == 0.0:
            axes.set_ylim(bottom=0)
        else:
            axes.axhline(0, color="#888888", lw=0.6, zorder=0)
        axes.ticklabel_format(axis="y", scilimits=POWERS)
        axes.legend(**ABOVE)

    alt = f"{observable['title']}: mean, 68 and 95 percent bands, reference"
    return svg(draw, (5.6, 3.0), alt, name)


def surface(name: str, observable: dict[str, Any]) -> str:
    """Mean over two coordinates, half the width of its 95 percent interval, and the reference."""
    x, get = np.asarray(observable["axis"]), _arrays(observable)
    half = (x[1] - x[0]) / 2 if len(x) > 1 else 0.5
    extent = (x[0] - half, x[-1] + half) * 2
    panels = {"mean": get["mean"], "95 % ±": (get["high95"] - get["low95"]) / 2}
    if "reference" in get:
        panels["reference"] = get["reference"]
    top = max(np.nanmax(panels[k], initial=0.0) for k in panels if k != "95 % ±")

    def draw(all_axes: Any) -> None:
        for axes, (what, values) in zip(all_axes, panels.items(), strict=True):
            # the first coordinate runs to the right
            made = axes.imshow(values.T, origin="lower", extent=extent, interpolation="none",
                               cmap="Blues" if what == "95 % ±" else "viridis", vmin=0,
                               vmax=None if what == "95 % ±" else top)  # fmt: skip
            axes.set_title(what, fontsize=10)
            axes.set_xlabel(f"first {observable['axis_label']}")
            for set_ticks in (axes.set_xticks, axes.set_yticks):
                set_ticks(np.linspace(extent[0], extent[1], 5))
            bar = axes.figure.colorbar(made, ax=axes, shrink=0.8, label=observable["unit"])
            bar.formatter.set_powerlimits(POWERS)
        all_axes[0].set_ylabel(f"second {observable['axis_label']}")

    alt = f"{observable['title']}: mean, half of the 95 percent interval, reference"
    return svg(draw, (3.4 * len(panels), 3.0), alt, name, len(panels))


def components(name: str, observable: dict[str, Any]) -> str:
    """Mean and intervals of several named numbers, with their references."""
    get, names = _arrays(observable), observable["components"]
    x = np.arange(len(names))

    def draw(axes: Any) -> None:
        axes.axhline(0, color="#888888", lw=0.6, zorder=0)
        wide = min(12.0, 150 / len(names))
        axes.vlines(x, get["low95"], get["high95"], color=SOFT, lw=wide, label="95 %")
        axes.vlines(x, get["low68"], get["high68"], color=BAND, lw=wide, label="68 %")
        axes.plot(x, get["mean"], "_", color=INK, ms=1.5 * wide, mew=2, label="mean of draws")
        if wider := _recalibrated(observable):
            axes.vlines(x, *wider.values(), color=INK, lw=1, ls=":", label=STRETCHED)
        if "reference" in get:
            axes.errorbar(x, get["reference"], get["reference_error"], color=REFERENCE, ls="",
                          marker="D", ms=4, capsize=3, label="reference")  # fmt: skip
        axes.set_xticks(x, names, rotation=90 if len(names) > 9 else 0)
        axes.set_ylabel(observable["unit"])
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.legend(**ABOVE)

    alt = f"{observable['title']}: mean, 68 and 95 percent intervals, reference"
    return svg(draw, (5.6, 3.0), alt, name)


def number(name: str, observable: dict[str, Any]) -> str:
    """Mean and intervals of a number as a bar, with its reference."""

    def draw(axes: Any) -> None:
        axes.plot([observable["low95"], observable["high95"]], [0, 0], color=SOFT, lw=12,
                  solid_capstyle="butt", label="95 %")  # fmt: skip
        axes.plot([observable["low68"], observable["high68"]], [0, 0], color=BAND, lw=12,
                  solid_capstyle="butt", label="68 %")  # fmt: skip
        axes.plot(observable["mean"], 0, "|", color=INK, ms=22, mew=2, label="mean of draws")
        if wider := _recalibrated(observable):
            axes.plot(list(wider.values()), [-0.2, -0.2], "|:", color=INK, ms=6, lw=1,
                      label=STRETCHED)  # fmt: skip
        if "reference" in observable:
            axes.errorbar(observable["reference"], 0, xerr=observable["reference_error"],
                          color=REFERENCE, marker="D", ms=6, capsize=4,
                          label="reference ± standard error")  # fmt: skip
        axes.set_xlabel(observable["unit"] or observable["title"])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.margins(x=0.15)
        axes.set_ylim(-0.4, 1.2)
        axes.legend(frameon=False, fontsize=9, ncols=2, loc="upper center", markerscale=0.5)

    alt = f"{observable['title']}: mean, intervals and reference"
    return svg(draw, (5.6, 1.8), alt, name)


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

    return svg(draw, (4.2, 4.0), "reliability curve of energies and forces", "reliability")
