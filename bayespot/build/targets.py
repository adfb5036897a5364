"""Targets of training, inline or from files of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bayespot import config as cfg
from bayespot.build.measurement import observables
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.observables import MeanEnergy, Observable
from bayespot.trainers import Target


def targets(config: cfg.FitConfig, frames: list[Frame]) -> tuple[Target, ...]:
    """One object for each ``[[targets]]``; ``frames`` are what is simulated.

    Raises:
        UserError: an observable that cannot be simulated, or values that do not fit it.
    """
    made = {o.name: o for o in observables(config, frames)}
    return tuple(_target(t, made[t.observable.name], config) for t in config.targets)


def _target(section: cfg.TargetConfig, observable: Observable, config: cfg.FitConfig) -> Target:
    if isinstance(observable, MeanEnergy) and config.data is not None:
        raise UserError(
            f"target {observable.name} is an energy, whose zero comes from the labels of [data]",
            "Remove it, or train without [data]",
        )
    value, error = section.value, section.error
    if section.file is not None:
        value, found = _from_file(section.file, observable)
        error = found if error is None else error
    assert value is not None
    one = 1.0 if error is None else error
    if observable.axis is None and (np.ndim(value) or np.ndim(one)):
        raise UserError(
            f"target {observable.name} has {np.size(value)} values and {np.size(one)} errors, and"
            " is a number",
            "Give one value and one error",
        )
    if observable.axis is not None and np.ndim(value) == 0:
        raise UserError(
            f"target {observable.name} is one value, and the observable has"
            f" {len(observable.axis)} bins",
            "Give a value for each bin, or a file of columns",
        )
    return Target(
        observable, np.asarray(value, float), np.asarray(one, float), section.weight, section.point
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
