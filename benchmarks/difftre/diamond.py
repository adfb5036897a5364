"""Diamond from its measured elastic constants (Thaler & Zavadlav 2021).

The prior is the paper's Stillinger-Weber; in place of its DimeNet++ the prior's own numbers and a
spline of the pair distance are learned, which a CPU can afford.
"""

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ase.build import bulk

from bayespot.md import NVT, Length, Simulation, Trajectories
from bayespot.observables import Context, Stiffness, Stress
from bayespot.potentials import CubicSpline, StillingerWeber
from bayespot.system import System
from bayespot.trainers import DiffTRe, Target
from bayespot.units import GPA, KJ_PER_MOL, NANOMETER

EDGE = 17.834 / 5  # Angstrom, of the paper's box: the experimental density
TEMPERATURE, FRICTION = 298.15, 0.004  # K, 1/fs
EXPERIMENT = (1079.0, 124.0, 578.0)  # GPa: C11, C12, C44
SIGMA, EPSILON = 0.14 * NANOMETER, 200 * KJ_PER_MOL

PRIOR = StillingerWeber(SIGMA, EPSILON, 1.8 * SIGMA, trainable=True, species=(6,))
POTENTIAL = PRIOR + CubicSpline(1.2, PRIOR.range, 12, (6,), scale=0.0)  # starts as the prior

# the paper's weights are per (kJ/mol/nm^3)^2
UNIT = GPA / KJ_PER_MOL * NANOMETER**3
STRESS_WEIGHT, STIFFNESS_WEIGHT = 5e-8 * UNIT**2, 1e-10 * UNIT**2
OFF_DIAGONAL = np.array([1.0, 1.0, 1.0, 0.5**0.5, 0.5**0.5, 0.5**0.5])  # nine from six
STRAIN = 0.01


@dataclasses.dataclass(frozen=True)
class Work:
    """How much of everything.

    Attributes:
        repeat: cubic cells of 8 atoms along an edge.
        time_step: fs.
        stride: steps between frames.
        frames: of an update, after a tenth as many that are skipped.
        updates: of the trainer.
        rate: first learning rate; it falls to a hundredth.
        measured: frames of each replica of the runs that measure.
    """

    repeat: int = 2
    time_step: float = 1.0
    stride: int = 25
    frames: int = 80
    updates: int = 80
    rate: float = 0.05
    measured: int = 160


def system(repeat: int) -> System:
    """Perfect crystal."""
    return System.from_ase(bulk("C", "diamond", a=EDGE, cubic=True).repeat((repeat,) * 3))


