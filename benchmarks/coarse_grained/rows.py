"""Settings of the two rows, their training, and long simulations to judge it by."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from bayespot.md import Length, Simulation
from bayespot.observables import Context, blocks_to_value
from bayespot.system import System
from bayespot.trainers import DiffTRe, RelativeEntropy, Target, fit
from benchmarks.coarse_grained import atomistic, water
from benchmarks.coarse_grained.water import STRIDE, TIME_STEP, Curves


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of a row.

    Attributes:
        updates: of Adam.
        picoseconds: of a trajectory of training; a quarter of it is skipped.
        judged: picoseconds of the simulation that the table is from.
        learning_rate: the first, falling to a hundredth.
        atomistic: molecules, equilibration in ps, frames and ps between two, of OpenMM; None where
            they are not needed.
    """

    updates: int
    picoseconds: float
    judged: float
    learning_rate: float = 3e-3
    atomistic: tuple[int, float, int, float] | None = None


FRAMES = 100  # atomistic ones of an update

SETTINGS = {
    "quick": {
        "experiment": Settings(30, 4.0, 20.0, 6e-3),
        "TIP4P/2005": Settings(40, 8.0, 30.0, 6e-3, (343, 10.0, 200, 0.2)),
    },
    "full": {
        "experiment": Settings(200, 20.0, 200.0),
        "TIP4P/2005": Settings(200, 20.0, 200.0, atomistic=(1000, 50.0, 700, 0.2)),
    },
}


class Row(NamedTuple):
    """A row with its data.

    Attributes:
        name: as in ``SETTINGS``.
        how: settings.
        curves: to match.
        system: the first configuration.
        frames: atomistic ones; None where there are none.
    """

    name: str
    how: Settings
    curves: Curves
    system: System
    frames: atomistic.Frames | None


def row(name: str, how: Settings, folder: Path) -> Row:
    """With its data, which OpenMM may have to make first."""
    if how.atomistic is None:
        return Row(name, how, water.experiment(), water.box(), None)
    made = atomistic.frames(*how.atomistic, folder)
    system = water.system_of(made.positions[0], made.side)
    return Row(name, how, water.tip4p2005(), system, made)


def _length(picoseconds: float, skipped: float, blocks: int) -> Length:
    """Whole numbers of blocks of frames."""
    unit = 1000 / (STRIDE * TIME_STEP)  # frames of a picosecond
    frames = max(1, round(picoseconds * unit / blocks)) * blocks
    block = frames // blocks * STRIDE
    before = round(skipped * unit) * STRIDE // block * block
    return Length(frames * STRIDE, equilibration=before, stride=STRIDE, blocks=blocks)


def targets(at: Row) -> list[Target]:
    """Mean squares of both curves, and of the pressure in GPa."""
    rdf, adf, pressure = water.structure(at.system, tcf=False)
    return [
        Target(rdf, water.on(at.curves.rdf, rdf)),
        Target(adf, water.on(at.curves.adf, adf)),
        Target(pressure, at.curves.pressure),
    ]


class Trained(NamedTuple):
    """What training gave."""

    params: Any
    seconds: float
    history: dict[str, np.ndarray]


def first(at: Row) -> Any:
    """Parameters of the prior."""
    made = water.potential().init(jax.random.key(0), at.system)
    return jax.tree.map(lambda x: x[None], made)


def train(at: Row, where: Path) -> Trained:
    """DiffTRe without frames, relative entropy with them."""
    how, started = at.how, time.perf_counter()
    learning = optax.exponential_decay(how.learning_rate, how.updates, 0.01)
    simulation = Simulation(
        water.potential(),
        at.system,
        water.ensemble(at.curves.temperature),
        _length(how.picoseconds, how.picoseconds / 4, 4),
        keep=1,
    )
    if at.frames is None:
        adam = optax.adam(learning, b1=0.1, b2=0.4)
        trainer: Any = DiffTRe(simulation, targets(at), adam, warm_up=1)
    else:
        frames = [at.frames.positions]
        trainer = RelativeEntropy(
            simulation,
            frames,
            optax.adam(learning),
            frames_per_update=min(100, len(frames[0])),
            warm_up=1,
        )
    made = fit(jax.random.key(1), trainer, first(at), how.updates, checkpoint=where)
    return Trained(made.params, time.perf_counter() - started, made.history)


def judge(at: Row, params: Any) -> dict[str, Any]:
    """Averages of one long run: curves, pressure, and what training did not see."""
    tcf = at.curves.tcf is not None
    observables = [*water.structure(at.system, tcf), *water.held_out(at.system)]
    simulation = Simulation(
        water.potential(),
        at.system,
        water.ensemble(at.curves.temperature),
        _length(at.how.judged, max(at.how.judged / 4, 4.0), 5),
        observables,
    )
    made = simulation.run(jax.random.key(2), params)
    context = Context(at.curves.temperature, len(at.system.positions))
    found: dict[str, Any] = {"reason": int(made.reason[0, 0])}
    for o in observables:
        blocks = {k: x[:, 0, 0] for k, x in made.means[o.name].items()}
        each = len(made.temperature)
        whole = blocks_to_value(o, blocks, np.ones(each), context)
        alone = [blocks_to_value(o, blocks, np.eye(each)[i], context) for i in range(each)]
        found[o.name] = whole
        if o.axis is None:
            found[f"{o.name}_error"] = float(np.std(alone, ddof=1) / np.sqrt(each))
            continue
        known = water.on(getattr(at.curves, o.name), o)
        found[f"{o.name}_axis"], found[f"{o.name}_known"] = o.axis, known
        found[f"{o.name}_mse"] = float(np.mean((whole - known) ** 2))
    return found
