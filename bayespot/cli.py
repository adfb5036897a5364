"""Command line: ``bayespot run | simulate | validate | template | --version``.

Heavy imports happen inside the commands, so that help and mistakes answer at once.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from bayespot.errors import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Credible intervals for simulations with machine-learned potentials.",
)
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ConfigFile = Annotated[Path, typer.Argument(help="Configuration (TOML).", show_default=False)]


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"bayespot {version('bayespot')}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del show_version


Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Run directory; by default runs/NAME-OF-CONFIG."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Empty the run directory first.")]


@app.command()
def run(
    config: ConfigFile, output: Output = None, fresh: Fresh = False, debug: Debug = False
) -> None:
    """Data to credible intervals; a killed or finished run continues where it stopped."""

    def done(report: dict, folder: Path, seconds: float) -> None:  # type: ignore[type-arg]
        _summary(report)
        typer.echo(f"\n{folder / 'report.html'}  ({seconds:.0f} s in all)")

    _job("run", config, output, fresh, debug, done)


@app.command()
def simulate(
    config: ConfigFile, output: Output = None, fresh: Fresh = False, debug: Debug = False
) -> None:
    """Simulate every draw and print observables with intervals.

    The posterior is sampled first, unless the run directory holds it.
    A killed or finished simulation continues where it stopped.
    "bayespot run" goes on from there: it adds the report on the test set.
    """

    def done(made: dict, folder: Path, seconds: float) -> None:  # type: ignore[type-arg]
        _stability(made["stability"])
        _observables(made)
        typer.echo(f"\n{folder / 'simulation.json'}  ({seconds:.0f} s in all)")

    _job("simulate", config, output, fresh, debug, done)


def _job(
    name: str,
    config: Path,
    output: Path | None,
    fresh: bool,
    debug: bool,
    done: Callable[[dict, Path, float], None],  # type: ignore[type-arg]
) -> None:
    """Run ``pipeline.NAME`` in a run directory with its log."""
    started = time.perf_counter()

    def work() -> None:
        from bayespot.config import load

        settings = load(config)
        folder = output or Path("runs") / config.stem
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file", "Give a directory with --output")
        if fresh and folder.exists():
            # only what is plainly a run directory is ever deleted
            # (a run that failed while reading its data has left no more than its log)
            inside = {file.name for file in folder.iterdir()}
            if inside - {"run.log"} and "fingerprint.json" not in inside:
                raise UserError(f"{folder} is no run directory", "Give another --output")
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log = logging.getLogger("bayespot")
        log.setLevel(logging.INFO)
        log.addHandler(handler)
        typer.echo(f"{settings.title} -> {folder}")
        try:
            from bayespot import pipeline
            from bayespot.progress import Progress

            made = getattr(pipeline, name)(settings, folder, Progress())
        except Exception as error:
            log.error("%s: %s", type(error).__name__, error)
            raise
        finally:
            log.removeHandler(handler)
            handler.close()
        done(made, folder, time.perf_counter() - started)

    _guard(work, debug)


@app.command()
def validate(config: ConfigFile, debug: Debug = False) -> None:
    """Check a configuration and its data without running anything."""

    def work() -> None:
        from bayespot import build
        from bayespot.config import load

        settings = load(config)
        frames = build.read_splits(settings.data, settings.run.seed)
        starts = build.simulated(settings.md, frames["train"])
        made = build.observables(settings, starts)
        potential = build.potential(settings.potential, frames["train"])
        build.datasets(frames, potential.cutoff)
        build.stability(settings.md, starts)
        build.md(settings.md)
        build.reference(settings.reference, made)
        sizes = ", ".join(f"{len(part)} {name}" for name, part in frames.items())
        typer.echo(f"{config} is valid: {sizes} frames, {len(made)} observables")

    _guard(work, debug)


@app.command()
def template() -> None:
    """Print a commented configuration to start from."""
    typer.echo(files("bayespot").joinpath("template.toml").read_text(encoding="utf-8"), nl=False)


def _line_of(*cells: str) -> None:
    typer.echo((f"  {cells[0]:30s}" + "".join(f"{c:>14s}" for c in cells[1:])).rstrip())


def _summary(report: dict) -> None:  # type: ignore[type-arg]
    from bayespot.report.page import significant as sig

    line = _line_of
    typer.echo("\nTest set")
    line("", "RMSE", "in 68 %", "in 95 %", "miscal. area")
    for name, c in report["calibration"].items():
        unit = "meV" if name == "energy" else "meV/Å"
        inside = [f"{100 * c['coverage'][k]:.0f} %" for k in ("0.68", "0.95")]
        area = sig(c["miscalibration_area"], 2)
        line(f"{name} ({unit})", sig(1000 * c["rmse"]), *inside, area)
    _observables(report)


def _stability(made: dict) -> None:  # type: ignore[type-arg]
    total = made["draws"] * made["replicas"]
    line = f"\n{made['draws']} draws, {total - made['failed_replicas']} of {total} replicas stable"
    why = [f"{reason}: {count}" for reason, count in made["reasons"].items() if count]
    if why:
        line += f" ({'; '.join(why)}; first after {made['earliest_failure_fs']:.0f} fs)"
    typer.echo(line)


def _observables(report: dict) -> None:  # type: ignore[type-arg]
    from bayespot.report.page import rounded as near
    from bayespot.report.page import significant as sig

    line = _line_of
    compared = any("coverage" in o for o in report["observables"].values())
    typer.echo("\nObservables (95 % ±: half of the interval; the rest are standard deviations)")
    more = ["ref. in 95 %"] if compared else []
    line("", "mean", "95 % ±", "parameter", "MD of mean", *more)
    for o in report["observables"].values():
        known = o.get("coverage")
        more = [f"{100 * known['inside95']:.0f} %" if known else "-"] if compared else []
        if "axis" in o:
            width = f"{100 * known['relative_width95']:.0f} %" if known else ""
            line(o["title"], "(curve)", width, "", "", *more)
            _peaks(o)
        else:
            half = (o["high95"] - o["low95"]) / 2
            line(
                f"{o['title']} ({o['unit']})",
                near(o["mean"], o["total"]),
                *(sig(x, 2) for x in (half, o["parameter"], o["md_of_mean"])),
                *more,
            )  # fmt: skip


def _peaks(o: dict, most: int = 3) -> None:  # type: ignore[type-arg]
    """The highest points of a curve, with their intervals."""
    from bayespot.report.page import rounded as near
    from bayespot.report.page import significant as sig

    mean = o["mean"]
    tops = [
        i
        for i in range(1, len(mean) - 1)
        if mean[i] >= mean[i - 1] and mean[i] > mean[i + 1] and mean[i] > 0.2 * max(mean)
    ]
    for i in sorted(sorted(tops, key=lambda i: -mean[i])[:most]):
        half = (o["high95"][i] - o["low95"][i]) / 2
        at = f"  peak at {o['axis'][i]:.4g} {o['axis_label'].split(' / ')[-1]}"
        _line_of(at, near(mean[i], o["total"][i]), sig(half, 2),
                 sig(o["parameter"][i], 2), sig(o["md_of_mean"][i], 2))  # fmt: skip


def _guard(work, debug: bool) -> None:  # type: ignore[no-untyped-def]
    """Run; a user's mistake is one sentence and the fix, exit code 2."""
    try:
        work()
    except UserError as error:
        if debug:
            raise
        typer.echo(f"Error: {_line(error)}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("\nInterrupted; the same command continues.", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if debug:
            raise
        typer.echo(
            f"Error: {type(error).__name__}: {_line(error)}. This is a bug: run again with"
            " --debug and report it.",
            err=True,
        )
        raise typer.Exit(2) from None


def _line(error: Exception) -> str:
    """Its message on one line: messages of libraries that we quote may have several."""
    return " ".join(str(error).split("\n"))


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="bayespot")


if __name__ == "__main__":
    sys.exit(main())
