"""Settings of the two rows, their training, and long simulations to judge it by."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayespot.md import Length, Simulation
from bayespot.observables import Context, Frame, Observable, blocks_to_value
from bayespot.system import System
from bayespot.trainers import DiffTRe, RelativeEntropy, Target, fit
from benchmarks.coarse_grained import atomistic, water
from benchmarks.coarse_grained.water import STRIDE, TIME_STEP, Curves


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of a row.

    Attributes:
        updates: of Adam.
        picoseconds: of a trajectory of training; a quarter more is skipped.
        judged: picoseconds of the simulation that the table is from.
        learning_rate: the first, falling to a hundredth.
        beads: of the box; None for that of the data.
        atomistic: molecules, equilibration in ps, frames and ps between two, of OpenMM; None where
            they are not needed.
    """

    updates: int
    picoseconds: float
    judged: float
    learning_rate: float = 3e-3
    beads: int | None = None
    atomistic: tuple[int, float, int, float] | None = None


BLOCKS = 5  # of time, for errors
SHARE = 100  # atomistic frames of an update at most
PRESSURE = 0.1  # weight, of a squared difference in GPa
FASTER = {"log_sigma": 0.3, "log_epsilon": 1.0, "log_strength": 10.0, "pair": 1.0}
"""Learning rates of the parameters, as multiples of the common one."""

SETTINGS = {
    "quick": {
        "experiment": Settings(36, 4.0, 15.0, 6e-3, 216),
        "TIP4P/2005": Settings(30, 4.0, 12.0, 1e-2, atomistic=(343, 10.0, 200, 0.2)),
    },
    "full": {
        "experiment": Settings(200, 20.0, 200.0),
        "TIP4P/2005": Settings(150, 20.0, 200.0, atomistic=(343, 10.0, 200, 0.2)),
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
        system = water.box() if how.beads is None else water.packed(how.beads)
        return Row(name, how, water.experiment(), system, None)
    made = atomistic.frames(*how.atomistic, folder)
    system = water.system_of(made.positions[0], made.side)
    return Row(name, how, water.tip4p2005(), system, made)


def _length(picoseconds: float, skipped: float, blocks: int, stride: int = STRIDE) -> Length:
    """Whole numbers of blocks of frames."""
    unit = 1000 / (stride * TIME_STEP)  # frames of a picosecond
    frames = max(1, round(picoseconds * unit / blocks)) * blocks
    block = frames // blocks * stride
    before = round(skipped * unit) * stride // block * block
    return Length(frames * stride, equilibration=before, stride=stride, blocks=blocks)


def targets(at: Row) -> list[Target]:
    """Mean squares of both curves, and of the pressure in GPa."""
    rdf, adf, pressure = water.structure(at.system, tcf=False)
    return [
        Target(rdf, water.on(at.curves.rdf, rdf)),
        Target(adf, water.on(at.curves.adf, adf)),
        Target(pressure, at.curves.pressure, weight=PRESSURE),
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


def _adam(how: Settings) -> optax.GradientTransformation:
    """With a cosine decay, and more for what energies depend on through a logarithm."""
    made: dict[Hashable, optax.GradientTransformation] = {
        name: optax.adam(
            optax.cosine_decay_schedule(factor * how.learning_rate, how.updates, 0.02), 0.8, 0.95
        )
        for name, factor in FASTER.items()
    }
    return optax.multi_transform(
        made, lambda params: [{name: name for name in term} for term in params]
    )


def train(at: Row, where: Path) -> Trained:
    """DiffTRe without frames, relative entropy with them."""
    how, started = at.how, time.perf_counter()
    simulation = Simulation(
        water.potential(),
        at.system,
        water.ensemble(at.curves.temperature),
        _length(how.picoseconds, how.picoseconds / 4, 4),
        keep=1,
    )
    more = {"warm_up": 1, "trust": 0.1, "recompute": 0.8}
    if at.frames is None:
        trainer: Any = DiffTRe(simulation, targets(at), _adam(how), **more)
    else:
        frames = at.frames.positions
        trainer = RelativeEntropy(
            simulation, [frames], _adam(how), frames_per_update=min(SHARE, len(frames)), **more
        )
    made = fit(jax.random.key(1), trainer, first(at), how.updates, checkpoint=where)
    return Trained(made.params, time.perf_counter() - started, made.history)


def judge(at: Row, params: Any) -> list[dict[str, Any]]:
    """Averages of a long run of each potential: curves, pressure, and what training did not see.

    Args:
        at: the row.
        params: leading axis of potentials.
    """
    tcf = at.curves.tcf is not None
    observables = [*water.structure(at.system, tcf), *water.held_out(at.system)]
    simulation = Simulation(
        water.potential(),
        at.system,
        water.ensemble(at.curves.temperature),
        _length(at.how.judged, max(at.how.judged / 4, 6.0), BLOCKS, 2 * STRIDE),
        observables,
    )
    made = simulation.run(jax.random.key(2), params)
    found = []
    for n, reason in enumerate(made.reason[:, 0]):
        means = {
            name: {k: x[:, n, 0] for k, x in blocks.items()} for name, blocks in made.means.items()
        }
        found.append({"reason": int(reason), **measured(at, observables, means)})
    return found


def measured(at: Row, observables: Sequence[Observable], means: dict[str, Any]) -> dict[str, Any]:
    """Values, curves beside those of the row, and standard errors by a jackknife.

    Args:
        at: the row.
        observables: what was averaged.
        means: averages of each block of time, by observable.
    """
    context = Context(at.curves.temperature, len(at.system.positions))
    found: dict[str, Any] = {}
    for o in observables:
        blocks = means[o.name]
        each = len(next(iter(blocks.values())))
        whole = blocks_to_value(o, blocks, np.ones(each), context)
        rest = [blocks_to_value(o, blocks, 1 - np.eye(each)[i], context) for i in range(each)]
        found[o.name] = whole
        if o.axis is None:
            found[f"{o.name}_error"] = _jackknife(rest)
            continue
        known = water.on(getattr(at.curves, o.name), o)
        found[f"{o.name}_axis"], found[f"{o.name}_known"] = o.axis, known
        found[f"{o.name}_mse"] = float(np.mean((whole - known) ** 2))
        found[f"{o.name}_mse_error"] = _jackknife([np.mean((x - known) ** 2) for x in rest])
    return found


def of_frames(at: Row) -> dict[str, Any]:
    """The same of the atomistic frames: what their number leaves of the error."""
    assert at.frames is not None
    observables = [o for o in water.structure(at.system, True) if o.axis is not None]
    observables.append(water.held_out(at.system)[0])

    def one(x: jax.Array) -> Any:
        frame = Frame(at.system.replace(positions=x), jnp.zeros(()))
        return {o.name: o.snapshot(frame) for o in observables}

    seen = jax.lax.map(jax.jit(one), jnp.asarray(at.frames.positions), batch_size=8)
    whole = len(at.frames.positions) // BLOCKS * BLOCKS
    means = jax.tree.map(
        lambda x: np.asarray(x[:whole], float).reshape(BLOCKS, -1, *x.shape[1:]).mean(axis=1), seen
    )
    return {**measured(at, observables, means), "diffusion": at.frames.diffusion()}


def _jackknife(rest: Sequence[Any]) -> float:
    return float(np.sqrt((len(rest) - 1) * np.var(rest)))
