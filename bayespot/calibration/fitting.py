"""Learning a recalibration: factors, monotone maps, conformal intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import optimize

from bayespot.calibration.bootstrap import FEWEST
from bayespot.calibration.predictive import Predictive, Tails, predictive
from bayespot.calibration.quantity import Quantity
from bayespot.calibration.recalibration import Conformal, Isotonic, Recalibration, Scale
from bayespot.calibration.scores import COVERAGES
from bayespot.calibration.stretch import Ladder, taken
from bayespot.errors import UserError

SMALLEST_BIN = 20
"""Numbers that a value of the isotonic map rests on, at least."""


def recalibrate(
    quantities: Sequence[Quantity],
    *,
    kind: Literal["scale", "isotonic"] = "scale",
    by: Literal["element", "config_type"] | None = None,
    score: Literal["nll", "crps"] = "nll",
    conformal: bool = False,
    seed: int = 0,
    source: Mapping[str, Any] | None = None,
    tails: Tails = "student",
) -> Recalibration:
    """Learn maps of standard deviations on frames that no test uses (``split`` makes two parts).

    Args:
        quantities: of the recalibration frames; force vectors follow the components.
        kind: a factor (Levi et al. 2022; Gneiting & Raftery 2007 for the scores), or the monotone
            map of variances that fits the squared errors best (Busk et al. 2022), which is also
            the monotone map of highest likelihood.
        by: groups with factors, and conformal intervals, of their own; those of fewer than
            ``FEWEST`` frames have the common factor.
        score: what factors minimise.
        conformal: intervals with a finite-sample guarantee too.
        seed: of the choice of frames, where conformal intervals need some of their own.
        source: where the frames come from, to be stored.
        tails: see ``predictive``.

    Raises:
        UserError: no quantities, or an isotonic map by CRPS.
    """
    if kind == "isotonic" and (score != "nll" or by is not None):
        raise UserError(
            "an isotonic recalibration is of all numbers together, by likelihood",
            "Leave by and score as they are, or choose kind='scale'",
        )
    used = [q for q in quantities if not q.vector]
    if not used:
        raise UserError("there is nothing to recalibrate", "Give quantities that are no vectors")
    maps: dict[str, Scale | Isotonic] = {}
    intervals: dict[str, Conformal] = {}
    for q in used:
        kind_of_group = by if by in q.groups else None
        learn = q
        rest = q
        # a global factor cancels in conformal intervals, and a group's in those of the group; any
        # other map must not have seen the frames
        if conformal and kind == "isotonic":
            learn, rest = _halves(q, seed)
        made = _isotonic(learn, tails) if kind == "isotonic" else _scale(
            learn, kind_of_group, score, tails
        )  # fmt: skip
        maps[q.name] = made
        if conformal:
            intervals[q.name] = conformal_intervals(rest, made, kind_of_group)
    frames = len(np.unique(np.concatenate([q.cluster for q in used])))
    return Recalibration(
        maps, intervals, _text(kind, by, score, conformal, frames), score,
        len(used[0].samples), frames, dict(source or {}),
    )  # fmt: skip


def _text(kind: str, by: str | None, score: str, conformal: bool, frames: int) -> str:
    what = "monotone map of standard deviations" if kind == "isotonic" else "factors"
    if by is not None:
        what += f" by {by}"
    text = f"{what[0].upper()}{what[1:]}, learnt on {frames} frames by {score.upper()}"
    return text + (", with conformal intervals." if conformal else ".")


def _scale(q: Quantity, by: str | None, score: str, tails: Tails) -> Scale:
    made = predictive(q, tails)
    assert isinstance(made, Predictive)
    whole = best_factor(made, score)
    if by is None:
        return Scale(whole)
    names = np.asarray(q.groups[by]).astype(str)
    factors = {}
    for name in np.unique(names):
        use = names == name
        if len(np.unique(q.cluster[use])) >= FEWEST:
            part = taken(made, use)
            assert isinstance(part, Predictive)
            factors[str(name)] = best_factor(part, score)
    return Scale(whole, by, factors)


def best_factor(made: Predictive, score: str) -> float:
    """The factor of all standard deviations that has the best mean score."""
    start = Ladder(made).start
    if not start > 0:
        raise UserError(
            "all predictions are exact: no factor is best", "Recalibrate on other frames"
        )
    ones = np.ones(len(made.error))
    evaluate: Callable[[Predictive], np.ndarray] = (
        Predictive.nll if score == "nll" else Predictive.crps
    )

    def loss(log_factor: float) -> float:
        return float(np.mean(evaluate(made.stretched(np.exp(log_factor) * ones))))

    middle = float(np.log(start))
    found = optimize.minimize_scalar(
        loss, bounds=(middle - 3, middle + 3), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


def _isotonic(q: Quantity, tails: Tails) -> Isotonic:
    made = predictive(q, tails)
    assert isinstance(made, Predictive)
    order = np.argsort(made.sigma, kind="stable")
    variance = made.sigma[order] ** 2
    squares = made.squares()[order] * variance
    bins = max(1, min(200, len(order) // SMALLEST_BIN))
    starts = np.arange(bins) * len(order) // bins
    counts = np.diff(np.append(starts, len(order))).astype(float)
    mean = np.add.reduceat(squares, starts) / counts
    fitted = optimize.isotonic_regression(mean, weights=counts)
    blocks = np.asarray(fitted.blocks)[:-1]
    total = np.add.reduceat(counts, blocks)
    given = np.sqrt(np.add.reduceat(np.add.reduceat(variance, starts), blocks) / total)
    found = np.sqrt(np.add.reduceat(mean * counts, blocks) / total)
    # both must increase, and none be 0, for the map to have an inverse
    keep = (found > 0) & np.concatenate([[True], np.diff(given) > 0])
    if not keep.any():
        raise UserError("all predictions are exact: no map is best", "Recalibrate on other frames")
    return Isotonic(tuple(given[keep].tolist()), tuple(found[keep].tolist()))


def conformal_intervals(q: Quantity, mapped: Scale | Isotonic, by: str | None = None) -> Conformal:
    """Half-widths, in mapped standard deviations, that hold whatever the errors' distribution.

    Frames are exchangeable, the numbers of one frame are not.  Each frame weighs 1/(C+1), shared
    by its numbers, and what is left is at infinity (hierarchical conformal prediction: Dunn,
    Wasserman & Ramdas 2023; Lee, Barber & Willett 2023): a number picked at random from a new
    frame is inside with at least the nominal probability, which is over the frames of
    recalibration too.  With one number a frame this is split conformal prediction (Vovk et al.
    2005); by groups it holds in each of them (Mondrian).

    Args:
        q: frames that ``mapped`` has not seen, but for factors (of the whole, or of ``by``),
            which cancel.
        mapped: the map of standard deviations.
        by: kind of groups, or None.
    """
    made = predictive(q, "normal")
    assert isinstance(made, Predictive)
    score = made.size / (made.sigma * mapped.ratio(made.sigma, q.groups))
    multiples = {"": _multiples(score, q.cluster)}
    frames = {"": len(np.unique(q.cluster))}
    if by is not None:
        names = np.asarray(q.groups[by]).astype(str)
        for name in np.unique(names):
            use = names == name
            multiples[str(name)] = _multiples(score[use], q.cluster[use])
            frames[str(name)] = len(np.unique(q.cluster[use]))
    single = frames[""] == len(q.truth)
    what = "a new frame" if single else "a number picked at random from a new frame"
    alike = "these" if by is None else f"those of its {by}"
    return Conformal(
        COVERAGES, multiples, by, frames,
        f"{what[0].upper()}{what[1:]} that is exchangeable with {alike} is inside with at least the"
        " nominal probability, on average over frames and over the choice of recalibration frames;"
        " not for each frame, and not for frames of another kind.",
    )  # fmt: skip


def _multiples(score: np.ndarray, cluster: np.ndarray) -> tuple[float, ...]:
    frame, count = np.unique(cluster, return_inverse=True, return_counts=True)[1:]
    order = np.argsort(score, kind="stable")
    mass = np.cumsum(1 / count[frame[order]]) / (len(count) + 1)
    place = np.searchsorted(mass, np.asarray(COVERAGES) - 1e-9)
    return tuple(float(score[order[p]]) if p < len(order) else float("inf") for p in place)


def _halves(q: Quantity, seed: int) -> tuple[Quantity, Quantity]:
    frames = np.random.default_rng(seed).permutation(np.unique(q.cluster))
    if len(frames) < 2:
        raise UserError(
            f"{q.name}: one frame cannot give a map and conformal intervals", "Give more frames"
        )
    first = np.isin(q.cluster, frames[: len(frames) // 2])
    return q.select(first), q.select(~first)
