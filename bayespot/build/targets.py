"""Targets of training, inline or from files of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bayespot import config as cfg
from bayespot.build.measurement import observable
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.observables import MeanEnergy, Observable
from bayespot.trainers import Target


def targets(config: cfg.FitConfig, frames: list[Frame]) -> tuple[Target, ...]:
    """One object for each ``[[targets]]``; ``frames`` are what is simulated.

    Raises:
        UserError: an observable that cannot be had from kept frames, or values that do not fit it.
    """
    if config.md is None:
        return ()
    made: dict[str, Observable] = {}
    found = []
    for section in config.targets:
        _, pressure = config.md.points[section.point]
        new = observable(section.observable, frames[0].atoms, config.md, pressure)
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
        if isinstance(new, MeanEnergy) and config.data is not None:
            raise UserError(
                f"target {name} is an energy, whose zero comes from the labels of [data]",
                "Remove it, or train without [data]",
            )
        found.append(_target(section, made[name]))
    return tuple(found)


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


def _from_file(path: Path, observable: Observable) -> tuple[Any, Any]:
    """Value and error (None without such a column) at the observable's bins."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", f"Check file in target {observable.name}")
    fix = "Give axis, value and perhaps error; of a number value and perhaps error; # comments"
    try:
        table = np.loadtxt(path, ndmin=2, delimiter="," if path.suffix == ".csv" else None)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is no table of numbers ({error})", fix) from error
    axis = observable.axis
    if len(observable.shape) > 1:
        raise UserError(
            f"target {observable.name} is no curve, and {path} has columns of one", "Give value"
        )
    least = 1 if axis is None else 2
    rows_fit = len(table) == 1 if axis is None else len(table) > 1
    if not rows_fit or table.shape[1] not in (least, least + 1) or not np.isfinite(table).all():
        raise UserError(
            f"{path} has {table.shape[0]} rows of {table.shape[1]} columns, or a NaN, which is no"
            f" target of {observable.name}",
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
