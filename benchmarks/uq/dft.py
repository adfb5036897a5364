"""Part ``dft``: does the uncertainty grow with the error where real labels end?

Silicon and germanium with one ``config_type`` kept out of training, acetylacetone at 300 K judged
at 600 K; committees of each method through ``bayespot.calibration``, before and after a
recalibration on frames of their own.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from bayespot import calibration, data
from bayespot.build.samples import mean_neighbors
from bayespot.calibration import Labels
from bayespot.committee import Committee
from bayespot.data import Dataset, Frame, make_dataset
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import Potential, SchNet
from bayespot.prior import WeightPrior
from benchmarks.common import Setting
from benchmarks.uq.dft_table import summary
from benchmarks.uq.found import members
from benchmarks.uq.methods import Methods, Recipe
from benchmarks.uq.store import kept
from benchmarks.uq.timing import Clock

DATA = Path(__file__).parents[3] / "shared" / "data"
AFTER = ", recalibrated"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Case:
    """Labelled frames, and where they end.

    Attributes:
        name: for tables.
        train, test: files.
        out: file of frames out of distribution, or the ``config_type`` that training does without.
        outside: what they are, in words.
        range: of the potential, Angstrom.
        features: width of the SchNet.
        recipe: how posteriors are made.
        methods: which.
        limit: frames of each kind at most, by random choice; 0 for all.
    """

    name: str
    train: str
    test: str
    out: str
    outside: str
    range: float
    features: int
    recipe: Recipe
    methods: tuple[str, ...]
    limit: int = 0


@dataclasses.dataclass(frozen=True)
class Split:
    """Frames of a case; ``test`` is like those of training, ``out`` is not."""

    train: list[Frame]
    validation: list[Frame]
    calibration: list[Frame]
    test: list[Frame]
    out: list[Frame]


def cases(quick: bool) -> list[Case]:
    """Those the setting affords."""
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
    crystals = [
        Case(name, f"{name}/train.extxyz", f"{name}/test.extxyz", "Surface", "surfaces",
             4.5 if quick else 5.0, features, recipe, methods, 60 if quick else 0)
        for name in (("silicon",) if quick else ("silicon", "germanium"))
    ]  # fmt: skip
    molecule = dataclasses.replace(
        recipe, adam=4000 if quick else 8000, steps=600 if quick else 4000
    )
    return [
        *crystals,
        Case("acetylacetone", "acetylacetone/train_300K.xyz", "acetylacetone/test_MD_300K.xyz",
             "acetylacetone/test_MD_600K.xyz", "600 K", 5.0, features, molecule, methods,
             80 if quick else 0),
    ]  # fmt: skip


def split(case: Case) -> Split:
    """Four fifths of the training file to learn from, a tenth each to stop by and to recalibrate.

    Where a ``config_type`` is kept out, its frames of both files are those out of distribution.
    """
    train, test = data.read(DATA / case.train), data.read(DATA / case.test)
    out: list[Frame] = []
    if (DATA / case.out).is_file():
        out = data.read(DATA / case.out)
    else:
        out = [f for f in (*train, *test) if _kind(f) == case.out]
        train, test = ([f for f in part if _kind(f) != case.out] for part in (train, test))
        if not out:
            raise ValueError(f"{case.name} has no frames of {case.out}")
    rng = np.random.default_rng(0)
    train, test, out = (_some(part, case.limit, rng) for part in (train, test, out))
    tenth = max(2, len(train) // 10)
    return Split(train[2 * tenth :], train[:tenth], train[tenth : 2 * tenth], test, out)


def _kind(frame: Frame) -> str:
    return str(frame.atoms.info.get("config_type", ""))


def _some(frames: Sequence[Frame], most: int, rng: np.random.Generator) -> list[Frame]:
    order = rng.permutation(len(frames))
    return [frames[i] for i in (order[:most] if most else order)]


class Runner:
    """One case: frames, potential, and the methods' shared start."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder / "dft" / case.name
        self.split = split(case)
        shift = data.fit_shift(self.split.train)
        species = tuple(sorted({int(z) for f in self.split.train for z in f.atoms.numbers}))
        self.potential: Potential = SchNet(
            species, case.range, case.features, 2,
            neighbors=mean_neighbors(self.split.train, case.range),
        )  # fmt: skip
        self.train: Dataset = make_dataset(self.split.train, shift, case.range)
        self.validation = make_dataset(self.split.validation, shift, case.range)
        self.posterior = self._posterior()
        self.methods = Methods(case.recipe)

    def _posterior(self) -> Posterior:
        import numpyro.distributions as dist

        wide = dist.Exponential(1.0)
        stress = wide if self.train.batch.stress is not None else None
        likelihood = EnergyForces(self.potential, wide, wide, stress_noise=stress)
        return Posterior(likelihood, WeightPrior.normal(10.0), self.train.batch)

    def one(self, name: str) -> dict:
        """What ``calibration.assessment`` says of one method, and its cost."""
        where = self.folder / f"{''.join(c if c.isalnum() else '_' for c in name)}.json"
        depends = {"version": VERSION, "case": dataclasses.asdict(self.case), "method": name}
        return kept(where, depends, lambda: self._one(name))

    def cost_of_one_model(self) -> dict:
        """Seconds and gradients of a single network, compiled before."""

        def make() -> dict:
            key = jax.random.key(0)
            self.methods.one_model(key, self.posterior, self.validation.batch)
            clock = Clock()
            draws = self.methods.one_model(key, self.posterior, self.validation.batch)
            return {**clock.read(), "gradients": draws.provenance["gradients"]}

        depends = {"version": VERSION, "case": dataclasses.asdict(self.case)}
        return kept(self.folder / "one_model.json", depends, make)

    def _one(self, name: str) -> dict:
        clock = Clock()
        found = self.methods[name](jax.random.key(1), self.posterior, self.validation.batch)
        params, told = members(found, self.case.recipe.members)
        cost = {k: x + told["earlier"].get(k, 0.0) for k, x in clock.read().items()}
        noise = {
            key.removeprefix("log_sigma_"): np.exp(np.asarray(x, float))
            for key, x in params["noise"].items()
        }
        made = Committee(self.potential, params["potential"], self.train.shift, noise, name=name)
        stress = self.train.batch.stress is not None
        frames = [*self.split.test, *self.split.out, *self.split.calibration]
        predicted = made.predict(frames, stress=stress)
        known = labels(frames, len(self.split.test), len(self.split.out))
        ends = np.cumsum([len(self.split.test) + len(self.split.out), len(self.split.calibration)])
        judged, apart = (
            calibration.quantities(predicted.select(part), known.select(part))
            for part in np.split(np.arange(ends[1]), [ends[0]])
        )
        fitted = calibration.recalibrate(apart)
        content = calibration.assessment(
            [
                calibration.Method(name, judged),
                calibration.Method(name + AFTER, judged, fitted),
            ],
            title=f"{self.case.name}, {self.case.outside} out of distribution",
            data={"file": self.case.test, "frames": int(ends[0]), "sha256": ""},
            versions={p: version(p) for p in ("bayespot", "jax", "numpy", "scipy", "ase")},
            seed=0,
        )
        return {
            **cost,
            "gradients": told["gradients"],
            "rows": [summary(method) for method in content["methods"]],
        }