def _simulation(
    work: Work, frames: int, skip: int, observables: tuple = (), keep: int = 0
) -> Simulation:
    """In ten blocks, after ``skip`` of them."""
    steps = frames * work.stride
    length = Length(steps, equilibration=skip * steps // 10, stride=work.stride, blocks=10)
    ensemble = NVT(TEMPERATURE, work.time_step, friction=FRICTION)
    return Simulation(
        POTENTIAL, system(work.repeat), ensemble, length, observables, skin=0.4, keep=keep
    )


class Measured(NamedTuple):
    """GPa, with standard errors.

    Attributes:
        fluctuation: C11, C12, C44 from the fluctuations of the stress.
        strained: the same from mean stresses of strained cells.
        pressure: minus a third of the trace of the mean stress.
    """

    fluctuation: tuple[list[float], list[float]]
    strained: tuple[list[float], list[float]]
    pressure: tuple[float, float]


def measure(work: Work, params: Any, seed: int, unstrained: int = 6, each: int = 3) -> Measured:
    """Isothermal stress-strain coefficients of ``params`` (one member) by both ways.

    Args:
        work: lengths and size.
        params: no leading axis.
        seed: of the noise.
        unstrained: replicas of the crystal as it is.
        each: replicas of each of four strained cells.
    """
    here = system(work.repeat)
    stretch = np.zeros((3, 3))
    stretch[0, 0] = STRAIN
    shear = np.zeros((3, 3))
    shear[0, 1] = shear[1, 0] = STRAIN / 2
    kinds = [np.zeros((3, 3)), stretch, -stretch, shear, -shear]
    which = np.repeat(np.arange(5), [unstrained, each, each, each, each])
    deformed = np.stack([np.eye(3) + kinds[k] for k in which])
    stiffness, stress = Stiffness("stiffness", convention="stress_strain"), Stress("stress")
    made = _simulation(work, work.measured, 5, (stiffness, stress)).run(
        jax.random.key(seed),
        jax.tree.map(lambda x: x[None], params),
        starts=jnp.asarray(np.asarray(here.positions) @ deformed)[None],
        cells=jnp.asarray(np.asarray(here.cell) @ deformed)[None],
    )
    if (made.reason != 0).any():
        raise RuntimeError("a trajectory of the measurement was lost")
    context = Context(TEMPERATURE, len(here.species))

    def mean(kind: int, components: list[int], sign: float = 1.0) -> tuple[float, float]:
        """And its squared standard error, by blocks."""
        found = stress.reduce(_blocks(made, "stress", which == kind), context)
        chosen = sign * found[:, components].mean(axis=1)
        return float(chosen.mean()), float(chosen.var(ddof=1) / len(chosen))

    def slope(kind: int, components: list[int]) -> tuple[float, float]:
        (high, a), (low, b) = mean(kind, components), mean(kind + 1, components)
        return (high - low) / (2 * STRAIN), (a + b) ** 0.5 / (2 * STRAIN)

    slopes = [slope(1, [0]), slope(1, [1, 2]), slope(3, [5])]
    pressure = mean(0, [0, 1, 2], -1.0)
    return Measured(
        _jackknife(stiffness, _blocks(made, "stiffness", which == 0), context),
        ([s[0] for s in slopes], [s[1] for s in slopes]),
        (pressure[0], pressure[1] ** 0.5),
    )


def _blocks(made: Trajectories, name: str, replicas: np.ndarray) -> dict[str, np.ndarray]:
    """(blocks of those replicas, ...), float64."""
    return {
        key: np.asarray(x, float)[:, 0, replicas].reshape(-1, *x.shape[3:])
        for key, x in made.means[name].items()
    }


def _jackknife(
    observable: Stiffness, blocks: dict[str, np.ndarray], context: Context
) -> tuple[list[float], list[float]]:
    """Value of all blocks, and its error from leaving out one after the other."""
    count = len(next(iter(blocks.values())))

    def value(rows: np.ndarray) -> np.ndarray:
        return observable.reduce({k: x[rows].mean(axis=0) for k, x in blocks.items()}, context)

    every = np.arange(count)
    left = np.stack([value(np.delete(every, i)) for i in every])
    error = np.sqrt((count - 1) * left.var(axis=0))
    return value(every).tolist(), error.tolist()


def train(work: Work, seed: int = 0) -> dict:
    """DiffTRe from the prior, measured before and after."""
    simulation = _simulation(work, work.frames, 1, keep=1)
    rate = optax.exponential_decay(work.rate, work.updates, 0.01)
    trainer = DiffTRe(
        simulation,
        [
            Target(Stress("stress"), np.zeros(6), OFF_DIAGONAL, STRESS_WEIGHT * 6 / 9),
            Target(Stiffness("stiffness"), np.array(EXPERIMENT), 1.0, STIFFNESS_WEIGHT),
        ],
        optax.adam(rate, b1=0.1, b2=0.4),
        warm_up=1,
    )
    first = POTENTIAL.init(jax.random.key(seed), simulation.system)
    before = measure(work, first, seed)
    state = trainer.init(jax.random.key(seed), jax.tree.map(lambda x: x[None], first))
    records, seconds = [], []
    for _ in range(work.updates):
        started = time.perf_counter()
        state, record = trainer.update(state)
        seconds.append(time.perf_counter() - started)
        records.append(record)
    learned = jax.tree.map(lambda x: x[0], state.params)
    after = measure(work, learned, seed + 1)
    return {
        "atoms": len(simulation.system.species),
        "work": dataclasses.asdict(work),
        "before": before._asdict(),
        "after": after._asdict(),
        "loss": [float(r["loss"][0]) for r in records],
        "stress": [r["stress"][0] for r in records],
        "stiffness": [r["stiffness"][0] for r in records],
        "fresh": [bool(r["trajectories"][0]) for r in records],
        "halved": [int(r["step_halved"][0]) for r in records],
        "seconds": seconds,
        "learned": {k: float(x) for k, x in learned[0].items()},
    }
