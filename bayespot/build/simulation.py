"""What is simulated, how, and what counts as stable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayespot import config as cfg
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.intervals import Setting
from bayespot.md import NPT, NVE, NVT, Ensemble, Length, Monitor, Stability
from bayespot.md.ensembles import PerReplica
from bayespot.topology import find_bonds


def starting_frames(frames: list[Frame]) -> list[Frame]:
    """Where simulations start: the frames with the atoms, in order, and the cell of the first."""
    first = frames[0].atoms
    return [
        f
        for f in frames
        if np.array_equal(f.atoms.numbers, first.numbers)
        and np.array_equal(f.atoms.pbc, first.pbc)
        and (not any(first.pbc) or np.allclose(f.atoms.cell, first.cell, atol=1e-6))
    ]


def stability(config: cfg.Dynamics, starts: list[Frame]) -> Stability:
    """Criteria around the starting frames' mean bond lengths; periodic systems have no bonds."""
    bonds = () if any(starts[0].atoms.pbc) else find_bonds(starts[0].atoms)
    if not bonds:
        return Stability(min_distance=config.min_distance)
    positions = np.stack([f.atoms.positions for f in starts])
    i, j = np.asarray(bonds).T
    lengths = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1).mean(axis=0)
    return Stability(
        bonds, tuple(float(x) for x in lengths), config.max_bond_deviation, config.min_distance
    )


def md(config: cfg.MDConfig) -> tuple[Ensemble, Length]:
    """Settings of ``propagate``."""
    made = _ensemble(config, config.temperature, config.pressure)
    return made, Length(config.steps, config.equilibration, config.stride, config.blocks)


def mean_setting(config: cfg.MDConfig, scales: Mapping[str, Any] | None = None) -> Setting | None:
    """How the draws' mean is simulated; None where it is not.

    Args:
        config: of all simulations.
        scales: settings of the monitor that a recalibration gives.
    """
    mean = config.mean
    if mean is None:
        return None
    monitor = None
    if mean.threshold is not None:
        monitor = Monitor(
            mean.threshold, mean.statistic, mean.action, mean.window, dumps=mean.dumps,
            **(scales or {}),
        )  # fmt: skip
    steps = mean.steps or config.steps
    short = None
    if mean.short_steps is not None:
        block = math.gcd(mean.short_steps, mean.short_equilibration)
        short = Length(
            mean.short_steps, mean.short_equilibration, config.stride, mean.short_steps // block
        )
    length = Length(steps, config.equilibration, config.stride, config.blocks)
    return Setting(length, mean.replicas, mean.every, monitor, short, mean.short_replicas)


def training_md(config: cfg.TrainingMD) -> tuple[Ensemble, Length, int]:
    """Settings of trainers that simulate, and the replicas of all state points together."""
    points = [point for point in config.points for _ in range(config.replicas)]
    temperatures, pressures = zip(*points, strict=True)
    made = _ensemble(config, _common(temperatures), _common(pressures))
    # nothing reads their blocks: as long as equilibration allows
    block = math.gcd(config.steps, config.equilibration)
    length = Length(config.steps, config.equilibration, config.stride, config.steps // block)
    return made, length, len(points)


def _common(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(set(values)) == 1 else values


def _ensemble(config: cfg.Dynamics, temperature: PerReplica, pressure: PerReplica) -> Ensemble:
    if config.ensemble == "npt":
        return NPT(
            temperature,
            config.time_step,
            pressure,
            config.friction,
            config.barostat_time,
            config.compressibility,
            config.barostat_interval,
        )
    if config.ensemble == "nve":
        return NVE(temperature, config.time_step)
    return NVT(
        temperature, config.time_step, config.thermostat, config.friction, config.relaxation_time
    )


def simulated(config: cfg.Dynamics, frames: list[Frame] | None) -> list[Frame]:
    """The configurations simulations start from: the structure of [md.start], or training frames.

    Args:
        config: of the simulation.
        frames: of training; None where there are none, and any element will do.

    Raises:
        UserError: no such structure, none that can be read, or elements training lacks.
    """
    if config.start is None:
        if frames is None:
            raise UserError("nothing says which atoms to simulate", "Give [md.start]")
        return starting_frames(frames)
    import ase.io

    path = config.start.structure
    if not path.is_file():
        raise UserError(f"there is no structure {path}", "Check the path in [md.start]")
    try:
        atoms = ase.io.read(path)
    except Exception as error:  # ASE's readers raise what they like
        raise UserError(f"{path} cannot be read: {error}", "Give a file ASE reads") from error
    atoms = atoms.repeat(config.start.repeat)  # type: ignore[union-attr]
    found = {int(z) for z in atoms.numbers}
    known = found if frames is None else {int(z) for f in frames for z in f.atoms.numbers}
    unknown = sorted(found - known)
    if unknown:
        raise UserError(
            f"{path} holds elements {unknown} that training lacks", "Train on frames with them"
        )
    return [Frame(atoms, 0.0, np.zeros((len(atoms), 3)), str(path), 0)]
