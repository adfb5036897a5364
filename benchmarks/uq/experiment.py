"""The command line, and the parts in turn."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import perform, write_table
from benchmarks.uq import dft_table, figures, store, tally

PARTS = ("coverage", "dft", "route", "bands")
USUAL = PARTS[:3]  # bands take ten minutes more
PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def run(part: str, given: argparse.Namespace) -> Callable[[Any, Path], dict]:
    """What ``common.perform`` wants of a part."""

    def coverage(setting: Any, out: Path) -> dict:
        from benchmarks.uq import coverage

        made = coverage.run(
            setting, given.parts, given.sets, tuple(given.method), given.workers,
            tuple(given.cases),
        )  # fmt: skip
        made["figures"] = [figures.coverage(case, out) for case in made["cases"]]
        return made

    def dft(setting: Any, out: Path) -> dict:
        from benchmarks.uq import dft

        made = dft.run(setting, given.parts, given.workers, tuple(given.cases))
        made["figures"] = figures.dft(made, out, name_of(part, given))
        return made

    def bands(setting: Any, out: Path) -> dict:
        from benchmarks.uq import bands, bands_figure

        made = bands.run(setting, given.parts, given.sets, given.workers)
        made["figures"] = [bands_figure.draw(made, out)]
        return made

    def route(setting: Any, out: Path) -> dict:
        from benchmarks.uq import route

        made = route.run(setting, given.parts)
        made["figures"] = figures.route(made, out)
        return made

    return {"coverage": coverage, "dft": dft, "bands": bands, "route": route}[part]


def name_of(part: str, given: argparse.Namespace) -> str:
    """Of the results' files."""
    return "_".join(("uq", part, *(given.cases if part in ("coverage", "dft") else ())))


def table(result: dict) -> str:
    """Of any part, by what it holds."""
    part = result["experiment"].split("_")[1]
    if part == "coverage":
        return "\n\n".join(tally.tables(case) for case in result["cases"])
    if part == "dft":
        return dft_table.table(result)
    if part == "bands":
        from benchmarks.uq import bands_table

        return bands_table.table(result)
    from benchmarks.uq import route

    return route.table(result)


def main() -> None:
    """``python -m benchmarks.uq``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.uq")
    parser.add_argument("--setting", choices=("quick", "full"), default="quick")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=USUAL, metavar="PART")
    parser.add_argument(
        "--method", action="append", default=[], metavar="MODULE:CALLABLE",
        help="a method of yours, beside the package's (may be given several times)",
    )  # fmt: skip
    parser.add_argument(
        "--cases", nargs="+", default=(), metavar="NAME",
        help="of dft, or how names of coverage's begin",
    )  # fmt: skip
    parser.add_argument("--sets", type=int, help="training sets, in place of the setting's")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--parts", type=Path, default=store.PARTS, help="where parts are kept")
    parser.add_argument("--page", action="store_true", help=f"rewrite the tables of {PAGE.name}")
    given = parser.parse_args()
    sys.path.insert(0, os.getcwd())  # a method of one's own lies there
    for part in PARTS:
        if part not in given.only:
            continue
        name = name_of(part, given)
        result = perform(name, run(part, given), given.setting, given.out)
        print(table(result))
        print(f"\n{result['wall_seconds']:.0f} s; figures and {name}.json in {given.out}\n")
        if given.page:
            write_table(PAGE, name, table(result))
