"""The data, their splits and how each is trained."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bayespot import data
from bayespot.data import Frame
from bayespot.infer import Optimization
from bayespot.potentials import PaiNN, Potential, SchNet, StillingerWeber

DATA = Path(__file__).parents[3] / "shared" / "data"

SILICON = StillingerWeber(trainable=True)
# Ding and Andersen, Phys. Rev. B 34, 6987 (1986): what differs from silicon's set
GERMANIUM = StillingerWeber(2.181, 1.93, 1.8 * 2.181, 31.0, trainable=True)


@dataclasses.dataclass(frozen=True)
class Split:
    """Frames to learn from, to stop by, and to test on, by name."""

    train: list[Frame]
    validation: list[Frame]
    tests: dict[str, list[Frame]]


@dataclasses.dataclass(frozen=True)
class Training:
    """One potential and its Adam steps in the full setting; the quick one takes a tenth."""

    name: str
    potential: Potential
    steps: int
    batch_size: int = 8
    learning_rate: float = 5e-3
    energy_weight: float = 1.0

    def optimization(self, quick: bool) -> Optimization:
        steps = self.steps // 10 if quick else self.steps
        return Optimization(steps, self.learning_rate, self.batch_size, self.energy_weight)


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set.

    Attributes:
        name: as in the tables.
        split: reads and splits it.
        trainings: what learns it.
        baseline: a classical potential as published, beside its refit among the trainings.
    """

    name: str
    split: Callable[[], Split]
    trainings: tuple[Training, ...]
    baseline: StillingerWeber | None = None


def shuffled(path: str, train: int, validation: int, test: int) -> Split:
    """One file cut into three at random, seed 0."""
    frames = data.read(DATA / path)
    order = np.random.default_rng(0).permutation(len(frames))
    ends = np.cumsum([0, train, validation, test])
    parts = [[frames[i] for i in order[a:b]] for a, b in itertools.pairwise(ends)]
    return Split(parts[0], parts[1], {"same run": parts[2]})


def given(train: str, validation: int, **tests: str) -> Split:
    """Test files of their own; validation frames are taken from the training file, seed 0."""
    frames = data.read(DATA / train)
    order = np.random.default_rng(0).permutation(len(frames))
    return Split(
        [frames[i] for i in order[validation:]],
        [frames[i] for i in order[:validation]],
        {name.replace("_", " "): data.read(DATA / path) for name, path in tests.items()},
    )


def painn(*species: int, steps: int, features: int = 64, **more: Any) -> Training:
    return Training(f"PaiNN, {features} features", PaiNN(species, 5.0, features), steps, **more)


def schnet(*species: int, steps: int, features: int = 64) -> Training:
    return Training(f"SchNet, {features} features", SchNet(species, 5.0, features, 3), steps)


CASES = (
    # 950 frames to learn from, 50 of them to stop by
    Case(
        "aspirin",
        lambda: shuffled("aspirin/md17_sgdml.extxyz", 900, 50, 50),
        (schnet(1, 6, 8, steps=8000), painn(1, 6, 8, steps=6000)),
    ),
    Case(
        "ethanol",
        lambda: shuffled("ethanol/md17_sgdml.extxyz", 900, 50, 50),
        (painn(1, 6, 8, steps=4000),),
    ),
    Case(
        "acetylacetone",
        lambda: given(
            "acetylacetone/train_300K.xyz",
            50,
            at_300_K="acetylacetone/test_MD_300K.xyz",
            at_600_K="acetylacetone/test_MD_600K.xyz",
        ),
        (painn(1, 6, 8, steps=4000),),
    ),
    Case(
        "silicon",
        lambda: given("silicon/train.extxyz", 20, held_out="silicon/test.extxyz"),
        (
            Training(
                "Stillinger–Weber, refitted", SILICON, 2000, learning_rate=2e-3, energy_weight=64.0
            ),
            painn(14, steps=1500, features=32, batch_size=4, energy_weight=64.0),
        ),
        SILICON,
    ),
    Case(
        "germanium",
        lambda: given("germanium/train.extxyz", 20, held_out="germanium/test.extxyz"),
        (
            Training(
                "Stillinger–Weber, refitted",
                GERMANIUM,
                2000,
                learning_rate=2e-3,
                energy_weight=64.0,
            ),
            painn(32, steps=1500, features=32, batch_size=4, energy_weight=64.0),
        ),
        GERMANIUM,
    ),
    Case(
        "water",
        lambda: shuffled("water_aimd/water64.extxyz", 150, 20, 30),
        (painn(1, 8, steps=1500, features=32, batch_size=2),),
    ),
)
