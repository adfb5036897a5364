"""Where predictions of several members come from: run directories, arrays, ASE calculators."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from bayespot.calibration import Predicted, Recalibration
from bayespot.data import Frame
from bayespot.errors import UserError

KINDS = (
    "Give the directory of a bayespot run or fit, an npz or extxyz with energy_ensemble and"
    " forces_ensemble, a Python file that defines calculators, or module:callable of calculators"
)

Report = Callable[[int, int], None]
"""Told how many frames are done, and of how many."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Something that predicts frames several times over.

    Attributes:
        name: for tables.
        predict: of frames, with stress or without; tells its progress.
        folder: the run directory that a recalibration is stored in; None where there is none.
        recalibration: the one that is stored there.
    """

    name: str
    predict: Callable[[Sequence[Frame], bool, Report], Predicted]
    folder: Path | None = None
    recalibration: Recalibration | None = None

    def named(self, name: str) -> Source:
        """The same under another name."""
        return dataclasses.replace(self, name=name)


def open_source(text: str, data: Path) -> Source:
    """What a SOURCE of the command line means.

    Args:
        text: a run directory; an npz or any file of frames that holds ensembles; a Python file with
            ``calculators``; ``module:callable?key=value&...`` of one calculator with an ensemble of
            its own, or several of them with commas between.
        data: file of the test frames, whose order arrays without structures follow.

    Raises:
        UserError: none of these, or one that cannot be read.
    """
    from bayespot.assessment.calculators import from_names, from_python
    from bayespot.assessment.stored import from_frames, from_npz

    path = Path(text)
    if path.is_dir():
        return _posterior(path)
    if path.is_file():
        if path.suffix == ".py":
            return from_python(path)
        return from_npz(path, data) if path.suffix == ".npz" else from_frames(path)
    if path.suffix in (".npz", ".extxyz", ".xyz", ".db", ".py") or not _names_calculators(text):
        raise UserError(f"there is no file or directory {text}", KINDS)
    return from_names(text)


def _names_calculators(text: str) -> bool:
    return ":" in text or "xtb" in text.lower()


def _posterior(folder: Path) -> Source:
    from bayespot import committee

    found = committee.load(folder)

    def predict(frames: Sequence[Frame], stress: bool, report: Report) -> Predicted:
        made = found.predict(frames, stress=stress)
        report(len(frames), len(frames))
        return made

    return Source(found.name, predict, folder, found.recalibration)


def distinct(sources: Sequence[Source]) -> list[Source]:
    """The same sources, no two of one name: later ones are numbered."""
    made: list[Source] = []
    for source in sources:
        taken, name, count = {s.name for s in made}, source.name, 1
        while name in taken:
            count += 1
            name = f"{source.name} {count}"
        made.append(source.named(name))
    return made
