"""Which configurations to label: uncertain ones that do not repeat each other.

Labels of frame i would tell how the members differ there, by ``D_i`` (members, numbers): their
energies and force components less the members' mean, each over its noise.  ``G_i = D_i D_i^T /
(members - 1)`` holds all that (members x members; rotations and the order of atoms do not change
it), and ``tr G_i`` is the signal of frame i over the noise of its labels.  Frames make a Gaussian
model with the kernel

    k_ij = sqrt(tr G_i tr G_j) r_ij exp(-d_ij^2 / (2 l^2)),   r_ij = <G_i, G_j> / (|G_i| |G_j|)

and a batch the information ``1/2 log det(1 + k)`` (nats) of its labels about the model: BALD
(Houlsby et al. 2011) of a whole batch (Kirsch et al. 2019), a determinantal point process of
quality ``tr G`` and similarity the rest (Kulesza & Taskar 2012).  A frame counts by its
uncertainty, less what those chosen before say about it.  It is submodular: choosing greedily is
within 1 - 1/e of the best batch (Nemhauser et al. 1978).

``r`` asks whether the members differ alike in two frames.  It alone would need no descriptor, but
K members tell K - 1 directions apart, and one frame of a molecule has more numbers than that: two
frames seem alike by chance.  The cure is that of ensemble Kalman filters, where covariances of few
members are tapered by a distance (Houtekamer & Mitchell 2001): ``d_ij`` is the difference of sorted
interatomic distances, ``l`` its median over the candidates, and a product of kernels is a kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from bayespot.active.structures import Fingerprints
from bayespot.errors import UserError

Choice = Literal["information", "uncertainty", "random"]


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What members say about configurations without labels.

    Attributes:
        gram: (frames, members, members) G of each.
        uncertainty: (frames,) root mean square over atoms of the members' standard deviation of a
            force component (ddof=1), eV/Angstrom.
        shapes: what makes structures similar.
    """

    gram: np.ndarray
    uncertainty: np.ndarray
    shapes: Fingerprints

    def __len__(self) -> int:
        return len(self.gram)

    @property
    def signal(self) -> np.ndarray:
        """(frames,) tr G."""
        return np.trace(self.gram, axis1=1, axis2=2)

    def kernel(self, frame: int) -> np.ndarray:
        """(frames,) k of one frame with all."""
        flat = self.gram.reshape(len(self), -1)
        size = np.linalg.norm(flat, axis=1)
        alike = flat @ flat[frame] / np.maximum(size * size[frame], 1e-300)
        taper = np.exp(-0.5 * (self.shapes.distances(frame) / self.shapes.scale) ** 2)
        return np.sqrt(self.signal * self.signal[frame]) * alike * taper


def candidates(
    energy: np.ndarray,
    forces: Sequence[np.ndarray],
    energy_noise: float,
    forces_noise: float,
    shapes: Fingerprints,
) -> Candidates:
    """From predictions.

    Args:
        energy: (members, frames) eV.
        forces: of each frame, (members, atoms, 3) eV/Angstrom.
        energy_noise, forces_noise: standard deviations of a label, eV and eV/Angstrom.
        shapes: of the same frames.

    Raises:
        UserError: a single member, or noise that is not positive.
    """
    members = len(energy)
    if members < 2:
        raise UserError("one member has no spread to choose by", "Give at least two")
    if not (energy_noise > 0 and forces_noise > 0):
        raise UserError(
            f"the noise of labels is {energy_noise} eV and {forces_noise} eV/Angstrom",
            "Give standard deviations above 0",
        )
    away = (energy - energy.mean(axis=0)) / energy_noise
    gram, uncertainty = np.empty((len(forces), members, members)), np.empty(len(forces))
    for i, each in enumerate(forces):
        gap = (each - each.mean(axis=0)).reshape(members, -1).astype(float)
        uncertainty[i] = np.sqrt(np.sum(gap**2) / (members - 1) / gap.shape[1])
        gram[i] = np.outer(away[:, i], away[:, i]) + gap @ gap.T / forces_noise**2
    return Candidates(gram / (members - 1), uncertainty, shapes)


def choose(
    made: Candidates,
    count: int,
    how: Choice = "information",
    *,
    rng: np.random.Generator | None = None,
    allowed: Callable[[int, list[int]], bool] = lambda frame, chosen: True,
) -> list[int]:
    """Frames to label, in the order in which they were chosen.

    Args:
        made: of all frames.
        count: of the batch; fewer come back where no more are allowed.
        how: "information": what tells most beside those chosen; "uncertainty": the largest
            uncertainties, alike or not; "random".
        rng: of "random".
        allowed: whether a frame may join those chosen so far (no near duplicate of one, say).
    """
    if how == "information":
        return _greedy(made, count, allowed)
    rng = rng or np.random.default_rng()
    rank = -made.uncertainty if how == "uncertainty" else rng.random(len(made))
    chosen: list[int] = []
    for frame in np.argsort(rank, kind="stable"):
        if len(chosen) == count:
            break
        if allowed(int(frame), chosen):
            chosen.append(int(frame))
    return chosen


def information(made: Candidates, batch: Sequence[int]) -> float:
    """Nats that labels of a batch tell: see the module."""
    if not len(batch):
        return 0.0
    kernel = np.stack([made.kernel(i)[list(batch)] for i in batch])
    return 0.5 * float(np.linalg.slogdet(np.eye(len(batch)) + kernel)[1])


def _greedy(made: Candidates, count: int, allowed: Callable[[int, list[int]], bool]) -> list[int]:
    """By pivoted Cholesky decomposition of 1 + k: the next is what varies most given the rest."""
    left = made.signal + 1.0  # conditional variances
    free = np.full(len(made), True)
    factor = np.zeros((0, len(made)))
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        frame = int(np.argmax(np.where(free, left, -np.inf)))
        free[frame] = False
        if not allowed(frame, chosen):
            continue
        row = made.kernel(frame)
        row[frame] += 1.0
        row = (row - factor.T @ factor[:, frame]) / np.sqrt(left[frame])
        factor = np.concatenate([factor, row[None]])
        left = left - row**2
        chosen.append(frame)
    return chosen
