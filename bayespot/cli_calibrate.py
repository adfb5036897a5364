"""``bayespot calibrate``: can a committee's uncertainties be trusted, or stretched by how much?"""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bayespot.cli_guard import Debug, guard
from bayespot.errors import UserError

if TYPE_CHECKING:
    from bayespot.assessment import Assessed

SOURCES = """Run directories of "bayespot run" or "fit"; npz or extxyz files with energy_ensemble
and forces_ensemble; ASE calculators as module:callable?key=value,... or as a Python file that
defines calculators. Several are compared side by side."""

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE...", help=SOURCES, show_default=False)
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Labelled test frames.", show_default=False)
]
RecalibrateOn = Annotated[
    Path | None,
    typer.Option(help="Labelled frames, none of the test frames, to fit a recalibration on."),
]
Fraction = Annotated[
    float | None,
    typer.Option(help="Or: recalibrate on this fraction of --data, test on the rest."),
]
Method = Annotated[
    str, typer.Option(help="Recalibrate by nll or crps (a factor), or isotonic (a curve).")
]
Per = Annotated[
    str | None, typer.Option(help="A factor for each element or config_type.", show_default="all")
]
ConformalToo = Annotated[
    bool, typer.Option("--conformal", help="Fit intervals with a guarantee as well.")
]
OodTypes = Annotated[
    str | None,
    typer.Option(help="Values of config_type (A,B) that are out of distribution."),
]
Ood = Annotated[Path | None, typer.Option(help="Labelled frames out of distribution.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "--output", "-o", help="Directory of the page; by default that of a single run."
    ),
]
Name = Annotated[
    list[str] | None, typer.Option(help="Name of a source in tables, one for each, in order.")
]
LabelKey = Annotated[str | None, typer.Option(help="Name of the label in the files.")]
Seed = Annotated[int, typer.Option(help="Of the bootstrap, and of --fraction.")]
Undo = Annotated[bool, typer.Option("--undo", help="Forget the recalibration that is stored.")]


def calibrate(
    sources: Sources,
    data: Data = None,
    recalibrate_on: RecalibrateOn = None,
    fraction: Fraction = None,
    method: Method = "nll",
    per: Per = None,
    conformal: ConformalToo = False,
    ood_types: OodTypes = None,
    ood: Ood = None,
    out: Out = None,
    name: Name = None,
    energy_key: LabelKey = None,
    forces_key: LabelKey = None,
    seed: Seed = 0,
    undo: Undo = False,
    debug: Debug = False,
) -> None:
    """Judge the uncertainties of committees on labelled frames: a page, its JSON and Markdown.

    With --recalibrate-on or --fraction the standard deviations are recalibrated as well.
    For a run directory this is stored there and used by all who load it, until --undo.
    """
    options = _Options(
        tuple(sources), data, recalibrate_on, fraction, method, per, conformal,
        tuple(filter(None, map(str.strip, (ood_types or "").split(",")))), ood, out,
        tuple(name or ()),
        {k: (v,) for k, v in (("energy", energy_key), ("forces", forces_key)) if v}, seed, undo,
    )  # fmt: skip
    guard(lambda: _work(options), debug)


@dataclasses.dataclass(frozen=True)
class _Options:
    sources: tuple[str, ...]
    data: Path | None
    recalibrate_on: Path | None
    fraction: float | None
    method: str
    per: str | None
    conformal: bool
    ood_types: tuple[str, ...]
    ood: Path | None
    out: Path | None
    names: tuple[str, ...]
    keys: dict[str, tuple[str, ...]]
    seed: int
    undo: bool


