"""Command line: ``bayespot run | validate | template | --version``.

Heavy imports happen inside the commands, so that help and mistakes answer at once.
"""

from __future__ import annotations

import logging
import shutil
import sys
import time
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


@app.command()
def run(
    config: ConfigFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Run directory; by default runs/NAME-OF-CONFIG."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Empty the run directory first.")] = False,
    debug: Debug = False,
) -> None:
    """Data to credible intervals; a killed or finished run continues where it stopped."""
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

            report = pipeline.run(settings, folder, Progress())
        except Exception as error:
            log.error("%s: %s", type(error).__name__, error)
            raise
        finally:
            log.removeHandler(handler)
            handler.close()
        _summary(report)
        typer.echo(f"\n{folder / 'report.html'}  ({time.perf_counter() - started:.0f} s in all)")

    _guard(work, debug)


@app.command()
def validate(config: ConfigFile, debug: Debug = False) -> None:
    """Check a configuration and its data without running anything."""

    def work() -> None:
        from bayespot import build
        from bayespot.config import load

        settings = load(config)
        frames = build.read_splits(settings.data, settings.run.seed)
        made = build.observables(settings, frames["train"])
        potential = build.potential(settings.potential, frames["train"])
        build.datasets(frames, potential.cutoff)
        build.stability(settings.md, frames["train"])
        build.md(settings.md)
        build.reference(settings.reference, made)
        sizes = ", ".join(f"{len(part)} {name}" for name, part in frames.items())
        typer.echo(f"{config} is valid: {sizes} frames, {len(made)} observables")

    _guard(work, debug)


@app.command()
def template() -> None:
    """Print a commented configuration to start from."""
    typer.echo(files("bayespot").joinpath("template.toml").read_text(encoding="utf-8"), nl=False)


def _summary(report: dict) -> None:  # type: ignore[type-arg]
    from bayespot.report.page import rounded as near
    from bayespot.report.page import significant as sig

    def line(*cells: str) -> None:
        typer.echo(f"  {cells[0]:30s}" + "".join(f"{c:>14s}" for c in cells[1:]))

    typer.echo("\nTest set")
    line("", "RMSE", "in 68 %", "in 95 %", "miscal. area")
    for name, c in report["calibration"].items():
        unit = "meV" if name == "energy" else "meV/Å"
        inside = [f"{100 * c['coverage'][k]:.0f} %" for k in ("0.68", "0.95")]
        area = sig(c["miscalibration_area"], 2)
        line(f"{name} ({unit})", sig(1000 * c["rmse"]), *inside, area)
    typer.echo("Observables")
    line("", "mean", "95 % ±", "parameter", "MD of mean", "ref. in 95 %")
    for o in report["observables"].values():
        inside = f"{100 * o['coverage']['inside95']:.0f} %" if "coverage" in o else "-"
        if "axis" in o:
            width = f"{100 * o['coverage']['relative_width95']:.0f} %" if "coverage" in o else "-"
            line(o["title"], "(curve)", width, "", "", inside)
        else:
            half = (o["high95"] - o["low95"]) / 2
            line(
                f"{o['title']} ({o['unit']})",
                near(o["mean"], o["total"]),
                *(sig(x, 2) for x in (half, o["parameter"], o["md_of_mean"])),
                inside,
            )  # fmt: skip


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
