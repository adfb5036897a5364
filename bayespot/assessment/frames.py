"""Which frames are tested, which recalibrate, and which lie outside the training distribution."""

from __future__ import annotations

import dataclasses
import hashlib
import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bayespot.assessment.sources import Source
from bayespot.calibration import Labels, split
from bayespot.data import Frame, Keys, check_splits, check_units, read
from bayespot.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Frames by their use.

    Attributes:
        file: name of the test file.
        test: labelled frames that uncertainties are judged on.
        out: of each of them, whether it lies outside the distribution of the training data.
        calibration: disjoint frames that a recalibration is fitted on; empty without one.
    """

    file: str
    test: tuple[Frame, ...]
    out: tuple[bool, ...]
    calibration: tuple[Frame, ...]

    @property
    def sha256(self) -> str:
        """Of all structures and labels of the test frames."""
        digest = hashlib.sha256()
        for frame in self.test:
            atoms = frame.atoms
            parts = (atoms.numbers.astype(np.int64), atoms.positions, atoms.cell.array, atoms.pbc,
                     np.asarray(frame.energy), frame.forces)  # fmt: skip
            for values in parts if frame.stress is None else (*parts, frame.stress):
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()


def read_frames(
    data: Path,
    *,
    recalibrate_on: Path | None = None,
    fraction: float | None = None,
    ood_types: Sequence[str] = (),
    ood: Path | None = None,
    seed: int = 0,
    keys: Keys | None = None,
) -> Chosen:
    """Read, check and divide.

    Args:
        data: test frames.
        recalibrate_on: file of frames that a recalibration is fitted on.
        fraction: of the frames of ``data`` inside the distribution, chosen at random, that serve
            this purpose in place of a file.
        ood_types: values of ``config_type`` that lie outside the training distribution.
        ood: file of more test frames, all of them outside.
        seed: of the random choice.
        keys: names of the labels.

    Raises:
        UserError: files that cannot be read, frames that serve two purposes, types that no frame
            has, or too few frames to divide.
    """
    frames = read(data, keys)
    types = [config_type(frame) for frame in frames]
    unknown = sorted(set(ood_types) - set(types))
    if unknown:
        known = ", ".join(sorted(set(types) - {""})) or "not given"
        raise UserError(
            f"no frame of {data} has the config_type {unknown[0]}",
            f"Change --ood-types: its types are {known}",
        )
    out = [name in ood_types for name in types]
    if all(out):
        raise UserError(
            f"all frames of {data} would be out of distribution", "Leave some inside: --ood-types"
        )
    more = read(ood, keys) if ood is not None else []
    chosen: list[Frame] = []
    if recalibrate_on is not None:
        chosen = read(recalibrate_on, keys)
    elif fraction is not None:
        inside = [i for i, outside in enumerate(out) if not outside]
        # alike in both, type by type
        part = labels([frames[i] for i in inside], [False] * len(inside))
        taken = {inside[i] for i in split(part, fraction, seed)[0]}
        chosen = [frames[i] for i in sorted(taken)]
        out = [x for i, x in enumerate(out) if i not in taken]
        frames = [f for i, f in enumerate(frames) if i not in taken]
    splits: dict[str, Sequence[Frame]] = {
        "test": frames,
        **({"recalibration": chosen} if chosen else {}),
    }
    for part in splits.values():
        check_units(part)
    check_splits({**splits, **({"out-of-distribution": more} if more else {})})
    return Chosen(data.name, (*frames, *more), (*out, *(True for _ in more)), tuple(chosen))


def config_type(frame: Frame) -> str:
    """What the file calls this kind of frame; "" where it says nothing."""
    return str(frame.atoms.info.get("config_type", ""))


def labels(frames: Sequence[Frame], out: Sequence[bool]) -> Labels:
    """As the metrics want them; NaN for stresses that are not known."""
    known = any(frame.stress is not None for frame in frames)
    nothing = np.full((3, 3), np.nan)
    stresses = [nothing if f.stress is None else f.stress for f in frames]
    return Labels(
        energy=np.array([frame.energy for frame in frames]),
        forces=[frame.forces for frame in frames],
        stress=np.stack(stresses) if known else None,
        numbers=[frame.atoms.numbers for frame in frames],
        config_type=np.array([config_type(frame) for frame in frames]),
        domain=np.array(["out" if outside else "in" for outside in out]),
    )


def training_frames(folder: Path) -> list[Frame]:
    """Frames of the training file of a run, if its configuration names one that is still there."""
    path = folder / "config.toml"
    if not path.is_file():
        return []
    data = tomllib.loads(path.read_text(encoding="utf-8")).get("data") or {}
    file = Path(data.get("train") or "")
    if not file.is_file():
        return []
    named = {k: (data[f"{k}_key"],) for k in ("energy", "forces") if data.get(f"{k}_key")}
    return read(file, Keys(**named))


def check_unseen(sources: Sequence[Source], frames: Chosen) -> None:
    """Refuse frames that a run was trained on, as far as its training file is still there.

    Raises:
        UserError: naming the frame.
    """
    for source in sources:
        seen = [] if source.folder is None else training_frames(source.folder)
        if seen:
            name = f"training of {source.name}"
            check_splits({name: seen, "test": frames.test})
            if frames.calibration:
                check_splits({name: seen, "recalibration": frames.calibration})
