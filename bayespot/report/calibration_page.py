"""The calibration page: one HTML file, its JSON and its Markdown, all of one assessment.

The JSON obeys ``calibration.schema.json`` beside this file (``schema()``); the page is a view of it
and of nothing else.
"""

from __future__ import annotations

import json
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from bayespot import files
from bayespot.report import calibration_figures as figures
from bayespot.report import calibration_text as text
from bayespot.report.templates import page

ICONS = {"trust": "✓", "stretch": "↔", "do_not_trust": "✕", "unknown": "?"}
DASHES = ("none", "6 3", "8 3 2 3", "2 2", "9 2", "5 2 1 2")
MARKS = ("M16 1a4 4 0 1 0 .01 0z", "M12 1h8v8h-8z", "M16 1l4 8h-8z", "M16 0l5 5l-5 5l-5 -5z",
         "M12 1h8l-4 8z", "M14.5 1h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z")  # fmt: skip
"""Of the lines and points of each method: see ``calibration_drawing.STYLES``."""
PRINTED = 2
"""Quantities whose figures are printed; more would not fit on two sheets."""


def write(folder: Path, assessment: dict[str, Any]) -> None:
    """Write ``calibration.json``, ``.md`` and ``.html``; equal assessments give equal bytes.

    Args:
        folder: made if it is not there.
        assessment: what ``bayespot.assessment`` makes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "calibration.json", assessment, indent=1)
    files.write_text(folder / "calibration.md", text.markdown(assessment))
    files.write_text(folder / "calibration.html", render(assessment))


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``calibration.json``."""
    path = resources("bayespot.report").joinpath("calibration.schema.json")
    return json.loads(path.read_text(encoding="utf-8"))


def render(assessment: dict[str, Any]) -> str:
    """The page as text."""
    filters = {
        "headline": text.headline,
        "method_headline": text.method_headline,
        "number": text.number,
        "interval": text.interval,
        "recalibration": text.recalibration,
    }
    wanted = text.names(assessment)
    # forces, then energies: most numbers first
    first = [n for n in ("forces", "energy") if n in wanted]
    wanted = first + [n for n in wanted if n not in first]
    return page(
        "calibration.html",
        filters,
        a=assessment,
        methods=list(enumerate(assessment["methods"])),
        overview=[m for m in text.OVERVIEW if m in assessment["reading"]],
        quantities=[_quantity(assessment, n, i < PRINTED) for i, n in enumerate(wanted)],
        icons=ICONS,
        dashes=DASHES,
        marks=MARKS,
    )


def _quantity(assessment: dict[str, Any], name: str, printed: bool) -> dict[str, Any]:
    """What the template shows of one quantity."""
    found = text.entries(assessment, name)
    factor, unit = text.shown_unit(assessment, name)
    label = found[0][2]["label"]
    kinds = dict.fromkeys(kind for _, _, q in found for kind in q.get("groups", {}))
    return {
        "name": name,
        "label": label,
        "unit": unit,
        "factor": factor,
        "printed": printed,
        "entries": found,
        "metrics": text.metrics(assessment, name),
        "pictures": figures.pictures(name, label, found, (factor, unit)),
        "why": [
            (f"{method}: " if len(found) > 1 else "") + reason
            for _, method, q in found
            for reason in q["verdict"]["reasons"]
        ],
        "groups": [
            (text.KINDS.get(kind, kind), text.GROUPS.get((kind, group), group), i, method, made)
            for kind in kinds
            for i, method, q in found
            for group, made in text.groups(q, kind)
        ],
    }
