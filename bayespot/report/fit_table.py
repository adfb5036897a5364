"""The report of a fit as lines of text: errors on the labels, targets before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bayespot.report.table import rounded, significant
from bayespot.units import GPA

UNITS = {
    "energy": (1000.0, "energy (meV/atom)"),
    "forces": (1000.0, "forces (meV/Å)"),
    "stress": (1 / GPA, "stress (GPa)"),
}
"""Factor from eV and Angstrom, and heading, of each label."""


def lines(report: dict[str, Any]) -> Iterator[str]:
    """What ``bayespot fit`` prints of ``fit.json``."""
    number = report["members"]
    yield ""
    why = report["stopped"]
    if not why.endswith("updates made"):
        why = f"{report['updates']} updates: {why}"
    yield f"{number} member{'s' if number > 1 else ''}, {why}"
    for member, verdict in enumerate(report["verdicts"]):
        if verdict != "healthy":
            yield f"  member {member}: {verdict}"
    if report["trainer"] != "force_matching":
        yield ""
        yield _columns("", ["first", "last"])
        for name, values in report["course"].items():
            yield _columns(name.replace("_", " "), [significant(x, 4) for x in values])
    if "errors" in report:
        yield from _errors(report["errors"], number)
    if "targets" in report:
        yield from _targets(report["targets"])


def _errors(errors: dict[str, Any], members: int) -> Iterator[str]:
    kinds = [name for name in UNITS if any(name in made for made in errors.values())]
    yield ""
    yield "RMSE" + (" (a member on average | the mean of all)" if members > 1 else "")
    yield _columns("", [UNITS[name][1] for name in kinds])
    for split, made in errors.items():
        yield _columns(split, [_error(made.get(name), UNITS[name][0], members) for name in kinds])


def _error(found: dict[str, Any] | None, factor: float, members: int) -> str:
    if found is None:
        return "-"
    each = significant(factor * sum(found["rmse"]) / members)
    return f"{each} | {significant(factor * found['rmse_of_mean'])}" if members > 1 else each


def _targets(rows: list[dict[str, Any]]) -> Iterator[str]:
    several = len({(row["temperature"], row["pressure"]) for row in rows}) > 1
    yield ""
    yield "Targets (± standard errors; of curves the root mean square deviation)"
    yield _columns("", ["target", "before", "after"])
    for row in rows:
        label = f"{row['title']} ({row['unit']})" if row["unit"] else row["title"]
        if several:
            label += f", {row['temperature']:g} K"
            label += "" if row["pressure"] is None else f", {row['pressure']:g} GPa"
        curve = isinstance(row["target"], list)
        wanted = "(curve)" if curve else _pair(row["target"], row["error"])
        yield _columns(label, [wanted, *(_reached(row, name) for name in ("before", "after"))])


def _pair(value: float, error: float) -> str:
    return f"{rounded(value, error)} ± {significant(error, 2)}"


def _reached(row: dict[str, Any], name: str) -> str:
    """Mean over members of what they gave; the root mean square over members for curves."""
    if row[name] is None:
        return "unstable"
    values, errors = row[name]
    if not isinstance(row["target"], list):
        return _pair(sum(values) / len(values), sum(e**2 for e in errors) ** 0.5 / len(errors))
    target = list(_flat(row["target"]))
    gaps = [x - y for one in values for x, y in zip(_flat(one), target, strict=True)]
    return significant((sum(gap**2 for gap in gaps) / len(gaps)) ** 0.5)


def _flat(values: list[Any]) -> Iterator[float]:
    for value in values:
        yield from _flat(value) if isinstance(value, list) else (value,)


def _columns(label: str, cells: list[str]) -> str:
    return (f"  {label:34s}" + "".join(f"{cell:>20s}" for cell in cells)).rstrip()
