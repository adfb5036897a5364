"""What members of a committee predict, what is true, and what to compare of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayespot.calibration.elements import SYMBOLS
from bayespot.calibration.quantity import Quantity
from bayespot.errors import UserError

SIX = np.triu_indices(3)
"""The independent components of a stress."""

SYMMETRIC = 1e-5
"""A component is fixed by symmetry where it is smaller than this times the largest one."""


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Predictions of K members for F frames.

    Attributes:
        energy: (K, F) total energies, eV.
        forces: of each frame (K, atoms, 3), eV/Angstrom.
        stress: (K, F, 3, 3) eV/Angstrom^3, tension positive, NaN where a frame has none; None
            where nothing predicted it.
        noise: variance of the labels about a perfect member, by "energy" (eV^2, of a frame's
            total energy), "forces" (eV^2/Angstrom^2, of a component) and "stress"
            (eV^2/Angstrom^6): one number or one of each member (K,), whose mean counts; what is
            missing is 0, as for committees of calculators that know of no noise.
        name: for tables.
    """

    energy: np.ndarray
    forces: Sequence[np.ndarray]
    stress: np.ndarray | None = None
    noise: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str = "posterior"

    @property
    def members(self) -> int:
        """K."""
        return len(self.energy)

    def select(self, frames: np.ndarray) -> Predicted:
        """Those frames only (indices)."""
        stress = None if self.stress is None else self.stress[:, frames]
        forces = [self.forces[i] for i in frames]
        return dataclasses.replace(
            self, energy=self.energy[:, frames], forces=forces, stress=stress
        )


@dataclasses.dataclass(frozen=True)
class Labels:
    """What is true of F frames, and what they are.

    Attributes:
        energy: (F,) total energies, eV; NaN where not known.
        forces: of each frame (atoms, 3), eV/Angstrom; NaN where not known.
        stress: (F, 3, 3) eV/Angstrom^3, tension positive, NaN where not known; or None.
        numbers: of each frame its atomic numbers.
        config_type: (F,) str; "" where the data do not say.
        domain: (F,) "in" or "out" of the training distribution.
    """

    energy: np.ndarray
    forces: Sequence[np.ndarray]
    stress: np.ndarray | None
    numbers: Sequence[np.ndarray]
    config_type: np.ndarray
    domain: np.ndarray

    def select(self, frames: np.ndarray) -> Labels:
        """Those frames only (indices)."""
        return Labels(
            self.energy[frames],
            [self.forces[i] for i in frames],
            None if self.stress is None else self.stress[frames],
            [self.numbers[i] for i in frames],
            np.asarray(self.config_type)[frames],
            np.asarray(self.domain)[frames],
        )


def quantities(predicted: Predicted, labels: Labels) -> list[Quantity]:
    """Energies per atom, force components, force vectors and stresses that have labels.

    Groups hold what is known before the label is: forces are grouped by the magnitude of the
    *predicted* force, because grouping by the true one would sort by the error too.  Components
    that symmetry makes zero are left out: there is nothing to predict.

    Raises:
        UserError: a member predicts something that is not finite, or numbers of frames differ.
    """
    frames = len(labels.energy)
    if not (predicted.energy.shape[1] == len(predicted.forces) == len(labels.forces) == frames):
        raise UserError(
            f"{predicted.name} has predictions for {predicted.energy.shape[1]} frames,"
            f" there are labels for {frames}",
            "Predict the labelled frames, all of them and in their order",
        )
    made = [_energy(predicted, labels), *_forces(predicted, labels), _stress(predicted, labels)]
    found = [quantity for quantity in made if quantity is not None]
    if not found:
        raise UserError("no frame has a label", "Give data with energies, forces or stresses")
    return found


