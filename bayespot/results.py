"""What stages of a run leave behind: averages as NetCDF, and what reports say of them as JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from bayespot import files
from bayespot.config import MDConfig
from bayespot.md import REASONS, Trajectories
from bayespot.observables import Observable
from bayespot.uncertainty import Coverage, Estimate, coverage, stretched

ENDS = ("low68", "high68", "low95", "high95")


def save_trajectories(path: Path, made: Trajectories) -> None:
    """Block averages of every replica as NetCDF."""
    import xarray as xr

    variables: dict[str, Any] = {
        "temperature": (("block", "draw", "replica"), made.temperature),
        "reason": (("draw", "replica"), made.reason),
        "failed_at": (("draw", "replica"), made.failed_at),
    }
    if made.restarted is not None:
        variables["restarted"] = (("draw", "replica"), made.restarted)
    for name, group in made.means.items():
        for key, x in group.items():
            extra = tuple(f"{name}_{key}_axis{i}" for i in range(x.ndim - 3))
            variables[f"{name}.{key}"] = (("block", "draw", "replica", *extra), x)
    dataset = xr.Dataset(variables, attrs={"capacity_retries": made.capacity_retries})
    files.write_atomically(path, lambda p: dataset.to_netcdf(p, engine="h5netcdf"))


def load_trajectories(path: Path) -> Trajectories:
    """What ``save_trajectories`` wrote."""
    import xarray as xr

    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        means: dict[str, dict[str, np.ndarray]] = {}
        for name in dataset.data_vars:
            if "." in str(name):
                observable, key = str(name).rsplit(".", 1)
                means.setdefault(observable, {})[key] = dataset[name].values
        return Trajectories(
            means,
            dataset["temperature"].values,
            dataset["reason"].values,
            dataset["failed_at"].values,
            int(dataset.attrs["capacity_retries"]),
            restarted=dataset["restarted"].values if "restarted" in dataset else None,
        )


def stability_summary(trajectories: Trajectories, md: MDConfig) -> dict[str, Any]:
    """How many trajectories broke, why, how early, and what became of them."""
    reason, again = trajectories.reason, trajectories.restarted
    failed = reason > 0
    return {
        "draws": int(reason.shape[0]),
        "replicas": int(reason.shape[1]),
        "failed_replicas": int(failed.sum()),
        "draws_with_failures": int(failed.any(axis=1).sum()),
        "reasons": {REASONS[c]: int((reason == c).sum()) for c in range(1, len(REASONS))},
        "policy": md.unstable,
        "restarted": 0 if again is None else int((again > 0).sum()),
        "earliest_failure_fs": float(trajectories.failed_at[failed].min() * md.time_step)
        if failed.any()
        else None,
        "mean_temperature": float(trajectories.temperature[:, ~failed].mean())
        if (~failed).any()
        else None,
    }


def observable_json(
    o: Observable,
    made: Estimate,
    known: tuple[np.ndarray, np.ndarray] | None,
    covered: Coverage | None,
    factor: float | None = None,
) -> dict[str, Any]:
    """An estimate with its reference, as numbers and lists.

    Args:
        o: what it is of.
        made: the estimate.
        known: its reference, and that one's standard error.
        covered: whether the interval holds it.
        factor: of the parameter part, from a recalibration: what comes of it is "recalibrated".
    """
    content: dict[str, Any] = {"title": o.title, "unit": o.unit, "draws": made.draws}
    if o.axis is not None:
        content |= {"axis": o.axis.tolist(), "axis_label": o.axis_label}
    if o.components:
        content["components"] = list(o.components)
    for name in ("mean", "total", "parameter", "md", "md_of_mean", *ENDS):
        content[name] = getattr(made, name).tolist()
    if known is not None:
        content["reference"] = known[0].tolist()
        content["reference_error"] = known[1].tolist()
    if covered is not None:
        content["coverage"] = dataclasses.asdict(covered)
    if factor is not None:
        wide = stretched(made, factor)
        more: dict[str, Any] = {"factor": factor}
        for name in ("total", "parameter", *ENDS):
            more[name] = getattr(wide, name).tolist()
        if known is not None and (again := coverage(wide, *known)) is not None:
            more["coverage"] = dataclasses.asdict(again)
        content["recalibrated"] = more
    return content
