"""Part ``dft``: does the uncertainty grow with the error where real labels end?

Silicon and germanium learned without surfaces and without anything hotter than 1600 K, and judged
on both; acetylacetone learned at 300 K and judged at 600 K.  Committees of each method go through
``bayespot.calibration``, before and after a recalibration on frames of their own.  Of the crystals
elastic constants are asked too: they follow from all parameters at once, as no label does.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
from benchmarks.uq import elastic, strained
from benchmarks.uq.dft_cases import DATA, Case, cases, counts, kind_of, parts_of, split
from benchmarks.uq.dft_table import summary
from benchmarks.uq.found import members
from benchmarks.uq.methods import Methods
from benchmarks.uq.store import kept
from benchmarks.uq.timing import Clock
from benchmarks.uq.workers import each

AFTER = ", recalibrated"
VERSION = 3


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
        test, out, apart = self.split.test, self.split.out, self.split.calibration
        beyond = [f for part in out.values() for f in part]
        frames = [*test, *beyond, *apart]
        predicted = made.predict(frames, stress=stress)
        known = labels(frames, len(test), len(beyond))
        last = np.arange(len(frames) - len(apart), len(frames))
        fitted = calibration.recalibrate(
            calibration.quantities(predicted.select(last), known.select(last))
        )
        rows, end = [], len(test)
        for where, part in out.items():
            chosen = np.r_[: len(test), end : end + len(part)]
            end += len(part)
            judged = calibration.quantities(predicted.select(chosen), known.select(chosen))
            rows += [{**row, "outside": where} for row in self._assessed(name, judged, fitted)]
        told = {**cost, "gradients": told["gradients"], "rows": rows}
        if self.case.crystal:
            told["elastic"] = self._elastic(params["potential"], fitted.factor("forces"))
        return told

    def _assessed(self, name: str, judged: Any, fitted: Any) -> list[dict]:
        """Rows of the table, before and after the recalibration."""
        content = calibration.assessment(
            [
                calibration.Method(name, judged),
                calibration.Method(name + AFTER, judged, fitted),
            ],
            title=self.case.name,
            data={"file": self.case.test, "frames": 0, "sha256": ""},
            versions={p: version(p) for p in ("bayespot", "jax", "numpy", "scipy", "ase")},
            seed=0,
        )
        return [summary(method) for method in content["methods"]]

    @functools.cached_property
    def reference(self) -> strained.Reference:
        """Elastic constants that the labels of both files stand for."""
        files = (self.case.train, self.case.test)
        return strained.reference([f for file in files for f in data.read(DATA / file)])

    def _elastic(self, params: Any, factor: float) -> dict:
        """Of all draws, at the labels' own pressure."""
        wanted = self.reference
        made = elastic.crystal(self.potential, params, self.case.crystal, wanted.near, wanted.load)
        return {
            "draws": len(made.values), "lost": made.lost, "soft": made.soft,
            "values": made.values, "factor": factor, "load": wanted.load,
            "rows": elastic.judged(made.values, wanted.values, wanted.errors, factor),
        }  # fmt: skip


def labels(frames: Sequence[Frame], test: int, out: int) -> Labels:
    """Of test frames, then those out of distribution, then those for recalibration."""
    domain = np.full(len(frames), "in", dtype="<U3")
    domain[test : test + out] = "out"
    stress = [np.full((3, 3), np.nan) if f.stress is None else f.stress for f in frames]
    return Labels(
        np.array([f.energy for f in frames]), [f.forces for f in frames], np.array(stress),
        [f.atoms.numbers for f in frames], np.array([kind_of(f) for f in frames]), domain,
    )  # fmt: skip


def run(setting: Setting, folder: Path, workers: int, only: tuple[str, ...] = ()) -> dict:
    """Every method of every case, or of ``only`` some; ``workers`` processes share the cases."""
    if not DATA.is_dir():
        raise SystemExit(f"there are no reference data at {DATA}: this part needs them")
    given = cases(setting == "quick", only)
    if min(workers, len(given)) == 1:
        return {"cases": [_case(case, folder / setting) for case in given]}
    return {"cases": each(_case, [(case, folder / setting) for case in given], workers)}


def _case(case: Case, folder: Path) -> dict:
    runner = Runner(case, folder)
    print(f"{case.name}: {counts(runner.split)}", flush=True)
    return {
        "name": case.name, "outside": [o.name for o in case.outside],
        "methods": {name: runner.one(name) for name in case.methods},
        "one_model": runner.cost_of_one_model(),
        "frames": {name: len(part) for name, part in parts_of(runner.split).items()},
        "settings": dataclasses.asdict(case),
    }  # fmt: skip
