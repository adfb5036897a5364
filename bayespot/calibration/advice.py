"""What verdicts rest on besides their factors, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bayespot.calibration.predictive import Predictive

if TYPE_CHECKING:
    from bayespot.calibration.assess import Assessed


def reasons(part: Assessed) -> list[str]:
    """Coverage, offsets and few members, in sentences."""
    held = part.metrics["coverage_95"]
    low, high = held["low"], held["high"]
    span = "" if low is None or high is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    made = [f"95 % intervals hold {100 * (held['value'] or 0):.0f} %{span} of the truths"]
    if biased(part):
        made.append(
            f"a constant offset of {offset(part):.2g} {part.quantity.unit} makes up most of the"
            " squared error"
        )
    dof = float(np.median(part.made.dof))
    if dof < 20 and isinstance(part.made, Predictive):
        wide = float(np.median(part.made.scale / part.made.sigma)) * stats.t.ppf(0.975, dof)
        made.append(
            f"with {len(part.quantity.samples)} members a 95 % interval is the mean ± {wide:.1f}"
            " standard deviations (Student's t), not 1.96"
        )
    return made


def offset(part: Assessed) -> float:
    """Mean error."""
    return float(np.mean(part.made.error)) if isinstance(part.made, Predictive) else 0.0


def biased(part: Assessed) -> bool:
    """Whether an offset surely makes up more than half of the squared error."""
    if not isinstance(part.made, Predictive) or part.quantity.name == "forces":
        return False
    means = part.resampling.means(np.column_stack([part.made.error, part.made.error**2]))
    with np.errstate(invalid="ignore"):
        share = part.resampling.interval(means[:, 0] ** 2 / means[:, 1])[0]
    return bool(share > 0.5)


def _chance(p: float) -> str:
    return "p < 0.01" if p < 0.01 else f"p = {p:.2f}"


def following(parts: Sequence[Assessed], recalibrated: bool) -> list[str]:
    """What to do about the verdicts."""
    # factors learnt with an offset would be factors of the offset
    lines = [
        f"{part.quantity.label}: remove the constant offset of {offset(part):.2g}"
        f" {part.quantity.unit} first (the two may have different reference energies), and judge"
        " again."
        for part in parts
        if biased(part)
    ]
    by_kind: dict[str, list[Assessed]] = {}
    for part in parts:
        by_kind.setdefault(part.verdict.kind, []).append(part)
    stretched = [
        f"{p.quantity.label} by {p.verdict.factor:.2g}"
        for p in by_kind.get("stretch", [])
        if not biased(p)
    ]
    if stretched:
        lines.append(
            f"Multiply standard deviations ({', '.join(stretched)}): "
            + (
                "the recalibration does not fit these frames; learn it again on frames like them."
                if recalibrated
                else "learn the factors on labelled frames of their own, which no test uses, and"
                " store them with the committee."
            )
        )
    for part in by_kind.get("do_not_trust", []):
        label = part.quantity.label
        failed = [
            (kind, name)
            for kind, names in part.verdicts.items()
            for name, verdict in names.items()
            if verdict.kind == "do_not_trust"
        ]
        if ("domain", "out") in failed:
            lines.append(
                f"{label}: label frames from outside the training distribution and train on them;"
                " until then stop simulations that go there."
            )
        inner = [f"{kind} {name}" for kind, name in failed if kind != "domain"]
        if inner:
            lines.append(
                f"{label}: add training frames where uncertainties fail ({', '.join(inner)}), or"
                " recalibrate by group."
            )
        certain = part.tails.certain
        if certain:
            lines.append(
                f"{label}: leave out what members cannot disagree about ({certain} numbers:"
                " isolated atoms, fixed forces, copies of one model), and judge again."
            )
        elif not failed:
            lines.append(
                f"{label}: use more members from independent starts, or read conformal intervals,"
                " which hold on average, in place of single uncertainties."
            )
    if "unknown" in by_kind:
        labels = ", ".join(p.quantity.label for p in by_kind["unknown"])
        lines.append(f"Label more frames to judge: {labels}.")
    for part in parts:
        if part.ence is not None and part.ence.p < 0.05 and part.verdict.kind == "trust":
            lines.append(
                f"{part.quantity.label}: right on average, but not at each size of uncertainty"
                f" (ENCE {part.ence.value:.2f}, {_chance(part.ence.p)}); an isotonic recalibration"
                " may help."
            )
        if len(part.quantity.samples) < 5:
            lines.append(
                f"{part.quantity.label}: {len(part.quantity.samples)} members give a poor estimate"
                " of their own spread; make more."
            )
    return lines or ["Nothing: use the uncertainties as they are."]
