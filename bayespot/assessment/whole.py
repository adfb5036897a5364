"""From sources and frames to the content of the page, and recalibrations to keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bayespot import calibration, committee, files
from bayespot.assessment.frames import Chosen, labels
from bayespot.assessment.sources import Source
from bayespot.calibration import Method, Quantity, Recalibration
from bayespot.calibration.bootstrap import FEWEST
from bayespot.errors import UserError

ROUNDING = 1e-12
"""Relative difference of members that are the same."""

PACKAGES = ("bayespot", "jax", "numpy", "scipy", "ase")


@dataclasses.dataclass(frozen=True)
class Assessed:
    """What came of it.

    Attributes:
        content: of ``calibration.json``.
        recalibrations: name of a source -> what was fitted for it; empty without such frames.
    """

    content: dict[str, Any]
    recalibrations: Mapping[str, Recalibration] = dataclasses.field(default_factory=dict)


def assess(
    sources: Sequence[Source],
    frames: Chosen,
    *,
    method: str = "nll",
    per: str | None = None,
    conformal: bool = False,
    seed: int = 0,
    report: Callable[[str, int, int], None] | None = None,
) -> Assessed:
    """Predict the frames with every source, recalibrate if there are frames for it, and judge.

    A source whose recalibration is fitted here appears twice, before and after; one that has a
    stored recalibration appears with it.

    Args:
        sources: with different names.
        frames: to test on, and to recalibrate on.
        method: "nll" or "crps" for factors, "isotonic" for a curve.
        per: factors for each "element" or "config_type".
        conformal: fit intervals with a finite-sample guarantee as well.
        seed: of the bootstrap.
        report: told the source and how many of its frames are done, and of how many.

    Raises:
        UserError: predictions that do not fit the frames, or a recalibration that cannot be.
    """
    if 0 < len(frames.calibration) < FEWEST:
        raise UserError(
            f"a recalibration on {len(frames.calibration)} frames would rest on chance",
            f"Give {FEWEST} or more that no test uses",
        )
    told = report or (lambda name, done, total: None)
    methods: list[Method] = []
    fitted: dict[str, Recalibration] = {}
    for source in sources:
        quantities, more = _quantities(source, frames, told)
        if not more:
            methods.append(Method(source.name, quantities, source.recalibration))
            continue
        kind = "isotonic" if method == "isotonic" else "scale"
        fitted[source.name] = calibration.recalibrate(
            more,
            kind=kind,
            by=per,  # type: ignore[arg-type]
            score="crps" if method == "crps" else "nll",
            conformal=conformal,
            seed=seed,
            source={
                "file": Path(frames.calibration[0].file).name,
                "frames": len(frames.calibration),
            },
        )
        methods.append(Method(source.name, quantities))
        methods.append(Method(f"{source.name}, recalibrated", quantities, fitted[source.name]))
    content = calibration.assessment(
        methods,
        title=f"Calibration on {frames.file}",
        data={"file": frames.file, "frames": len(frames.test), "sha256": frames.sha256},
        versions={name: version(name) for name in PACKAGES},
        seed=seed,
    )
    # what to do about uncertainties that have been recalibrated since is done
    done = tuple(f"{name}: " for name in fitted)
    content["next"] = [line for line in content["next"] if not line.startswith(done or ("\0",))]
    return Assessed(content, fitted)


def _quantities(
    source: Source, frames: Chosen, report: Callable[[str, int, int], None]
) -> tuple[list[calibration.Quantity], list[calibration.Quantity]]:
    """Of the test frames, and of those to recalibrate on."""
    whole = [*frames.test, *frames.calibration]
    stress = any(frame.stress is not None for frame in whole)
    predicted = source.predict(whole, stress, lambda *at: report(source.name, *at))
    predicted = dataclasses.replace(predicted, name=source.name)
    if predicted.members < 2:
        raise UserError(
            f"{source.name} has one member, and one has no spread", "Give two members or more"
        )
    known = labels(whole, [*frames.out, *(False for _ in frames.calibration)])
    parts = np.split(np.arange(len(whole)), [len(frames.test)])
    test, more = (
        calibration.quantities(predicted.select(part), known.select(part)) if len(part) else []
        for part in parts
    )
    if not any(map(_spread, test)):
        raise UserError(
            f"the {predicted.members} members of {source.name} agree to the last digit",
            "Give members that differ: these look like copies of one",
        )
    return test, more


def _spread(quantity: Quantity) -> bool:
    """Whether any number of it has an uncertainty beyond rounding."""
    gap = np.ptp(quantity.samples, axis=0)
    certain = gap <= ROUNDING * np.abs(quantity.samples).max(axis=0)
    return bool(np.any(~certain) or np.any(quantity.noise_variance > 0))


def store(sources: Sequence[Source], made: Assessed, folder: Path) -> list[str]:
    """Keep what was fitted, with the posterior or beside the page; what was done, in words."""
    lines = []
    for source in sources:
        fitted = made.recalibrations.get(source.name)
        if fitted is None:
            continue
        if source.folder is not None:
            committee.save_recalibration(source.folder, fitted)
            path = source.folder / committee.RECALIBRATION
            lines.append(f"{path}: used by all who load {source.folder}, until --undo")
        else:
            several = len(made.recalibrations) > 1
            clean = "".join(c if c.isalnum() else "-" for c in source.name)
            path = folder / (f"recalibration-{clean}.json" if several else "recalibration.json")
            files.write_json(path, fitted.to_json())
            lines.append(f"{path}: what was fitted to {source.name}")
    return lines
