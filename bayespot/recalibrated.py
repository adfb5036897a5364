"""What a recalibration stored with the posterior does in a run.

The monitor of ``[md.mean]`` compares recalibrated uncertainties with its threshold; intervals of
observables stand beside those of the draws with their parameter part stretched.  Nothing of the
draws themselves changes, so that it is undone by ``bayespot calibrate --undo`` alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bayespot.calibration import Isotonic, Recalibration, Scale
from bayespot.committee import load_recalibration, monitor_scales
from bayespot.config import Config


def stored(config: Config, folder: Path) -> Recalibration | None:
    """That of the run's posterior, which may be the members of a fit; None where there is none.

    Args:
        config: of the run.
        folder: its directory.
    """
    return load_recalibration(config.sampler.fit or folder)


def factor(known: Recalibration | None, wanted: bool) -> float | None:
    """Of the forces of all atoms, which observables take; None where nothing is stretched.

    Args:
        known: what is stored.
        wanted: ``[md] recalibrated``.
    """
    if known is None or not wanted or not isinstance(known.maps.get("forces"), Scale):
        return None
    return known.factor("forces")


def scales(known: Recalibration | None, wanted: bool, elements: tuple[int, ...]) -> dict[str, Any]:
    """Settings of ``md.Monitor``; none where a monitor takes members as they are.

    Args:
        known, wanted: as for ``factor``.
        elements: atomic numbers of the potential's elements.
    """
    if known is None or not wanted:
        return {}
    if any(isinstance(made, Isotonic) for made in known.maps.values()):
        return {}
    return monitor_scales(known, elements)


def described(known: Recalibration | None, wanted: bool) -> dict[str, Any]:
    """For reports: "text" of what was learnt (None: nothing), "factor" of the parameter parts
    (None: they are as they are), and a "sentence" that says what was done with it.

    Args:
        known, wanted: as for ``factor``.
    """
    found = factor(known, wanted)
    text = None if known is None else known.text.rstrip(".")
    if text is None:
        sentence = (
            "uncalibrated: bayespot calibrate judges this posterior's uncertainties, and stores"
            " what makes them right"
        )
    elif not wanted:
        sentence = f"recalibrated ({text}), and not applied: [md] recalibrated is false"
    elif found is None:
        sentence = (
            f"recalibrated ({text}), but not by a factor of forces: intervals of observables and"
            " the monitor's uncertainties are as the draws give them"
        )
    else:
        sentence = (
            f"recalibrated ({text}): beside the draws' 95 % intervals stand those whose parameter"
            f" part is stretched by {found:.3g}, the factor of forces. That is an approximation"
            " (linear response: observables move in proportion to forces); MD noise is not"
            " stretched"
        )
    return {"text": text, "factor": found, "sentence": sentence}
