"""``bayespot predict``: structures with energies, forces, and how certain they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayespot.cli_guard import Debug, guard

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN", help='Directory of a finished "bayespot run" or "fit".', show_default=False
    ),
]
Structures = Annotated[
    Path, typer.Argument(help="extxyz, or what else ASE reads.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", "--output", "-o", help="extxyz to write.")]
ModelDevi = Annotated[
    Path | None, typer.Option(help="Write model deviations as DeePMD-kit does, for DP-GEN.")
]
Chemiscope = Annotated[
    Path | None,
    typer.Option(help="Write a chemiscope page (.html), or its data (.json, .json.gz)."),
]
Members = Annotated[int | None, typer.Option(min=1, help="At most so many members.")]
Noise = Annotated[
    bool, typer.Option("--noise", help="Uncertainties of labels: with the noise that was learned.")
]
Plain = Annotated[
    bool, typer.Option("--plain", help="Do not stretch uncertainties as a calibration said.")
]
Short = Annotated[bool, typer.Option("--no-ensembles", help="Leave out what each member says.")]


def predict(
    run: Folder,
    structures: Structures,
    out: Out = Path("predicted.extxyz"),
    model_devi: ModelDevi = None,
    chemiscope: Chemiscope = None,
    members: Members = None,
    noise: Noise = False,
    plain: Plain = False,
    no_ensembles: Short = False,
    debug: Debug = False,
) -> None:
    """Predict structures of a file, with uncertainties and what each member says."""

    def work() -> None:
        from bayespot.export.predicting import predict_file

        lines = predict_file(
            run, structures, out,
            model_devi=model_devi, page=chemiscope, members=members,
            noise=noise, recalibrate=not plain, ensembles=not no_ensembles,
        )  # fmt: skip
        for line in lines:
            typer.echo(line)

    guard(work, debug)
