"""Targets of training, inline or from files of columns."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bayespot import config as cfg
from bayespot.build.measurement import observable
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.md import RDFDeviation
from bayespot.observables import RDF, MeanEnergy, Observable
from bayespot.trainers import Target

CONSTANT = ("density", "lattice_constant")
"""Kinds that parameters can change at constant pressure alone."""


def targets(
    config: cfg.FitConfig, frames: list[Frame], molecule: tuple[int, ...] | None = None
) -> tuple[Target, ...]:
    """One object for each ``[[targets]]``.

    Args:
        config: the whole.
        frames: what is simulated.
        molecule: its atoms, if targets are of one.

    Raises:
        UserError: an observable that cannot be had from kept frames, or values that do not fit it.
    """
    if config.md is None:
        return ()
    made: dict[str, Observable] = {}
    found = []
    atoms = frames[0].atoms if molecule is None else frames[0].atoms[list(molecule)]
    for section in config.targets:
        _, pressure = config.md.points[section.point]
        new = observable(section.observable, atoms, config.md, pressure)
        name = new.name
        if made.setdefault(name, new) != new:
            raise UserError(
                f"target {name} is another observable at state point {section.point}",
                "Give its observable a name of its own",
            )
        if new.window:
            raise UserError(
                f"target {name} looks back in time, and kept frames have no past", "Remove it"
            )
        if section.observable.kind in CONSTANT and config.md.ensemble != "npt":
            raise UserError(
                f"target {name} is that of the cell, which never changes at constant volume",
                'Use ensemble = "npt" in [md], or a target such as the pressure',
            )
        if isinstance(new, MeanEnergy) and config.data is not None:
            raise UserError(
                f"target {name} is an energy, whose zero comes from the labels of [data]",
                "Remove it, or train without [data]",
            )
        found.append(_target(section, made[name]))
    return tuple(found)


def structure(config: cfg.FitConfig, frames: list[Frame]) -> tuple[RDFDeviation, ...]:
    """One criterion of stability for each ``[[trainer.structure]]``.

    Raises:
        UserError: an observable that the simulation cannot give, or a curve that does not fit it.
    """
    part = config.part(cfg.StABlEPart)
    if part is None:
        return ()
    made = []
    for section in part.structure:
        assert config.md is not None
        rdf = observable(section.observable, frames[0].atoms, config.md, 0.0)
        assert isinstance(rdf, RDF)
        if section.blocks > part.rewind:
            raise UserError(
                f"structure {rdf.name} is averaged over blocks = {section.blocks} simulations, and"
                f" an update has rewind = {part.rewind}",
                "Raise rewind, or lower blocks",
            )
        value = np.asarray(section.value, float)
        if section.file is not None:
            value = _from_file(section.file, rdf, "structure")[0]
        if value.shape != rdf.shape:
            raise UserError(
                f"structure {rdf.name} has {value.size} values, and the observable {rdf.bins}",
                "Give a value for each bin, or a file of columns",
            )
        made.append(RDFDeviation(rdf, value, section.threshold, section.blocks))
    names = [c.observable.name for c in made]
    double = sorted({n for n in names if names.count(n) > 1})
    if double:
        raise UserError(f"two of structure are called {double[0]}", "Give each observable a name")
    return tuple(made)


def _target(section: cfg.TargetConfig, observable: Observable) -> Target:
    value, error = section.value, section.error
    if section.file is not None:
        value, found = _from_file(section.file, observable)
        error = found if error is None else error
    assert value is not None
    one = 1.0 if error is None else error
    shape = observable.shape
    size = int(np.prod(shape))
    if np.size(value) != size or (shape and not np.ndim(value)) or np.size(one) not in (1, size):
        raise UserError(
            f"target {observable.name} has {np.size(value)} values and {np.size(one)} errors, and"
            f" the observable has {size}",
            "Give a value for each, or a file of columns; one error, or one for each",
        )
    return Target(
        observable,
        np.reshape(value, shape),
        np.reshape(one, shape if np.size(one) == size else ()),
        section.weight,
        section.point,
    )


def _from_file(path: Path, observable: Observable, what: str = "target") -> tuple[Any, Any]:
    """Value and error (None without such a column) at the observable's bins."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", f"Check file in {what} {observable.name}")
    fix = "Give axis, value and perhaps error; of a number value and perhaps error; # comments"
    try:
        with warnings.catch_warnings():  # of empty files, which are refused below
            warnings.simplefilter("ignore", UserWarning)
            table = np.loadtxt(path, ndmin=2, delimiter="," if path.suffix == ".csv" else None)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is no table of numbers ({error})", fix) from error
    axis = observable.axis
    if len(observable.shape) > 1:
        raise UserError(
            f"{what} {observable.name} is no curve, and {path} has columns of one", "Give value"
        )
    least = 1 if axis is None else 2
    rows_fit = len(table) == 1 if axis is None else len(table) > 1
    if not rows_fit or table.shape[1] not in (least, least + 1) or not np.isfinite(table).all():
        raise UserError(
            f"{path} has {table.shape[0]} rows of {table.shape[1]} columns, or a NaN, which is no"
            f" {what} of {observable.name}",
            fix,
        )
    if axis is None:
        return float(table[0, 0]), float(table[0, 1]) if table.shape[1] > 1 else None
    at = table[:, 0]
    if np.any(np.diff(at) <= 0):
        raise UserError(f"the first column of {path} does not increase", "Sort the rows")
    if at[0] > axis[0] + 1e-6 or at[-1] < axis[-1] - 1e-6:
        raise UserError(
            f"{path} goes from {at[0]:g} to {at[-1]:g}, and bins of {observable.name} lie at"
            f" {axis[0]:g} to {axis[-1]:g}",
            "Give more rows, or change the range of the observable",
        )
    columns = [np.interp(axis, at, column) for column in table.T[1:]]
    return columns[0], columns[1] if len(columns) > 1 else None
