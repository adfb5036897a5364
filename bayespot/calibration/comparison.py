"""Methods side by side on one data set: the content of the calibration page.

The schema is ``bayespot/report/calibration.schema.json``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from bayespot.calibration import advice
from bayespot.calibration.assess import Assessed
from bayespot.calibration.quantity import Quantity
from bayespot.calibration.reading import READING
from bayespot.calibration.recalibration import Recalibration
from bayespot.calibration.verdicts import of_method

SCHEMA = "bayespot-calibration/1"


@dataclasses.dataclass(frozen=True)
class Method:
    """One committee on the data, as it is or recalibrated.

    Attributes:
        name: for tables; different for each method of an assessment.
        quantities: of the test frames.
        recalibration: learnt on other frames; None for the uncertainties as they are.
    """

    name: str
    quantities: Sequence[Quantity]
    recalibration: Recalibration | None = None


def assessment(
    methods: Sequence[Method],
    *,
    title: str,
    data: Mapping[str, Any],
    versions: Mapping[str, str],
    seed: int,
) -> dict[str, Any]:
    """Methods side by side on one data set: the content of the page.

    Args:
        methods: to compare; one is enough.
        title: of the page.
        data: "file", "frames", "sha256".
        versions: of what was used.
        seed: of bootstrap and null distributions.
    """
    made, following = [], []
    for method in methods:
        parts = [Assessed(q, seed, method.recalibration, "student") for q in method.quantities]
        verdicts = {part.quantity.label: part.verdict for part in parts}
        known = None
        if method.recalibration is not None:
            content = method.recalibration.to_json()
            known = {k: content[k] for k in ("kind", "text", "frames", "maps", "conformal")}
        made.append(
            {
                "name": method.name,
                "members": len(method.quantities[0].samples),
                "recalibration": known,
                "verdict": of_method(verdicts).to_json(),
                "quantities": [part.to_json() for part in parts],
            }
        )
        prefix = f"{method.name}: " if len(methods) > 1 else ""
        following += [
            prefix + line for line in advice.following(parts, method.recalibration is not None)
        ]
    found = {name for m in made for q in m["quantities"] for name in q["metrics"]}
    return {
        "schema": SCHEMA,
        "title": title,
        "versions": dict(versions),
        "data": dict(data),
        "seed": seed,
        "methods": made,
        "reading": {
            name: dict(zip(("label", "best", "sentence"), text, strict=True))
            for name, text in READING.items()
            if name in found
        },
        "next": following,
    }
