"""ENCE, and what it would be if the uncertainties were right."""

from __future__ import annotations

import dataclasses

import numpy as np

from bayespot.calibration.alike import deviates, loading_of_sizes
from bayespot.calibration.bootstrap import Resampling
from bayespot.calibration.predictive import Predictive, Tails, scalars


@dataclasses.dataclass(frozen=True)
class Ence:
    """Expected normalised calibration error (Levi et al. 2022, eq. 12) over bins of equal counts.

    Attributes:
        predicted: (bins,) root mean square of the predicted standard deviations, in the unit.
        observed: (bins,) root mean square error, that of the equivalent normal deviates.
        value: mean of |predicted - observed| / predicted.
        fewer: the value that the members but one, another one in each frame, give.
        null: values that right uncertainties would give on these numbers with one member fewer.
        replicates: of the bootstrap.
    """

    predicted: np.ndarray
    observed: np.ndarray
    value: float
    fewer: float
    null: np.ndarray
    replicates: np.ndarray

    @property
    def p(self) -> float:
        """Chance of a value this large where the uncertainties are right."""
        return float((1 + np.sum(self.null >= self.fewer)) / (1 + len(self.null)))

    def to_json(self) -> dict[str, object]:
        """For the page."""
        return {
            "predicted": self.predicted.tolist(),
            "observed": self.observed.tolist(),
            "value": self.value,
            "null_mean": float(self.null.mean()),
            "null_high": float(np.quantile(self.null, 0.95)),
            "p": self.p,
        }


def ence(
    made: Predictive,
    samples: np.ndarray,
    factor: np.ndarray,
    resampling: Resampling,
    seed: int,
    tails: Tails = "student",
) -> Ence | None:
    """Bins of equal counts in order of the predicted deviation; None for too few numbers.

    Even right uncertainties have an ENCE above 0, the more so the fewer numbers a bin has
    (Pernot 2023) and the fewer members there are: where their spread is large by chance the errors
    are not, and bins are chosen by it.  So the null is simulated: in each frame a member taken at
    random plays the truth, with noise, and the others predict it.  Errors of a frame are then as
    correlated as members say; noise is as correlated as the found errors are.  What p compares
    with it are predictions that lack a member too: truth and members are exchangeable where the
    uncertainties are right, as in a test of permutations.

    Args:
        made: predictions with errors, stretched by ``factor``.
        samples: (K, n) of the members, as they are.
        factor: (n,).
        resampling: of frames.
        seed: of the null distribution.
        tails: of ``made``.
    """
    n, members = len(made.error), len(samples)
    bins = min(15, n // 20)
    if bins < 2:
        return None
    frames, frame = resampling.frames, resampling.frame
    z = made.z()
    place = _place(made.sigma, bins)
    pair = (made.sigma**2, (z * made.sigma) ** 2)
    cell = frame * bins + place
    by_frame = [np.bincount(cell, x, frames * bins).reshape(frames, bins) for x in pair]
    both = resampling.over_frames(np.hstack(by_frame))
    with np.errstate(invalid="ignore", divide="ignore"):
        replicates = _score(both[:, :bins], both[:, bins:])
    predicted, observed = (np.bincount(place, x, bins) for x in pair)

    loading = loading_of_sizes(z, place, resampling)
    rng = np.random.default_rng(seed)
    centred = (samples - samples.mean(axis=0)) * factor
    null = []
    replicas = int(np.clip(1_500_000 // n, 30, 200))
    for _ in range(replicas):
        noise = deviates(rng, loading, resampling)
        if members > 3:
            one = centred[rng.integers(members, size=frames)[frame], np.arange(n)]
            error = members / (members - 1) * one + np.sqrt(made.aleatoric) * noise
            null.append(_of(_without(one, error, made, members, tails), bins))
        else:
            null.append(_score(predicted, np.bincount(place, made.sigma**2 * noise**2, bins)))
    value = fewer = float(_score(predicted, observed))
    if members > 3:
        one = centred[rng.integers(members, size=frames)[frame], np.arange(n)]
        error = made.error + one / (members - 1)
        fewer = float(_of(_without(one, error, made, members, tails), bins))
    if members > 3:
        # members are in the pool they are compared with, the truth is not: as a new draw differs
        # from the mean of K by 1 + 1/K of the variance, and one of them by 1 - 1/K
        wide = np.sqrt((members + 1) / (members - 1))
        null = np.mean(null) + wide * (np.array(null) - np.mean(null))
    count = np.bincount(place, minlength=bins)
    return Ence(
        np.sqrt(predicted / count),
        np.sqrt(observed / count),
        value,
        fewer,
        np.array(null),
        replicates,
    )


def _score(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    return np.asarray(np.mean(np.abs(1 - np.sqrt(observed / predicted)), axis=-1))


def _place(sigma: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each number."""
    place = np.empty(len(sigma), int)
    place[np.argsort(sigma, kind="stable")] = np.arange(len(sigma)) * bins // len(sigma)
    return place


def _of(made: Predictive, bins: int) -> np.ndarray:
    place = _place(made.sigma, bins)
    pair = (made.sigma**2, (made.sigma * made.z()) ** 2)
    return _score(*(np.bincount(place, x, bins) for x in pair))


def _without(
    one: np.ndarray, error: np.ndarray, made: Predictive, members: int, tails: Tails
) -> Predictive:
    """Predictions of all members but ``one`` (n,), given from the mean of all K.

    Args:
        one: of the member left out.
        error: from the mean of the others.
        made: predictions of all.
        members: K.
        tails: of ``made``.
    """
    spread = (members - 1) * made.epistemic - members / (members - 1) * one**2
    spread = np.maximum(spread / (members - 2), 0.0)
    return scalars(error, spread, made.aleatoric, members - 1, tails)
