"""A calibration assessment in words: numbers in units people read, Markdown, terminal lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bayespot.report.table import columns
from bayespot.report.table import significant as sig
from bayespot.units import GPA

WITH_UNIT = ("rmse", "mae", "crps", "crps_fair", "sharpness")
"""Metrics that carry the quantity's unit; all others are plain numbers."""

OVERVIEW = ("rmse", "coverage_68", "coverage_95", "mean_squared_z", "miscalibration_area", "nll",
            "crps", "ence", "spearman", "ause")  # fmt: skip
"""Columns of the table of all methods and quantities."""

WORDS = {"trust": "Trust", "stretch": "Stretch", "do_not_trust": "Do not trust here",
         "unknown": "Cannot tell"}  # fmt: skip


KINDS = {"config_type": "config type", "magnitude": "predicted force"}
GROUPS = {("domain", "in"): "in distribution", ("domain", "out"): "out of distribution"}
"""What kinds of groups, and groups, are called where their names alone say too little."""


def headline(verdict: dict[str, Any]) -> str:
    """A verdict in its few words: "Stretch by 1.8"."""
    if verdict["kind"] != "stretch":
        return WORDS[verdict["kind"]]
    factor = verdict["stretch"]
    return f"Stretch by {sig(factor, 2)}" if factor >= 1 else f"Shrink to {sig(factor, 2)}"


def method_headline(method: dict[str, Any]) -> str:
    """That of a method: a factor is told for what it is a factor of."""
    verdict = method["verdict"]
    if verdict["kind"] == "trust":
        return _trusted(method["quantities"])
    if verdict["kind"] != "stretch":
        return headline(verdict)
    parts = [q for q in method["quantities"] if q["verdict"]["kind"] == "stretch"]
    factors = [q["verdict"]["stretch"] for q in parts]
    alike = max(factors) <= 1.4 * min(factors)
    trusted = any(q["verdict"]["kind"] == "trust" for q in method["quantities"])
    if alike and not trusted:
        return headline(verdict)
    if alike and len(parts) <= 2:
        word, _, rest = headline(verdict).partition(" ")
        return f"{word} {' and '.join(q['label'] for q in parts)} {rest}"
    return "Stretch each quantity by its own factor"


def _trusted(quantities: list[dict[str, Any]]) -> str:
    """ "Trust" of all; where numbers were too few for some, what it is of."""
    found = [q["label"] for q in quantities if q["verdict"]["kind"] == "trust"]
    if len(found) == len(quantities):
        return "Trust"
    return f"Trust {' and '.join(found)}" if len(found) <= 2 else "Trust in part"


def names(assessment: dict[str, Any]) -> list[str]:
    """Quantities of all methods, in the order of the first that has them."""
    return list(dict.fromkeys(q["name"] for m in assessment["methods"] for q in m["quantities"]))