def split(labels: Labels, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of frames to recalibrate on, and of the others to test on, alike in both.

    Each ``config_type`` and domain gives its share; a frame is in one of them only.

    Args:
        labels: of all frames.
        fraction: that goes to recalibration, in (0, 1).
        seed: of the random choice.

    Raises:
        UserError: one side would be empty.
    """
    rng = np.random.default_rng(seed)
    kinds = np.char.add(np.asarray(labels.config_type, str), np.asarray(labels.domain, str))
    position = np.empty(len(kinds))
    for kind in np.unique(kinds):
        places = rng.permutation(np.flatnonzero(kinds == kind))
        # evenly spaced, from a random start, so that small groups are not always rounded away
        position[places] = (np.arange(len(places)) + rng.random()) / len(places)
    first = np.flatnonzero(position < fraction)
    second = np.flatnonzero(position >= fraction)
    if not (len(first) and len(second)):
        raise UserError(
            f"{len(kinds)} frames cannot be split in two parts of {fraction:g} and the rest",
            "Give more labelled frames, or a fraction nearer to a half",
        )
    return first, second


def _energy(predicted: Predicted, labels: Labels) -> Quantity | None:
    known = np.flatnonzero(np.isfinite(labels.energy))
    if not len(known):
        return None
    atoms = np.array([len(labels.numbers[int(i)]) for i in known], float)
    samples = _finite(predicted, predicted.energy[:, known], "energy", known)
    groups = _of_frames(labels, known)
    return Quantity(
        "energy", "eV/atom", labels.energy[known] / atoms, samples / atoms,
        _noise(predicted, "energy") / atoms**2, known, groups,
    )  # fmt: skip


def _forces(predicted: Predicted, labels: Labels) -> list[Quantity]:
    given = enumerate(labels.forces)
    known = np.array([i for i, f in given if f.size and np.isfinite(f).all()], int)
    if not len(known):
        return []
    truth = np.concatenate([labels.forces[i] for i in known])
    samples = np.concatenate([np.asarray(predicted.forces[i], float) for i in known], axis=1)
    frame = np.repeat(known, [len(labels.forces[i]) for i in known])
    samples = _finite(predicted, samples, "forces", frame)
    groups = _of_frames(labels, frame)
    numbers = np.concatenate([labels.numbers[i] for i in known])
    if len(np.unique(numbers)) > 1:
        groups["element"] = SYMBOLS[numbers]
    magnitude = np.linalg.norm(samples.mean(axis=0), axis=1)
    if len(magnitude) >= 30 and np.ptp(magnitude) > 0:
        groups["magnitude"] = _thirds(magnitude, "eV/Å")
    noise = np.full(len(truth), _noise(predicted, "forces"))
    size = np.maximum(np.abs(truth), np.abs(samples).max(axis=0))
    free = size > SYMMETRIC * size.max()
    atom, component = np.nonzero(free)
    made = []
    if len(atom):
        by_component = {kind: group[atom] for kind, group in groups.items()}
        made.append(
            Quantity(
                "forces",
                "eV/Å",
                truth[atom, component],
                samples[:, atom, component],
                noise[atom],
                frame[atom],
                by_component,
            )
        )
    whole = np.flatnonzero(free.all(axis=1))
    # the covariance of fewer than five members says too little about three directions
    if len(whole) and (len(samples) > 4 or noise[0] > 0):
        made.append(
            Quantity(
                "force_vectors",
                "eV/Å",
                truth[whole],
                samples[:, whole],
                noise[whole],
                frame[whole],
                {kind: group[whole] for kind, group in groups.items()},
            )
        )
    return made


def _stress(predicted: Predicted, labels: Labels) -> Quantity | None:
    if predicted.stress is None or labels.stress is None:
        return None
    truth, samples = labels.stress[:, *SIX], predicted.stress[:, :, *SIX]
    # frames that nothing predicted a stress of are judged without it
    known = np.flatnonzero(np.isfinite(truth).all(axis=1) & ~np.isnan(samples).all(axis=(0, 2)))
    if not len(known):
        return None
    samples = _finite(predicted, samples[:, known], "stress", known)
    truth = truth[known]
    size = np.maximum(np.abs(truth), np.abs(samples).max(axis=0))
    frame, component = np.nonzero(size > SYMMETRIC * size.max())
    if not len(frame):
        return None
    return Quantity(
        "stress", "eV/Å³", truth[frame, component], samples[:, frame, component],
        np.full(len(frame), _noise(predicted, "stress")), known[frame],
        _of_frames(labels, known[frame]),
    )  # fmt: skip


def _noise(predicted: Predicted, name: str) -> float:
    return float(np.mean(np.asarray(predicted.noise.get(name, 0.0), float)))


def _finite(predicted: Predicted, samples: np.ndarray, name: str, frame: np.ndarray) -> np.ndarray:
    bad = ~np.isfinite(samples)
    if bad.any():
        place = [int(x) for x in np.argwhere(bad)[0]]
        raise UserError(
            f"member {place[0]} of {predicted.name} predicts no finite {name} for frame"
            f" {int(frame[place[1]])} (both counted from 0)",
            "Leave the member out, or the frame",
        )
    return np.asarray(samples, float)


def _of_frames(labels: Labels, frame: np.ndarray) -> dict[str, np.ndarray]:
    made = {}
    for kind in ("config_type", "domain"):
        names = np.asarray(getattr(labels, kind)).astype(str)
        if len(np.unique(names)) > 1:
            made[kind] = np.where(names == "", "other", names)[frame]
    return made


def _thirds(values: np.ndarray, unit: str) -> np.ndarray:
    low, high = np.quantile(values, (1 / 3, 2 / 3))
    names = (
        f"below {low:.2g} {unit}",
        f"{low:.2g} to {high:.2g} {unit}",
        f"above {high:.2g} {unit}",
    )
    return np.array(names)[(values > low).astype(int) + (values > high)]
