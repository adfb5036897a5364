"""JSON and HTML of a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bayespot import files
from bayespot.report import figures
from bayespot.report.table import numbers, rounded
from bayespot.report.templates import page


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write ``report.json``, then ``report.html``; the same report gives the same bytes."""
    files.write_json(folder / "report.json", report, indent=1)
    files.write_text(folder / "report.html", render(report))


def render(report: dict[str, Any]) -> str:
    """The page as text."""
    pictures = {
        name: figures.picture(f"observable-{name}", o) for name, o in report["observables"].items()
    }
    return page(
        "report.html",
        {"near": rounded},
        **report,
        pictures=pictures,
        numbers=[n for o in report["observables"].values() for n in numbers(o)],
        reliability=figures.reliability(report["calibration"]),
        verdicts=verdicts(report),
    )


def verdicts(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What a reader should know first: (good | care | bad, sentence)."""
    made = []
    chains = report["chains"]
    lost = len(chains["verdicts"]) - chains["healthy"]
    if lost:
        made.append(
            ("care", f"{lost} of {len(chains['verdicts'])} chains diverged and are excluded")
        )
    mixing = chains.get("function_space")
    if mixing is not None:
        if not math.isfinite(mixing["rhat_median"]):
            made.append(("care", "a single chain cannot show whether it has converged"))
        elif mixing["rhat_median"] > 1.1:
            made.append(
                (
                    "care",
                    f"chains predict differently (median R̂ {mixing['rhat_median']:.2f}): they are"
                    " in different modes, so the spread rests on the number of chains"
                    f" ({chains['healthy']}), not on the number of draws",
                )
            )
        else:
            made.append(("good", f"chains agree in predictions (R̂ {mixing['rhat_median']:.2f})"))
    stability = report["stability"]
    total = stability["draws"] * stability["replicas"]
    if stability["failed_replicas"]:
        made.append(
            ("care", f"{stability['failed_replicas']} of {total} trajectories became unstable")
        )
    else:
        made.append(("good", f"all {total} trajectories stayed stable"))
    for name, rows in (report.get("ways") or {"observables": {}})["observables"].items():
        against = [w for w, row in rows.items() if row.get("agree") is False]
        if against:
            names = " and ".join(report["ways"]["names"][w] for w in against)
            made.append(("care", f"{report['observables'][name]['title']}: {names} disagree with"
                         " every draw simulated"))  # fmt: skip
    if stability.get("restarted"):
        made.append(("care", f"{stability['restarted']} trajectories that broke were begun again"))
    for name, c in report["calibration"].items():
        ratio = c["mean_squared_z"] ** 0.5
        if 0.8 <= ratio <= 1.25:
            made.append(("good", f"{name} errors are as large as predicted (ratio {ratio:.2f})"))
        else:
            word = "larger" if ratio > 1 else "smaller"
            made.append(
                ("care", f"{name} errors are {word} than predicted: stretch by {ratio:.2f}")
            )
    known = report["recalibration"]
    made.append(("good" if known["factor"] is not None else "care", known["sentence"]))
    for o in report["observables"].values():
        if "coverage" in o:
            c = o["coverage"]
            inside, bins = c["inside95"], "values" if "components" in o else "bins"
            made.append(
                (
                    "good" if inside >= 0.9 else "bad",
                    f"{o['title']}: 95 % interval holds the reference"
                    + (f" in {100 * inside:.0f} % of {c['points']} {bins}" if "axis" in o else "")
                    if inside >= 0.9 or "axis" in o
                    else f"{o['title']}: the reference lies outside the 95 % interval",
                )
            )
    return made
