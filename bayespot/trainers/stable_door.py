"""Settings of StABlE with which nothing would be learnt, or not what is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayespot.errors import UserError
from bayespot.md import Simulation
from bayespot.md.stability import RDFDeviation
from bayespot.trainers.reference import Resampler
from bayespot.trainers.targets import Target, check


def refuse(
    resampler: Resampler,
    targets: Sequence[Target],
    f_max: float,
    f_min: float,
    rewind: int,
    states: int | None,
    structure: Sequence[RDFDeviation],
    starts: Any,
    labels: tuple[float, int],
) -> None:
    """Look at everything but neighbourhoods, which look at themselves.

    Args:
        resampler: of the simulation and its replicas.
        targets, f_max, f_min, rewind, states, structure, starts: as for
            ``StABlE``.
        labels: weight, and frames in a mini-batch.

    Raises:
        UserError: naming the first that is wrong.
    """
    simulation, replicas = resampler.simulation, resampler.replicas
    check(targets, 1)
    for observable in simulation.observables:
        if observable.window:
            raise UserError(
                f"{observable.name} looks back in time, and trajectories that go back have no past",
                "Leave it out of the simulation that StABlE runs",
            )
    if len(resampler.points) > 1:
        raise UserError(
            "StABlE learns from fluctuations at one state point",
            "Give one temperature (and pressure)",
        )
    if not 0 <= f_min < f_max <= 1:
        raise UserError(f"f_min is {f_min} and f_max {f_max}", "Give 0 <= f_min < f_max <= 1")
    if replicas < 1 or rewind < 1 or (states is not None and states < 2):
        raise UserError(
            f"replicas is {replicas}, rewind {rewind} and states {states}",
            "Give at least 1, 1 and 2",
        )
    if not (labels[0] >= 0 and labels[1] >= 1):
        raise UserError(
            f"label_weight is {labels[0]} and label_frames {labels[1]}",
            "Give a weight of at least 0, and 1 frame or more",
        )
    if starts is not None and np.shape(starts)[1:2] != (replicas,):
        raise UserError(
            f"starts have shape {np.shape(starts)}, and {replicas} replicas are simulated",
            "Give (members, replicas, atoms, 3)",
        )
    _refuse_criteria(simulation, structure, rewind)


def _refuse_criteria(
    simulation: Simulation, structure: Sequence[RDFDeviation], rewind: int
) -> None:
    known = simulation.stability
    if not structure and not (known.bonds or known.min_distance > 0):
        raise UserError(
            "nothing says when a trajectory is unstable",
            "Give the simulation's stability bonds or min_distance, or give structure",
        )
    for criterion in structure:
        name = criterion.observable.name
        if criterion.observable not in simulation.observables:
            raise UserError(
                f"{name} decides on stability and is not simulated",
                "Add it to the simulation's observables",
            )
        if criterion.blocks > rewind:
            raise UserError(
                f"{name} is averaged over {criterion.blocks} blocks, and an update has {rewind}",
                "Raise rewind",
            )
