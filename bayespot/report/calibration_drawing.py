"""What the figures of a calibration page share: the page's own colours, and meaning in words.

Colours are CSS variables of the page, so that one figure serves light, dark and print.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bayespot.report.figures import svg

# what stands in the SVG for a variable of the page's style sheet
COLORS = {"ink": "#0a0b01", "soft": "#0a0b02", "line": "#0a0b03", "band": "#0a0b04"}
METHODS = tuple(f"#0a0b1{i}" for i in range(6))
STYLES: tuple[tuple[Any, str], ...] = (
    ("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"), ((0, (5, 1)), "v"), ((0, (3, 1, 1, 1)), "P"),
)  # fmt: skip
SIZE = (3.3, 2.55)

Entry = tuple[int, str, dict[str, Any]]
"""Place of a method on the page, its name, and its entry of the quantity."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure and its words.

    Attributes:
        kind: "reliability", "pit", "scatter", "ence", "sparsification" or "groups".
        title: what it is.
        caption: how to read it.
        svg: inline SVG, with a text alternative that says what it shows.
    """

    kind: str
    title: str
    caption: str
    svg: str


def picture(
    mark: str,
    title: str,
    caption: str,
    alt: str,
    draw: Callable[[Any], None],
    left: float = 0.21,
) -> Picture:
    """Draw one.

    Args:
        mark: kind and quantity, unique on the page.
        title: what it is.
        caption: how to read it.
        alt: what it shows, in words and numbers.
        draw: onto matplotlib's axes.
        left: room for the labels of the vertical axis, as a fraction of the width.
    """
    ink, soft = COLORS["ink"], COLORS["soft"]
    colors: Any = {"text.color": ink, "axes.labelcolor": ink, "axes.edgecolor": soft,
              "xtick.color": soft, "ytick.color": soft, "xtick.labelcolor": ink,
              "ytick.labelcolor": ink}  # fmt: skip

    def placed(axes: Any) -> None:
        draw(axes)
        # the room that words take is known: to search for it would take most of the time
        axes.figure.set_layout_engine("none")
        axes.set_position((left, 0.19, 0.945 - left, 0.78))

    text = svg(placed, SIZE, html.escape(alt), mark, more=colors)
    for name, code in COLORS.items():
        text = text.replace(code, f"var(--{name})")
    for i, code in enumerate(METHODS):
        text = text.replace(code, f"var(--method{i})")
    # no part of a picture is a stop of the keyboard or a word of its own
    text = text.replace("<svg", '<svg focusable="false"', 1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return Picture(mark.split("-")[0], title, caption, text)


def having(entries: Sequence[Entry], curve: str) -> list[tuple[int, str, Any]]:
    """Place, name and curve of the methods that have it."""
    found = [(i, name, q.get("curves", {}).get(curve)) for i, name, q in entries]
    return [one for one in found if one[2]]


def each(entries: Sequence[tuple[int, str, Any]], say: Callable[[int, Any], str]) -> str:
    """One sentence a method, named where there are several."""
    several = len(entries) > 1
    return " ".join((f"{name}: " if several else "") + say(i, x) for i, name, x in entries)


def style(i: int) -> tuple[Any, str]:
    """Line and marker: with the seventh method colours come again, in another style."""
    return STYLES[(i + i // len(METHODS)) % len(STYLES)]


def color(i: int) -> dict[str, Any]:
    """Colour and line of the method in place ``i``."""
    return {"color": METHODS[i % len(METHODS)], "ls": style(i)[0]}


def few_ticks(axes: Any) -> None:
    """On logarithmic axes two to five round numbers, whose labels do not touch."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for steps in ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            ticks = np.outer(powers, steps).ravel()
            ticks = ticks[(ticks >= low) & (ticks <= high)]
            if len(ticks) <= 4:
                break
        ticks = ticks[:: max(1, len(ticks) // 4)]
        axis.set_ticks(ticks, [f"{x:g}" for x in ticks])
        axis.set_ticks([], minor=True)
