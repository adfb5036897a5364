"""Ethanol with GFN2-xTB as the truth, learned by a small SchNet from 40 frames at 500 K.

``examples/ethanol`` ships the reference at 300 K and the script that labels; frames at 500 K and
their averages are made with it once (half an hour on two cores) and kept.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import itertools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms

from bayespot import data
from bayespot.build.samples import mean_neighbors
from bayespot.data import Batch, Frame, Shift, make_dataset
from bayespot.likelihood import EnergyForces
from bayespot.md import NVT, Length, Simulation, Stability, Trajectories
from bayespot.observables import (
    Context,
    DihedralDistribution,
    DistanceDistribution,
    HeatCapacity,
    MeanEnergy,
    Observable,
)
from bayespot.observables import Frame as Moment
from bayespot.posterior import Posterior
from bayespot.potentials import HarmonicBonds, SchNet
from bayespot.prior import WeightPrior
from bayespot.system import System
from bayespot.topology import find_bonds
from bayespot.uncertainty import jackknife
from benchmarks.uq.case import PLACES, Place, TrainingSet, part
from benchmarks.uq.methods import Method, Recipe

GIVEN = Path(__file__).parents[2] / "examples" / "ethanol"
TEMPERATURES: dict[Place, float] = {"in": 500.0, "away": 300.0}
KEYS = {"h(r)": "h_r", "dihedral": "dihedral", "energy": "mean_energy",
        "heat capacity": "heat_capacity"}  # fmt: skip
OBSERVABLES: tuple[Observable, ...] = (
    DistanceDistribution("h(r)"),
    DihedralDistribution("dihedral", (0, 1, 2, 3)),
    MeanEnergy("energy"),
    HeatCapacity("heat capacity"),
)
METHODS = (
    "ensemble", "pSGLD, τ = 1", "pSGLD, τ = 0.1", "pSGLD, τ = 0.01", "reSGLD", "SWAG", "Laplace",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Size:
    """Of the experiment; frames lie 100 fs apart, MD is at 0.5 fs.

    Attributes:
        train, validation, calibration: frames of each set.
        trajectories: at 500 K, that all frames are from.
        replicas: of each draw at each temperature.
        steps, equilibration: of each.
        test: frames at each temperature that are only predicted.
    """

    train: int = 40
    validation: int = 10
    calibration: int = 20
    trajectories: int = 4
    replicas: int = 4
    steps: int = 20000
    equilibration: int = 2000
    test: int = 50


def sample(path: str, temperature: float, frames: int, seed: int) -> None:
    """Continue GFN2-xTB dynamics until there are so many frames."""
    place = importlib.util.spec_from_file_location("ethanol_label", GIVEN / "label.py")
    assert place is not None
    assert place.loader is not None
    label = importlib.util.module_from_spec(place)
    place.loader.exec_module(label)
    label.run(Path(path), temperature, 200, frames, seed)


class Ethanol:
    """A case: see ``case.Case``."""

    name, title = "ethanol", "ethanol, GFN2-xTB, SchNet"
    methods, observables, blocks = METHODS, OBSERVABLES, 10
    temperatures = TEMPERATURES

    def __init__(
        self, folder: Path, sets: int, size: Size | None = None, recipe: Recipe | None = None
    ) -> None:
        """Args:
        folder: where what is sampled is kept.
        sets: training sets.
        size, recipe: those of the full setting where not given.
        """
        self.folder, self.sets, self.size = folder / "ethanol_truth", sets, size or Size()
        self.recipe = recipe or Recipe(
            members=8, adam=6000, learning_rate=5e-3, steps=4000, batch_size=4, first=1e-5,
            last=1e-6, last_layer="potential/0/readout1",
        )  # fmt: skip
        frames = data.read(GIVEN / "train.extxyz")
        example = frames[0].atoms
        bonds = tuple((int(i), int(j)) for i, j in find_bonds(example))
        prior = HarmonicBonds.from_fluctuations(
            bonds, np.array([f.atoms.positions for f in frames]), 500.0
        )
        network = SchNet((1, 6, 8), 5.0, 16, 2, neighbors=mean_neighbors(frames, 5.0))
        self.potential = network + prior
        self.system = System.from_ase(example)
        self.numbers = example.numbers

    def settings(self) -> dict[str, Any]:
        """What stored numbers depend on."""
        return {"size": dataclasses.asdict(self.size), "recipe": dataclasses.asdict(self.recipe)}

    def own_methods(self) -> dict[str, Method]:
        """None."""
        return {}

    @functools.cached_property
    def _sampled(self) -> dict[Place, list[dict[str, np.ndarray]]]:
        """Trajectories of the truth: those at 500 K that all sets share, one at 300 K."""
        size = self.size
        each = size.train + size.validation + size.calibration
        wanted = -(-self.sets * each // size.trajectories)
        jobs: list[tuple[str, float, int, int]] = [
            (str(self.folder / f"in_{i}.npz"), 500.0, wanted, 20 + i)
            for i in range(size.trajectories)
        ]
        jobs.append((str(self.folder / "away_0.npz"), 300.0, size.test, 40))
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [job for job in jobs if _length(job[0]) < job[2]]
        if missing:
            with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
                for job in [pool.submit(sample, *job) for job in missing]:
                    job.result()
        made: dict[Place, list[dict[str, np.ndarray]]] = {"in": [], "away": []}
        for path, _, count, _ in jobs:
            with np.load(path) as stored:
                kept = {k: stored[k][:count] for k in ("positions", "energy", "forces")}
            made["in" if "in_" in Path(path).name else "away"].append(kept)
        return made

    def _frames(self, place: Place) -> list[Frame]:
        every = [
            Frame(Atoms(self.numbers, x), float(e), np.asarray(f, float), "GFN2-xTB", i)
            for one in self._sampled[place]
            for i, (x, e, f) in enumerate(
                zip(one["positions"], one["energy"], one["forces"], strict=True)
            )
        ]
        order = np.random.default_rng(2).permutation(len(every))
        return [every[i] for i in order]

    def training_set(self, number: int) -> TrainingSet:
        """Frames that no other set has, from everywhere in the trajectories."""
        import numpyro.distributions as dist

        counts = (self.size.train, self.size.validation, self.size.calibration)
        ends = number * sum(counts) + np.cumsum([0, *counts])
        frames = self._frames("in")
        parts = [frames[a:b] for a, b in itertools.pairwise(ends)]
        shift = data.fit_shift(parts[0])
        train, validation, calibration = (make_dataset(p, shift, 5.0).batch for p in parts)
        wide = dist.Exponential(1.0)
        posterior = Posterior(
            EnergyForces(self.potential, wide, wide), WeightPrior.normal(10.0), train
        )
        return TrainingSet(posterior, validation, calibration, shift.of(self.numbers))

    def test(self, place: Place) -> Batch:
        """Shipped frames at 500 K, or those that were sampled at 300 K."""
        frames = (
            data.read(GIVEN / "test.extxyz")[: self.size.test]
            if place == "in"
            else self._frames("away")
        )
        return make_dataset(frames, Shift((1, 6, 8), (0.0, 0.0, 0.0)), 5.0).batch

    def reference(self, place: Place) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What ships with the examples at 300 K; at 500 K averages of all that was sampled."""
        if place == "away":
            with np.load(GIVEN / "reference.npz") as stored:
                return {name: (stored[key], stored[f"{key}_error"]) for name, key in KEYS.items()}
        self._sampled  # noqa: B018 -- made here, before workers would all make it
        return self._averages

    @functools.cached_property
    def _averages(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        zero = float(self._sampled["in"][0]["energy"][0])
        blocks: list[dict[str, Any]] = []
        look = jax.jit(jax.vmap(self._look))
        for one in self._sampled["in"]:
            # a block is 5 ps or what there is: longer than all but the slowest correlations
            for piece in np.array_split(
                np.arange(len(one["energy"])), max(1, len(one["energy"]) // 50)
            ):
                energy = jnp.asarray(one["energy"][piece] - zero, float)
                seen = look(jnp.asarray(one["positions"][piece], float), energy)
                blocks.append(jax.tree.map(lambda x: np.asarray(x, float).mean(axis=0), seen))
        stacked = jax.tree.map(lambda *x: np.stack(x), *blocks)
        context = Context(TEMPERATURES["in"], len(self.numbers), zero)
        made = {}
        for observable in OBSERVABLES:
            value, variance = jackknife(observable, stacked[observable.name], context)
            made[observable.name] = (np.asarray(value), np.sqrt(variance))
        return made

    def _look(self, positions: jax.Array, energy: jax.Array) -> dict[str, dict[str, jax.Array]]:
        here = self.system.replace(positions=positions)
        moment = Moment(here, energy, jnp.zeros_like(positions))
        return {o.name: o.snapshot(moment) for o in OBSERVABLES}

    @functools.cached_property
    def _simulation(self) -> Simulation:
        size = self.size
        kelvin = [TEMPERATURES[place] for place in PLACES for _ in range(size.replicas)]
        return Simulation(
            self.potential, self.system, NVT(kelvin, 0.5, friction=0.01),
            Length(size.steps, equilibration=size.equilibration, stride=20, blocks=10),
            OBSERVABLES, stability=Stability(min_distance=0.8),
        )  # fmt: skip

    def simulate(self, key: jax.Array, params: Any) -> dict[Place, Trajectories]:
        """From frames of the truth at 500 K."""
        start_key, run_key = jax.random.split(key)
        frames = np.concatenate([one["positions"] for one in self._sampled["in"]])
        draws = len(jax.tree.leaves(params)[0])
        replicas = self.size.replicas
        chosen = jax.random.choice(start_key, len(frames), (draws, 2 * replicas))
        made = self._simulation.run(
            run_key, jax.tree.map(jnp.asarray, params),
            starts=jnp.asarray(frames[np.asarray(chosen)], float),
        )  # fmt: skip
        return {
            place: part(made, slice(i * replicas, (i + 1) * replicas))
            for i, place in enumerate(PLACES)
        }

    def context(self, place: Place, given: TrainingSet) -> Context:
        """With the energy that training removed."""
        return Context(TEMPERATURES[place], len(self.numbers), given.shift)


def _length(path: str) -> int:
    if not Path(path).exists():
        return 0
    with np.load(path) as stored:
        return len(stored["energy"])
