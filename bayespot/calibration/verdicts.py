"""Trust, stretch by x, do not trust here, or unknown: from intervals, not from point values.

One rule for any set of numbers, with its factor c (``stretch``) and the 95 % interval of it:

- trust: c is within 1.25 of 1 either way (95 % intervals then hold 88 to 98.6 %), and the interval
  excludes factors beyond 1.5;
- stretch by c: c is beyond 1.25, and the interval excludes 1;
- unknown: otherwise; the numbers are too few to tell.

A quantity is not to be trusted, whatever its own factor, where one factor cannot help:

- of a group (element, config_type, magnitude, domain) that is less than half of the numbers, or of
  the frames outside the training distribution, the errors are more than 1.5 times what is right for
  the rest, at the lower end of an interval that holds for all groups together;
- or errors have heavy tails that the uncertainties do not foresee: surely more than 1 % are beyond
  three stretched standard deviations (0.27 % should be), and they are not ranked by uncertainty
  (Spearman correlation surely below 0.2);
- or members agree to the last digit where they are wrong, and the rule above does not say trust.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bayespot.calibration.stretch import Stretch

GOOD, SURE, FAIL = 1.25, 1.5, 1.5
TAIL, RANKED = 0.01, 0.2
ORDER = ("do_not_trust", "stretch", "trust", "unknown")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What to do with the stated uncertainties.

    Attributes:
        kind: "trust", "stretch", "do_not_trust" or "unknown".
        stretch: factor for the standard deviations; None where none helps or none is known.
        sentence: for the reader.
        reasons: what it rests on.
    """

    kind: str
    stretch: float | None
    sentence: str
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the page."""
        return {**dataclasses.asdict(self), "reasons": list(self.reasons)}

    @property
    def factor(self) -> float:
        """To multiply with; 1 where nothing is to be done."""
        return self.stretch if self.kind == "stretch" and self.stretch else 1.0


@dataclasses.dataclass(frozen=True)
class HeavyTails:
    """Whether uncertainty foresees the large errors.

    Attributes:
        beyond, beyond_low: fraction beyond three stretched standard deviations, and its lower end.
        ranked_high: upper end of the Spearman correlation; 0 where all are equally uncertain.
        certain: numbers on which members agree to the last digit, and are wrong.
    """

    beyond: float
    beyond_low: float
    ranked_high: float
    certain: int = 0

    @property
    def fail(self) -> bool:
        """Heavy, and not foreseen."""
        return self.beyond_low > TAIL and self.ranked_high < RANKED


def judge(found: Stretch) -> Verdict:
    """The rule for one set of numbers."""
    if not found.value > 0:
        return Verdict("unknown", None, "All errors are 0: there is nothing to judge.")
    if not found.known:
        return Verdict(
            "unknown", None,
            f"Too few frames to tell ({found.frames}).",
            (f"errors are {_short(found.value)} times as large as stated, without an interval",),
        )  # fmt: skip
    span = _span(found)
    reason = f"errors are {span} times as large as stated"
    if 1 / GOOD <= found.value <= GOOD and found.low >= 1 / SURE and found.high <= SURE:
        return Verdict(
            "trust", None, f"Use the uncertainties as they are: {reason}.", (reason,),
        )  # fmt: skip
    if (found.low > 1 or found.high < 1) and not 1 / GOOD <= found.value <= GOOD:
        word = "too narrow" if found.value > 1 else "wider than they need to be"
        return Verdict(
            "stretch", found.value, f"Multiply the standard deviations by {span}: they are {word}.",
            (reason,),
        )  # fmt: skip
    return Verdict(
        "unknown", None,
        f"Too few numbers to tell: {found.frames} frames leave the factor between"
        f" {_short(found.low)} and {_short(found.high)}.",
        (reason,),
    )  # fmt: skip


def failing(
    groups: Mapping[str, Mapping[str, Stretch]],
    rest: Mapping[tuple[str, str], Stretch],
    total: int,
) -> dict[tuple[str, str], float]:
    """(kind, group) -> by how much its errors exceed what is right for the rest.

    Args:
        groups: kind -> group -> its factor.
        rest: the factor of all numbers outside each group.
        total: numbers in all.
    """
    comparisons = sum(len(names) for names in groups.values())
    found = {}
    for kind, names in groups.items():
        for name, own in names.items():
            outside = kind == "domain" and name == "out"
            if not own.known or (not outside and 2 * own.count >= total) or name == "in":
                continue
            others = judge(rest[kind, name]).factor
            if own.lower(comparisons) / others > FAIL:
                found[kind, name] = own.value / others
    return found


def of_quantity(
    whole: Stretch,
    groups: Mapping[str, Mapping[str, Stretch]],
    rest: Mapping[tuple[str, str], Stretch],
    tails: HeavyTails,
    reasons: list[str],
) -> tuple[Verdict, dict[str, dict[str, Verdict]]]:
    """The verdict on a quantity, and on its groups."""
    first = judge(whole)
    failed = failing(groups, rest, whole.count)
    made: dict[str, dict[str, Verdict]] = {}
    for kind, names in groups.items():
        made[kind] = {}
        for name, own in names.items():
            verdict = judge(own)
            if (kind, name) in failed:
                verdict = Verdict(
                    "do_not_trust", own.value,
                    f"Do not trust here: errors are {_span(own)} times as large as stated.",
                    verdict.reasons,
                )  # fmt: skip
            made[kind][name] = verdict
    reasons = [*first.reasons, *reasons]
    wide = [
        f"uncertainties {_where(kind, name)} are wider than they need to be"
        f" (factor {_short(own.value)})"
        for kind, names in groups.items()
        for name, own in names.items()
        if own.known and own.high < 1 / SURE and own.high < first.factor / SURE
    ]
    if tails.beyond_low > TAIL:
        reasons.append(
            f"{100 * tails.beyond:.1f} % of the errors are beyond three stretched standard"
            " deviations (0.3 % should be)"
        )
    if tails.fail:
        reasons.append("larger uncertainties do not come with larger errors")
    if tails.certain and first.kind != "trust":
        sentence = (
            f"Do not trust: members agree to the last digit on {tails.certain} of {whole.count}"
            " numbers and are wrong there, which no factor repairs."
        )
        return Verdict("do_not_trust", None, sentence, (*reasons, *wide)), made
    if failed:
        worst = sorted(failed, key=lambda key: -failed[key])
        elsewhere = judge(rest[worst[0]])
        errors = [
            f"errors {_where(*key)} are {_short(groups[key[0]][key[1]].value)} times as large as"
            " stated"
            for key in worst
        ]
        kind, name = worst[0]
        sentence = (
            f"Do not trust the uncertainties {_where(kind, name)}: errors there are"
            f" {_span(groups[kind][name])} times as large as stated."
        )
        if elsewhere.kind == "trust":
            sentence += " Elsewhere they are as stated."
        elif elsewhere.kind == "stretch":
            sentence += f" Elsewhere {_word(elsewhere.factor)} {_short(elsewhere.factor)}."
        return Verdict("do_not_trust", None, sentence, (*reasons, *errors, *wide)), made
    if tails.fail:
        sentence = (
            "Do not trust single uncertainties: errors have heavy tails that they do not foresee,"
            " and no factor repairs that."
        )
        return Verdict("do_not_trust", None, sentence, (*reasons, *wide)), made
    return dataclasses.replace(first, reasons=(*reasons, *wide)), made


def of_method(verdicts: Mapping[str, Verdict]) -> Verdict:
    """The most serious of its quantities (label -> verdict), with a sentence on each."""
    kinds = {v.kind for v in verdicts.values()}
    kind = next(k for k in ORDER if k in kinds)
    sentences = []
    for wanted in ORDER:
        labels = [label for label, v in verdicts.items() if v.kind == wanted]
        if not labels:
            continue
        if wanted == "trust":
            sentences.append(f"Trust {_list(labels)}.")
        elif wanted == "unknown":
            sentences.append(f"Too few numbers to tell: {_list(labels)}.")
        elif wanted == "stretch":
            for word, there in (("stretch", "by"), ("shrink", "to")):
                factors = [
                    f"{label} {there} {_short(verdicts[label].factor)}"
                    for label in labels
                    if _word(verdicts[label].factor) == f"{word} {there}"
                ]
                if factors:
                    sentences.append(f"{_start(word)} {_list(factors)}.")
        else:
            sentences += [f"{_start(label)}: {verdicts[label].sentence}" for label in labels]
    found = [v.factor for v in verdicts.values() if v.kind == "stretch"]
    stretch = max(found) if kind == "stretch" else None
    reasons = tuple(f"{label}: {v.sentence}" for label, v in verdicts.items())
    return Verdict(kind, stretch, " ".join(sentences), reasons)


def _word(factor: float) -> str:
    return "stretch by" if factor >= 1 else "shrink to"


def _where(kind: str, name: str) -> str:
    if kind == "domain":
        side = "outside" if name == "out" else "inside"
        return f"{side} the training distribution"
    if kind == "element":
        return f"on {name}"
    if kind == "magnitude":
        return f"for predicted forces {name}"
    return f"on {kind} {name}"


def _start(words: str) -> str:
    return words[0].upper() + words[1:]


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _span(found: Stretch) -> str:
    return f"{_short(found.value)} ({_short(found.low)} to {_short(found.high)})"


def _short(x: float) -> str:
    return f"{x:.2f}" if 0.1 <= x < 10 else f"{x:.2g}"
