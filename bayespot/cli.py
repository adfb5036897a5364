"""Command line: ``bayespot run | simulate | fit | learn | calibrate | predict``, and a few more.

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

from bayespot.cli_calibrate import calibrate
from bayespot.cli_guard import Debug, guard
from bayespot.cli_predict import predict
from bayespot.errors import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Credible intervals for simulations with machine-learned potentials.",
)
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


@app.command()
def fit(
    config: ConfigFile, output: Output = None, fresh: Fresh = False, debug: Debug = False
) -> None:
    """Train potentials on labels, on observables, or on configurations ([trainer] says which).

    A killed or finished fit continues where it stopped.
    Its members serve others as draws: [sampler] method = "fit".
    """

    def done(made: dict, folder: Path, seconds: float) -> None:  # type: ignore[type-arg]
        from bayespot.report.fit_table import lines

        for line in lines(made):
            typer.echo(line)
        typer.echo(f"\n{folder / 'fit.json'}  ({seconds:.0f} s in all)")

    _job("fit", config, output, fresh, debug, done)


@app.command()
def learn(
    config: ConfigFile, output: Output = None, fresh: Fresh = False, debug: Debug = False
) -> None:
    """Label where it narrows the intervals of observables, round after round, until it is enough.

    A killed or finished one continues where it stopped.
    Its directory ends as that of "bayespot run", with learn.md and all labelled frames besides.
    """

    def done(made: dict, folder: Path, seconds: float) -> None:  # type: ignore[type-arg]
        from bayespot.report.learning import lines

        for line in lines(made):
            typer.echo(line)
        typer.echo(f"\n{folder / 'learn.md'}  ({seconds:.0f} s in all)")

    _job("learn", config, output, fresh, debug, done)


app.command()(calibrate)
app.command()(predict)


def _job(
    name: str,
    config: Path,
    output: Path | None,
    fresh: bool,
    debug: bool,
    done: Callable[[dict, Path, float], None],  # type: ignore[type-arg]
) -> None:
    """Do ``pipeline.NAME``, a fit, or learning, in a run directory with its log."""
    started = time.perf_counter()

    def work() -> None:
        from bayespot.config import load, load_fit, load_learn

        settings = {"fit": load_fit, "learn": load_learn}.get(name, load)(config)
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
            from bayespot.progress import Progress

            if name == "fit":
                from bayespot import training as does
            elif name == "learn":
                from bayespot import learning as does
            else:
                from bayespot import pipeline as does
            made = getattr(does, name)(settings, folder, Progress())
        except Exception as error:
            log.error("%s: %s", type(error).__name__, error)
            raise
        finally:
            log.removeHandler(handler)
            handler.close()
        done(made, folder, time.perf_counter() - started)

    guard(work, debug)


@app.command()
def validate(config: ConfigFile, debug: Debug = False) -> None:
    """Check a configuration and its data without running anything."""

    def work() -> None:
        from bayespot.config import learns, load, load_learn, trains

        if trains(config):
            _validate_fit(config)
            return
        from bayespot import build, calculators

        if learns(config):
            settings = load_learn(config)
            calculators.named(settings.learn.calculator)
        else:
            settings = load(config)
        frames = build.read_splits(settings.data, settings.run.seed)
        starts = build.simulated(settings.md, frames["train"])
        made = build.observables(settings, starts)
        potential = build.potential(settings.potential, frames["train"])
        splits = build.datasets(frames, potential.cutoff)
        if settings.sampler.fit is not None:
            import jax

            from bayespot.run_folder import fitted

            posterior = build.posterior(settings.posterior, potential, splits.train)
            like = jax.eval_shape(posterior.init, jax.random.key(0))
            fitted(settings.sampler.fit, like, potential, splits.shift)
        build.stability(settings.md, starts)
        build.md(settings.md)
        build.reference(settings.reference, made)
        sizes = ", ".join(f"{len(part)} {name}" for name, part in frames.items())
        typer.echo(f"{config} is valid: {sizes} frames, {len(made)} observables")

    guard(work, debug)


def _validate_fit(config: Path) -> None:
    import jax

    from bayespot import build
    from bayespot.config import load_fit

    settings = load_fit(config)
    with jax.enable_x64(settings.run.precision == "float64"):
        made = build.read_input(settings)
        build.trainer(settings, made, jax.random.key(0))
    told = []
    if made.splits is not None:
        sizes = zip(("train", "validation", "test"), made.splits[:3], strict=True)
        told.append(", ".join(f"{len(part)} {name}" for name, part in sizes) + " frames")
    if made.reference:
        told.append(f"{sum(map(len, made.reference))} reference configurations")
    if made.targets:
        told.append(f"{len(made.targets)} targets")
    typer.echo(f"{config} is valid: {', '.join(told)}")


@app.command()
def template(
    fit: Annotated[bool, typer.Option("--fit", help="For bayespot fit.")] = False,
    learn: Annotated[bool, typer.Option("--learn", help="For bayespot learn.")] = False,
) -> None:
    """Print a commented configuration to start from."""
    if fit and learn:
        raise typer.BadParameter("Give one of --fit and --learn.")
    name = f"template{'_fit' if fit else '_learn' if learn else ''}.toml"
    typer.echo(files("bayespot").joinpath(name).read_text(encoding="utf-8"), nl=False)


def _summary(report: dict) -> None:  # type: ignore[type-arg]
    from bayespot.report.table import columns
    from bayespot.report.table import significant as sig

    def line(*cells: str) -> None:
        typer.echo(columns(*cells))

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
    from bayespot.report.table import table, ways_table

    typer.echo("\n" + "\n".join(table(report["observables"])))
    sentence = report["recalibration"]["sentence"]
    typer.echo(f"\n{sentence[0].upper()}{sentence[1:]}")
    if report.get("ways"):
        typer.echo("\n" + "\n".join(ways_table(report["ways"])))


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="bayespot")


if __name__ == "__main__":
    sys.exit(main())
