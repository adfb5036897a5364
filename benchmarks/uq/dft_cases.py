"""Cases of part ``dft``: labelled frames, where they end, and what is learned from them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bayespot import data
from bayespot.data import Frame
from benchmarks.uq.methods import Recipe
from benchmarks.uq.strained import kelvin

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclasses.dataclass(frozen=True)
class Outside:
    """Frames that training does without: of a file, of a ``config_type``, or of hot simulations.

    Attributes:
        name: in words.
        file: all frames of it.
        kind: ``config_type``.
        above: K, by the description of a frame.
    """

    name: str
    file: str = ""
    kind: str = ""
    above: float = 0.0

    def has(self, frame: Frame) -> bool:
        """Whether a frame of the training or test file belongs here."""
        if self.kind:
            return kind_of(frame) == self.kind
        heat = kelvin(frame) or 0.0
        return bool(self.above) and heat > self.above


@dataclasses.dataclass(frozen=True)
class Case:
    """Labelled frames, and where they end.

    Attributes:
        name: for tables.
        train, test: files.
        outside: frames out of distribution; each is judged beside the test frames.
        range: of the potential, Angstrom.
        features: width of the SchNet.
        recipe: how posteriors are made.
        methods: which.
        limit: frames of each kind at most, by random choice; 0 for all.
        crystal: element of a diamond crystal whose elastic constants are asked for.
    """

    name: str
    train: str
    test: str
    outside: tuple[Outside, ...]
    range: float
    features: int
    recipe: Recipe
    methods: tuple[str, ...]
    limit: int = 0
    crystal: str = ""


@dataclasses.dataclass(frozen=True)
class Split:
    """Frames of a case; ``test`` is like those of training, ``out`` is not, by name."""

    train: list[Frame]
    validation: list[Frame]
    calibration: list[Frame]
    test: list[Frame]
    out: dict[str, list[Frame]]


def cases(quick: bool, only: tuple[str, ...] = ()) -> list[Case]:
    """Those the setting affords, or ``only`` some.

    Raises:
        SystemExit: there is none of that name.
    """
    few = ("ensemble", "pSGLD, τ = 1", "SWAG")
    every = (
        "ensemble", "pSGLD, τ = 1", "pSGLD, τ = 0.1", "pSGLD, τ = 0.01", "reSGLD", "SWAG",
        "Laplace",
    )  # fmt: skip
    recipe = Recipe(
        members=4 if quick else 8, adam=1500 if quick else 8000, learning_rate=5e-3,
        steps=300 if quick else 4000, batch_size=2 if quick else 4, first=1e-4, last=1e-5,
        last_layer="potential/readout1",
    )  # fmt: skip
    methods, features = (few, 16) if quick else (every, 32)
    beyond = (Outside("surfaces", kind="Surface"), Outside("above 1600 K", above=1600.0))
    elements = {"silicon": "Si", "germanium": "Ge"}
    if quick and "germanium" not in only:  # quick has no time for it unless it is asked for
        del elements["germanium"]
    crystals = [
        Case(name, f"{name}/train.extxyz", f"{name}/test.extxyz", beyond, 4.5 if quick else 5.0,
             features, recipe, methods, 60 if quick else 0, symbol)
        for name, symbol in elements.items()
    ]  # fmt: skip
    molecule = dataclasses.replace(
        recipe, adam=4000 if quick else 8000, steps=600 if quick else 4000
    )
    made = [
        *crystals,
        Case("acetylacetone", "acetylacetone/train_300K.xyz", "acetylacetone/test_MD_300K.xyz",
             (Outside("600 K", file="acetylacetone/test_MD_600K.xyz"),), 5.0, features, molecule,
             methods, 80 if quick else 0),
    ]  # fmt: skip
    unknown = sorted(set(only) - {case.name for case in made})
    if unknown:
        raise SystemExit(f"no case {unknown[0]}; there are {', '.join(c.name for c in made)}")
    return [case for case in made if not only or case.name in only]


def split(case: Case) -> Split:
    """Four fifths of the training file to learn from, a tenth each to stop by and to recalibrate.

    Every tenth frame of a list ordered by kind: few frames of chance kinds would recalibrate for
    those alone.  What is outside and has no file of its own is taken from both files.
    """
    train, test = data.read(DATA / case.train), data.read(DATA / case.test)
    out: dict[str, list[Frame]] = {}
    for outside in case.outside:
        if outside.file:
            out[outside.name] = data.read(DATA / outside.file)
            continue
        out[outside.name] = [f for f in (*train, *test) if outside.has(f)]
        train, test = ([f for f in part if not outside.has(f)] for part in (train, test))
        if not out[outside.name]:
            raise ValueError(f"{case.name} has no frames of {outside.name}")
    rng = np.random.default_rng(0)
    train, test = (_some(part, case.limit, rng) for part in (train, test))
    out = {name: _some(part, case.limit, rng) for name, part in out.items()}
    train = sorted(train, key=lambda f: (kind_of(f), kelvin(f) or 0.0))
    validation, apart = train[2::10], train[7::10]
    kept = [f for i, f in enumerate(train) if i % 10 not in (2, 7)]
    return Split(kept, validation, apart, test, out)


def kind_of(frame: Frame) -> str:
    return str(frame.atoms.info.get("config_type", ""))


def _some(frames: Sequence[Frame], most: int, rng: np.random.Generator) -> list[Frame]:
    order = rng.permutation(len(frames))
    return [frames[i] for i in (order[:most] if most else order)]


def parts_of(parts: Split) -> dict[str, list[Frame]]:
    """All lists of frames by name."""
    made = {f.name: getattr(parts, f.name) for f in dataclasses.fields(parts) if f.name != "out"}
    return made | parts.out


def counts(parts: Split) -> str:
    told = []
    for name, frames in parts_of(parts).items():
        kinds = Counter(kind_of(f) for f in frames)
        told.append(f"{name}: " + ", ".join(f"{n} {k}".strip() for k, n in kinds.items()))
    return "; ".join(told)
