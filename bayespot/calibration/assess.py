"""All metrics, curves and verdicts of one quantity, as plain JSON.

The schema is that of a quantity in ``bayespot/report/calibration.schema.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from bayespot.calibration import advice, curves, ranks, scores
from bayespot.calibration.bootstrap import Resampling
from bayespot.calibration.ence import ence
from bayespot.calibration.predictive import Predictive, Tails, VectorPredictive, predictive
from bayespot.calibration.quantity import Quantity
from bayespot.calibration.reading import READING
from bayespot.calibration.recalibration import Recalibration
from bayespot.calibration.stretch import Ladder, Stretch
from bayespot.calibration.verdicts import HeavyTails, Verdict, of_quantity

POINTS = 400
CERTAIN = 1e-6
"""Standard deviation over error below which members do not disagree at all."""
IN_GROUPS = ("rmse", "mae", "nll", "crps", "mean_squared_z", "chi2", "sharpness",
             "coverage_68", "coverage_95")  # fmt: skip


def assess(
    quantity: Quantity,
    *,
    seed: int,
    recalibration: Recalibration | None = None,
    tails: Tails = "student",
) -> dict[str, Any]:
    """How far the uncertainties of a quantity can be trusted.

    Intervals are 95 % bootstrap intervals over whole frames.  With conformal intervals in the
    recalibration, coverage is that of them; all else is of the predictive distribution.

    Args:
        quantity: of test frames.
        seed: of bootstrap and null distributions.
        recalibration: applied first; must not have seen these frames.
        tails: see ``bayespot.calibration.predictive``.
    """
    return Assessed(quantity, seed, recalibration, tails).to_json()


class Assessed:
    """A quantity with all that is computed of it: see ``assess``."""

    def __init__(
        self, quantity: Quantity, seed: int, recalibration: Recalibration | None, tails: Tails
    ) -> None:
        self.quantity, self.seed = quantity, seed
        made = predictive(quantity, tails)
        factor = np.ones(len(quantity.truth))
        if recalibration is not None:
            factor = recalibration.apply(quantity.name, made.sigma, quantity.groups) / made.sigma
            made = made.stretched(factor)
        self.made = made
        self.resampling = Resampling.of(quantity.cluster, seed)
        level = made.inside()
        inside = {p: level <= p for p in scores.COVERAGES}
        if isinstance(made, Predictive) and recalibration is not None:
            conformal = recalibration.conformal.get(quantity.name)
            if conformal is not None:
                for p in scores.COVERAGES:
                    width = conformal.multiple(p, len(level), quantity.groups)
                    inside[p] = made.size <= width * made.sigma
        self.level = level
        self.terms = scores.columns(made, quantity, factor, inside)
        self.ladder = Ladder(made)
        self.ranked = ranks.Ranked(made.sigma, made.size, seed)
        self.ence = (
            ence(made, quantity.samples, factor, self.resampling, seed, tails)
            if isinstance(made, Predictive)
            else None
        )
        self.metrics = self._metrics()
        self._judge()

    def _metrics(self) -> dict[str, dict[str, float | None]]:
        made = _of_means(self.terms, self.resampling)
        parts = []
        for part in self.resampling.parts():
            sorted_ones = {"miscalibration_area": ranks.area(self.level, part)}
            if isinstance(self.made, Predictive):
                sorted_ones |= self.ranked.metrics(part)
            parts.append(sorted_ones)
        values = {"miscalibration_area": ranks.area(self.level)}
        if isinstance(self.made, Predictive):
            values |= self.ranked.metrics()
        for name, value in values.items():
            replicates = np.concatenate([part[name] for part in parts])
            made[name] = _metric(value[0], replicates, self.resampling)
        if self.ence is not None:
            made["ence"] = _metric(self.ence.value, self.ence.replicates, self.resampling)
        outside = self._outside()
        if outside is not None:
            variance = self.resampling.sums(self.made.epistemic[:, None])[:, 0]
            score = variance / self.resampling.sums(np.ones((len(self.level), 1)))[:, 0]
            value = ranks.auroc(score, outside, np.ones((1, len(score))))[0]
            replicates = ranks.auroc(score, outside, self.resampling.weights.astype(float))
            made["ood_auroc"] = _metric(value, replicates, self.resampling)
        return {name: made[name] for name in READING if name in made}

    def _outside(self) -> np.ndarray | None:
        """(C,) which frames are outside the training distribution, where some are."""
        domain = self.quantity.groups.get("domain")
        if domain is None or isinstance(self.made, VectorPredictive):
            return None
        outside = np.zeros(self.resampling.frames, bool)
        outside[self.resampling.frame] = np.asarray(domain) == "out"
        return None if outside.all() or not outside.any() else outside

    def _judge(self) -> None:
        whole = self.ladder.stretch(self.resampling)
        own: dict[str, dict[str, Stretch]] = {}
        rest: dict[tuple[str, str], Stretch] = {}
        self.group_metrics: dict[str, dict[str, dict[str, Any]]] = {}
        for kind, groups in self.quantity.groups.items():
            names = np.unique(groups)
            if len(names) < 2:
                continue
            own[kind], self.group_metrics[kind] = {}, {}
            for name in names.astype(str):
                use = np.asarray(groups).astype(str) == name
                resampling = Resampling.of(self.quantity.cluster[use], self.seed)
                own[kind][name] = self.ladder.stretch(resampling, use)
                others = Resampling.of(self.quantity.cluster[~use], self.seed)
                rest[kind, name] = self.ladder.stretch(others, ~use)
                terms = {k: v[use] for k, v in self.terms.items() if k in IN_GROUPS}
                self.group_metrics[kind][name] = _of_means(terms, resampling)
        self.stretch, self.groups = whole, own
        self.tails = self._tails(whole)
        verdict, self.verdicts = of_quantity(whole, own, rest, self.tails, advice.reasons(self))
        self.verdict: Verdict = verdict

    def _tails(self, whole: Stretch) -> HeavyTails:
        if not whole.value > 0:
            return HeavyTails(0.0, 0.0, 0.0)
        # beyond three standard deviations, of vectors at the same probability
        limit = stats.chi2.isf(0.0027, 3) / 3 if self.quantity.vector else 9.0
        beyond = (self.made.squares(whole.value) > limit).astype(float)
        low = self.resampling.interval(self.resampling.means(beyond[:, None])[:, 0])[0]
        ranked = self.metrics.get("spearman")
        if ranked is None:
            values = [
                part["spearman"] for part in map(self.ranked.metrics, self.resampling.parts())
            ]
            high = self.resampling.interval(np.concatenate(values))[1]
        else:
            high = ranked["high"]
        high = 0.0 if high is None or not np.isfinite(high) else high
        wrong = self.made.size > 1e-3 * np.sqrt(np.mean(self.made.size**2))
        certain = int(np.sum(wrong & (self.made.sigma < CERTAIN * self.made.size)))
        low = low if np.isfinite(low) else 0.0
        return HeavyTails(float(beyond.mean()), low, float(high), certain)

    def to_json(self) -> dict[str, Any]:
        """The schema's quantity."""
        quantity, made = self.quantity, self.made
        shown: dict[str, Any] = {"reliability": curves.reliability(self.level)}
        points = None
        if isinstance(made, Predictive):
            shown["pit"] = curves.pit(made.z(), self.resampling, self.seed)
            shown["sparsification"] = self.ranked.curves()
            if self.ence is not None:
                shown["ence"] = self.ence.to_json()
            rng = np.random.default_rng(self.seed)
            few = np.sort(rng.permutation(len(made.error))[:POINTS])
            points = {"sigma": made.sigma[few].tolist(), "error": made.error[few].tolist()}
        groups = {
            kind: {
                name: {
                    "count": self.groups[kind][name].count,
                    "metrics": metrics,
                    "verdict": self.verdicts[kind][name].to_json(),
                }
                for name, metrics in names.items()
            }
            for kind, names in self.group_metrics.items()
        }
        return {
            "name": quantity.name,
            "label": quantity.label,
            "unit": quantity.unit,
            "count": len(quantity.truth),
            "frames": self.resampling.frames,
            "parts": {
                "epistemic": float(np.sqrt(made.epistemic.mean())),
                "aleatoric": float(np.sqrt(made.aleatoric.mean())),
            },
            "metrics": self.metrics,
            "curves": shown,
            "points": points,
            "groups": groups,
            "verdict": self.verdict.to_json(),
        }


def _of_means(
    terms: Mapping[str, np.ndarray], resampling: Resampling
) -> dict[str, dict[str, float | None]]:
    table = np.column_stack(list(terms.values()))
    means, replicates = table.mean(axis=0), resampling.means(table)
    made = {}
    for j, name in enumerate(terms):
        finish = scores.FINISH.get(name, np.asarray)
        made[name] = _metric(finish(means[j]), finish(replicates[:, j]), resampling)
    return made


def _metric(value: Any, replicates: np.ndarray, resampling: Resampling) -> dict[str, float | None]:
    low, high = resampling.interval(replicates)
    return {"value": _finite(value), "low": _finite(low), "high": _finite(high)}


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