def labels(frames: Sequence[Frame], test: int, out: int) -> Labels:
    """Of test frames, then those out of distribution, then those for recalibration."""
    domain = np.full(len(frames), "in", dtype="<U3")
    domain[test : test + out] = "out"
    stress = [np.full((3, 3), np.nan) if f.stress is None else f.stress for f in frames]
    return Labels(
        np.array([f.energy for f in frames]), [f.forces for f in frames], np.array(stress),
        [f.atoms.numbers for f in frames], np.array([_kind(f) for f in frames]), domain,
    )  # fmt: skip


def run(setting: Setting, folder: Path) -> dict:
    """Every method of every case."""
    if not DATA.is_dir():
        raise SystemExit(f"there are no reference data at {DATA}: this part needs them")
    found = []
    for case in cases(setting == "quick"):
        runner = Runner(case, folder / setting)
        print(f"{case.name}: {_counts(runner.split)}", flush=True)
        made = {name: runner.one(name) for name in case.methods}
        found.append(
            {
                "name": case.name, "outside": case.outside, "methods": made,
                "one_model": runner.cost_of_one_model(),
                "frames": {f.name: len(getattr(runner.split, f.name))
                           for f in dataclasses.fields(Split)},
                "settings": dataclasses.asdict(case),
            }
        )  # fmt: skip
    return {"cases": found}


def _counts(parts: Split) -> str:
    told = []
    for field in dataclasses.fields(parts):
        kinds = Counter(_kind(f) for f in getattr(parts, field.name))
        told.append(f"{field.name} " + ", ".join(f"{n} {k}".strip() for k, n in kinds.items()))
    return "; ".join(told)
