"""All figures of a quantity on a calibration page."""

from __future__ import annotations

from collections.abc import Sequence

from bayespot.report.calibration_coverage import groups, pit, reliability
from bayespot.report.calibration_drawing import Entry, Picture
from bayespot.report.calibration_errors import ence, scatter, sparsification

DRAWN = {
    "reliability": reliability,
    "pit": pit,
    "scatter": scatter,
    "ence": ence,
    "sparsification": sparsification,
    "groups": groups,
}


def pictures(
    name: str, label: str, entries: Sequence[Entry], unit: tuple[float, str]
) -> list[Picture]:
    """All figures that the numbers of a quantity allow.

    Args:
        name: of the quantity; unique on the page.
        label: the same in words.
        entries: methods that have the quantity.
        unit: factor and unit that numbers are shown in.
    """
    made = []
    for kind, draw in DRAWN.items():
        picture = draw(f"{kind}-{name}", label, entries, unit)
        if picture is not None:
            made.append(picture)
    return made