def entries(assessment: dict[str, Any], name: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Place and name of each method that has a quantity, and its entry."""
    return [
        (i, m["name"], q)
        for i, m in enumerate(assessment["methods"])
        for q in m["quantities"]
        if q["name"] == name
    ]


def groups(quantity: dict[str, Any], kind: str) -> list[tuple[str, dict[str, Any]]]:
    """Groups of a kind: sizes in their order, others by name."""
    found = quantity.get("groups", {}).get(kind, {})
    rank = {"below": 0, "above": 2}
    return sorted(
        found.items(),
        key=lambda item: (rank.get(item[0].split()[0], 1) if kind == "magnitude" else 0, item[0]),
    )


def shown_unit(assessment: dict[str, Any], name: str) -> tuple[float, str]:
    """Factor and name of the unit in which a quantity's numbers are shown: meV, meV/Å, GPa."""
    found = [q for _, _, q in entries(assessment, name)]
    unit = found[0]["unit"].replace("Angstrom", "A").replace("A^3", "Å³").replace("/A", "/Å")
    if unit == "eV/Å³":
        return 1 / GPA, "GPa"
    errors = [q["metrics"].get("rmse", {}).get("value") for q in found]
    if unit.startswith("eV") and max((e for e in errors if e is not None), default=0.0) < 1:
        return 1000.0, f"m{unit}"
    return 1.0, unit


def number(metric: str, value: float | None, factor: float) -> str:
    """One number of a metric: fractions inside intervals in percent, others in the shown unit."""
    if value is None:
        return "–"
    if metric.startswith("coverage"):
        return f"{100 * value:.1f} %" if 0.9 < value < 1 else f"{100 * value:.0f} %"
    return sig(value * factor if metric in WITH_UNIT else value)


def interval(metric: str, made: dict[str, Any], factor: float) -> str:
    """The bootstrap interval of a metric: "1.2 to 1.5", or nothing."""
    if made.get("low") is None or made.get("high") is None:
        return ""
    low, high = (number(metric, made[end], factor) for end in ("low", "high"))
    return f"{low.removesuffix(' %')} to {high}"


def recalibration(method: dict[str, Any]) -> str:
    """Whether, and how, a method's uncertainties were recalibrated."""
    made = method["recalibration"]
    if made is None:
        return "not recalibrated"
    factors = [
        f"{name} × {sig(m['factor'], 3)}"
        + (f", by {m['by']} {_factors(m)}" if m["factors"] else "")
        for name, m in made.get("maps", {}).items()
        if m["kind"] == "scale"
    ]
    told = f"recalibrated: {made['text'].rstrip('.')}"
    return f"{told} ({'; '.join(factors)})" if factors else told


def _factors(scale: dict[str, Any]) -> str:
    return ", ".join(f"{group} {sig(x, 3)}" for group, x in scale["factors"].items())


def summary(assessment: dict[str, Any]) -> list[str]:
    """Lines for a terminal, the verdict first."""
    lines = []
    for method in assessment["methods"]:
        lines.append(f"{method_headline(method)} - {method['name']}")
        lines.append(f"  {method['verdict']['sentence']}")
        lines += [f"  - {reason}" for reason in method["verdict"]["reasons"]]
        lines.append(f"  {method['members']} members, {recalibration(method)}")
    for name in names(assessment):
        factor, unit = shown_unit(assessment, name)
        found = entries(assessment, name)
        lines.append("")
        head = f"{found[0][2]['label']} ({unit})"
        width = max(30, len(head) + 1, *(len(n) + 3 for _, n, _ in found))
        lines.append(columns(head, "RMSE", "in 68 %", "in 95 %", "rms z", "verdict", width=width))
        for _, method, q in found:
            get = {k: q["metrics"].get(k, {}).get("value") for k in OVERVIEW}
            z = get["mean_squared_z"]
            cells = [number(k, get[k], factor) for k in ("rmse", "coverage_68", "coverage_95")]
            cells += [sig(None if z is None else z**0.5, 2), _short(q["verdict"])]
            lines.append(columns(f"  {method}", *cells, width=width))
    if assessment["next"]:
        lines += ["", "Next", *(f"  - {sentence}" for sentence in assessment["next"])]
    return lines


def _short(verdict: dict[str, Any]) -> str:
    words = {"trust": "trust", "do_not_trust": "do not trust", "unknown": "unknown"}
    return words.get(verdict["kind"]) or f"x {sig(verdict['stretch'], 2)}"


def markdown(assessment: dict[str, Any]) -> str:
    """The whole assessment for a text file, a pull request or a notebook."""
    return "\n".join(_markdown(assessment)) + "\n"


def _markdown(assessment: dict[str, Any]) -> Iterator[str]:
    data = assessment["data"]
    yield f"# {assessment['title']}"
    yield ""
    yield f"{data['frames']} frames of `{data['file']}`, seed {assessment['seed']}."
    for method in assessment["methods"]:
        yield ""
        yield f"## {method_headline(method)}: {method['name']}"
        yield ""
        yield f"{method['verdict']['sentence']}"
        yield ""
        for reason in method["verdict"]["reasons"]:
            yield f"- {reason}"
        yield f"- {method['members']} members, {recalibration(method)}"
    if assessment["next"]:
        yield from ("", "## What to do next", "")
        yield from (f"- {sentence}" for sentence in assessment["next"])
    several = len(assessment["methods"]) > 1
    for name in names(assessment):
        found = entries(assessment, name)
        factor, unit = shown_unit(assessment, name)
        heads = [method if several else "value" for _, method, _ in found]
        yield from ("", f"## {found[0][2]['label']} ({unit})", "")
        for _, method, q in found:
            start = f"{method}: " if several else ""
            yield f"- {start}**{headline(q['verdict'])}.** {q['verdict']['sentence']}"
        yield from ("", f"| metric | {' | '.join(heads)} | best | how to read it |")
        yield "|---" * (len(heads) + 3) + "|"
        for metric in metrics(assessment, name):
            reading = assessment["reading"][metric]
            cells = [_cell(metric, q["metrics"].get(metric), factor) for _, _, q in found]
            yield (
                f"| {reading['label']} | {' | '.join(cells)} | {reading['best']} |"
                f" {reading['sentence']} |"
            )
        yield from _group_lines(found, factor)
    yield from ("", "Intervals in brackets: bootstrap over whole frames, 95 %.")


def _cell(metric: str, made: dict[str, Any] | None, factor: float) -> str:
    if made is None:
        return "–"
    about = interval(metric, made, factor)
    return number(metric, made["value"], factor) + (f" ({about})" if about else "")


def _group_lines(found: list[tuple[int, str, dict[str, Any]]], factor: float) -> Iterator[str]:
    rows = [
        f"| {method} | {KINDS.get(kind, kind)} | {GROUPS.get((kind, group), group)} |"
        f" {made['count']} | {_cell('rmse', made['metrics'].get('rmse'), factor)} |"
        f" {_cell('coverage_95', made['metrics'].get('coverage_95'), factor)} |"
        f" {headline(made['verdict'])} |"
        for _, method, q in found
        for kind in q.get("groups", {})
        for group, made in groups(q, kind)
    ]
    if rows:
        yield from ("", "| method | group by | group | numbers | RMSE | in 95 % | verdict |")
        yield "|---|---|---|---|---|---|---|"
        yield from rows


def metrics(assessment: dict[str, Any], name: str) -> list[str]:
    """Metrics that some method has of a quantity, in the order in which they are explained."""
    found = {metric for _, _, q in entries(assessment, name) for metric in q["metrics"]}
    return [metric for metric in assessment["reading"] if metric in found]
