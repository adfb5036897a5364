"""The two systems, the weak networks that break on them, and the settings of StABlE."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bayespot.md import NVT
from bayespot.potentials import SchNet
from bayespot.trainers import Weights

DATA = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = Weights(energy=1.0, forces=1.0)


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Force matching to convergence: Adam, cosine decay to a hundredth.

    Attributes:
        frames: to learn from; so few that the network has holes.
        validation: frames that choose the best parameters.
        steps: mini-batches of ``batch_size`` frames.
        learning_rate: the first.
        weights: of energies and forces.
    """

    frames: int
    validation: int
    steps: int
    batch_size: int = 8
    learning_rate: float = 5e-3
    weights: Weights = WEIGHTS


@dataclasses.dataclass(frozen=True)
class Teaching:
    """Settings of StABlE (table 2 of Raja et al.), smaller.

    Attributes:
        replicas: simulated side by side.
        updates: simulations of ``blocks * block_steps`` steps, in both phases together.
        blocks: of one update: t, and how far replicas go back.
        block_steps: steps of a block.
        keep: frames of ``STRIDE`` steps between two samples.
        learning_rate: of Adam.
        label_weight: lambda.
        f_max, f_min: unstable fractions that end the phases.
    """

    replicas: int
    updates: int
    blocks: int
    block_steps: int
    keep: int
    learning_rate: float
    label_weight: float
    f_max: float = 0.5
    f_min: float = 0.1


@dataclasses.dataclass(frozen=True)
class Judging:
    """Simulations from frames that no training saw.

    Attributes:
        temperatures: K.
        replicas: of each model.
        picoseconds: of each replica.
        block: picoseconds between two looks at averages.
    """

    temperatures: tuple[float, ...]
    replicas: int
    picoseconds: float
    block: float = 1.0


@dataclasses.dataclass(frozen=True)
class Case:
    """A row.

    Attributes:
        name: as in the tables.
        path: of its frames.
        potential: SchNet; its neighbours are counted.
        ensemble: thermostat and time step of all simulations, at the temperature of training.
        bond_deviation, min_distance: Angstrom, of the criteria while training.
        stop_deviation, stop_distance: Angstrom, where a replica that broke is stopped.
        localized: learn from molecules with the energies of their own atoms.
        pretraining, teaching, judging: settings.
        paper: what Raja et al. report of their larger experiment.
    """

    name: str
    path: str
    potential: SchNet
    ensemble: NVT
    bond_deviation: float
    min_distance: float
    stop_deviation: float
    stop_distance: float
    localized: bool
    pretraining: Pretraining
    teaching: Teaching
    judging: Judging
    paper: str


STRIDE = 10  # steps between two frames that criteria and averages see


def cases(quick: bool) -> tuple[Case, ...]:
    """Both rows."""
    aspirin = Case(
        "aspirin",
        "aspirin/md17_sgdml.extxyz",
        SchNet((1, 6, 8), 5.0, features=8, interactions=2, basis=12),
        NVT(500.0, 0.5, friction=0.005),
        bond_deviation=0.25,
        min_distance=0.0,
        stop_deviation=0.75,
        stop_distance=0.0,
        localized=False,
        pretraining=Pretraining(50, 50, 3000),
        teaching=Teaching(24, 60, 4, 200, 2, 1e-3, 1.0)
        if quick
        else Teaching(64, 200, 4, 400, 4, 1e-3, 1.0),
        judging=Judging((500.0, 350.0), 16, 10.0) if quick else Judging((500.0, 350.0), 32, 50.0),
        paper="median 35 → 140 ps at 500 K; 75 % → <5 % unstable after 300 ps at 350 K",
    )
    water = Case(
        "water",
        "water_aimd/water64.extxyz",
        SchNet((1, 8), 3.5, features=8, interactions=2, basis=10),
        NVT(300.0, 1.0, thermostat="nose_hoover", relaxation_time=100.0),
        bond_deviation=0.5,
        min_distance=1.2,
        stop_deviation=1.0,
        stop_distance=0.8,
        localized=True,
        pretraining=Pretraining(100, 20, 1500, batch_size=2),
        teaching=Teaching(4, 20, 2, 250, 2, 1e-3, 0.0)
        if quick
        else Teaching(8, 40, 4, 250, 4, 1e-3, 0.0),
        judging=Judging((300.0,), 4, 8.0) if quick else Judging((300.0,), 8, 20.0),
        paper="median 23 → 52 ps; D 5.0 → 1.6e-9 m²/s (2.3)",
    )
    return aspirin, water