def _work(options: _Options) -> None:
    started = time.perf_counter()
    _check(options)
    if options.undo:
        _forget(options.sources)
    data = options.data
    if data is None:
        return
    from bayespot import assessment as a
    from bayespot.data import Keys
    from bayespot.report import calibration_page, calibration_text

    found = [a.open_source(text, data) for text in options.sources]
    if options.names:
        found = [source.named(n) for source, n in zip(found, options.names, strict=True)]
    sources = a.distinct(found)
    folder = (
        options.out
        or (sources[0].folder if len(sources) == 1 else None)
        or Path("runs/calibration")
    )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", "Give a directory with --out")
    try:
        chosen = a.read_frames(
            data,
            recalibrate_on=options.recalibrate_on,
            fraction=options.fraction,
            ood_types=options.ood_types,
            ood=options.ood,
            seed=options.seed,
            keys=Keys(**options.keys),
        )
    except UserError as error:
        raise UserError(error.problem, _without_sections(error.fix)) from error
    a.check_unseen(sources, chosen)
    _make(folder)
    made = a.assess(
        sources, chosen, method=options.method, per=options.per, conformal=options.conformal,
        seed=options.seed, report=_progress(),
    )  # fmt: skip
    _advise(made)
    calibration_page.write(folder, made.content)
    for line in calibration_text.summary(made.content):
        typer.echo(line)
    typer.echo("")
    for line in a.store(sources, made, folder):
        typer.echo(line)
    seconds = time.perf_counter() - started
    typer.echo(f"{folder / 'calibration.html'}  ({seconds:.0f} s in all)")


def _make(folder: Path) -> None:
    """Before the work that would be lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror})", "Give a directory with --out"
        ) from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"nothing can be written to {folder}", "Give a directory with --out")


def _without_sections(fix: str) -> str:
    """Advice of readers in terms of this command, which has no configuration."""
    key = re.match(r"Name the key: set (energy|forces)_key in \[data\]", fix)
    if key:
        return f"Name the key: --{key[1]}-key my_{key[1]}"
    return fix.replace(" in [data]", "")


def _advise(made: Assessed) -> None:
    """How to learn the factors, where that would help and was not done."""
    kinds = {m["verdict"]["kind"] for m in made.content["methods"] if m["recalibration"] is None}
    if "stretch" in kinds and not made.recalibrations:
        made.content["next"].append(
            "The same command with --recalibrate-on FILE, or --fraction 0.3, learns and stores"
            " the factors."
        )


def _check(options: _Options) -> None:
    """Options that contradict one another."""
    if options.data is None and not options.undo:
        raise UserError("there are no test frames", "Give a labelled file with --data")
    if options.recalibrate_on is not None and options.fraction is not None:
        raise UserError(
            "--recalibrate-on and --fraction both choose frames to recalibrate on", "Give one"
        )
    if options.undo and (options.recalibrate_on is not None or options.fraction is not None):
        raise UserError("--undo forgets what --recalibrate-on or --fraction makes", "Give one")
    for option, value, known in (
        ("--method", options.method, ("nll", "crps", "isotonic")),
        ("--per", options.per, ("element", "config_type", None)),
    ):
        if value not in known:
            words = ", ".join(k for k in known if k)
            raise UserError(f"{option} {value} is not known", f"Give one of {words}")
    fitting = options.fraction is not None or options.recalibrate_on is not None
    if options.fraction is not None and not 0 < options.fraction < 1:
        raise UserError(
            f"--fraction {options.fraction:g} is no part of the frames",
            "Give a number between 0 and 1",
        )
    if not fitting and (options.method != "nll" or options.per or options.conformal):
        raise UserError(
            "--method, --per and --conformal say how to recalibrate, and there is nothing to"
            " recalibrate on",
            "Give --recalibrate-on or --fraction as well",
        )
    if options.method == "isotonic" and options.per:
        raise UserError("an isotonic curve is of all numbers together", "Leave --per out")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed} is negative", "Give 0 or more")
    if not all(map(str.strip, options.names)):
        raise UserError("a --name is empty", "Name every source, or none")
    if options.names and len(options.names) != len(options.sources):
        raise UserError(
            f"there are {len(options.sources)} sources and {len(options.names)} names",
            "Give --name once for each",
        )


def _forget(texts: tuple[str, ...]) -> None:
    from bayespot import committee

    for text in texts:
        if not Path(text).is_dir():
            raise UserError(
                f"{text} is no run directory, and nothing is stored with it",
                "Give --undo with run directories only",
            )
        there = committee.remove_recalibration(text)
        typer.echo(f"{text}: recalibration {'removed' if there else 'was not there'}")


def _progress() -> Callable[[str, int, int], None]:
    """Tells every tenth of each source's frames where this takes a while."""
    started = time.perf_counter()
    told: dict[str, Any] = {}

    def report(name: str, done: int, total: int) -> None:
        tenth = 10 * done // total
        if time.perf_counter() - started > 2 and tenth > told.get(name, 0):
            told[name] = tenth
            typer.echo(f"  {name}: {done} of {total} frames", err=True)

    return report
