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
        localized: learn from molecules with the energies of their own atoms.
        pretraining, teaching, judging: settings.
        paper: temperature, and what Raja et al. report before and after, of their larger model.
    """

    name: str
    path: str
    potential: SchNet
    ensemble: NVT
    bond_deviation: float
    min_distance: float
    localized: bool
    pretraining: Pretraining
    teaching: Teaching
    judging: Judging
    paper: tuple[tuple[float, str, str], ...]


STRIDE = 10  # steps between two frames that criteria and averages see


def cases(quick: bool) -> tuple[Case, ...]:
    """Both rows."""
    aspirin = Case(
        "aspirin",
        "aspirin/md17_sgdml.extxyz",
        SchNet((1, 6, 8), 5.0, features=16, interactions=2, basis=16),
        NVT(500.0, 1.0, friction=0.005),
        bond_deviation=0.25,
        min_distance=0.0,
        localized=False,
        pretraining=Pretraining(50, 50, 3000),
        # one batch of replicas is soon learnt by heart: better to go on and find others
        teaching=Teaching(48, 50, 1, 240, 2, 3e-4, 3.5, f_min=0.2)
        if quick
        else Teaching(128, 200, 2, 480, 4, 3e-4, 3.5, f_min=0.2),
        judging=Judging((500.0, 350.0), 20, 5.0) if quick else Judging((500.0, 350.0), 64, 30.0),
        paper=(
            (500.0, "median 35 ps", "median 140 ps"),
            (350.0, "75 % after 300 ps", "< 5 % after 300 ps"),
        ),
    )
    water = Case(
        "water",
        "water_aimd/water64.extxyz",
        SchNet((1, 8), 3.5, features=16, interactions=2, basis=12),
        NVT(300.0, 1.0, thermostat="nose_hoover", relaxation_time=100.0),
        bond_deviation=0.5,
        min_distance=1.2,
        localized=True,
        pretraining=Pretraining(120, 10, 5000, batch_size=2),
        teaching=Teaching(4, 16, 2, 100, 2, 3e-4, 0.0)
        if quick
        else Teaching(8, 100, 2, 240, 4, 3e-4, 0.0),
        judging=Judging((300.0,), 4, 3.0) if quick else Judging((300.0,), 8, 20.0),
        paper=((300.0, "median 23 ps, D 5.0", "median 52 ps, D 1.6 (reference 2.3)"),),
    )
    return aspirin, water
