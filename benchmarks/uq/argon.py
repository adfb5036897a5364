"""Lennard-Jones argon, learned from frames with noisy labels.

The truth is the spline that runs through the Lennard-Jones curve, so that one of the two models, a
spline on the same knots with priors that know the noise, is well specified and has an exact
posterior; the other is a pairwise network, which has to find the noise too.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.data import Batch
from bayespot.likelihood import EnergyForces
from bayespot.md import Length, Simulation, Stability, Trajectories
from bayespot.observables import Context, Observable
from bayespot.posterior import Posterior
from bayespot.potentials import PairMLP, Potential
from bayespot.prior import WeightPrior
from bayespot.system import System
from benchmarks.uq import curves
from benchmarks.uq.argon_truth import (
    COARSE,
    CRYSTAL,
    FINE,
    FLUID,
    MODEL,
    RANGE,
    STRIDE,
    Matter,
    Size,
    Truth,
)
from benchmarks.uq.case import PLACES, Place, TrainingSet, part
from benchmarks.uq.methods import Method, Recipe

NETWORK = PairMLP(RANGE, 6, (16,), scale=0.1)
# Forces of a crystal are smaller, and hardly a pair is between two shells: labels are less noisy
# than the fluid's, Adam takes longer, and noise of a third wants steps of about a ninth.
SETTINGS = {
    FLUID.name: (Size(), Recipe()),
    CRYSTAL.name: (
        Size(force_noise=0.01, energy_noise=0.02), Recipe(adam=8000, first=1e-4, last=1e-5)
    ),
}  # fmt: skip


@dataclasses.dataclass
class Argon:
    """A case: see ``case.Case``.

    Attributes:
        truth: shared by both models.
        potential: the model.
        name, title: for files and tables.
        recipe, methods: how posteriors are made, and which.
        exact: whether the model is the truth's own, with an exact posterior.
    """

    truth: Truth
    potential: Potential
    name: str
    title: str
    recipe: Recipe
    methods: tuple[str, ...]
    exact: bool = False
    blocks: int = 10

    @property
    def temperatures(self) -> dict[Place, float]:
        """Of the matter."""
        return dict(self.truth.matter.temperatures)

    @property
    def observables(self) -> tuple[Observable, ...]:
        """Of the matter."""
        return self.truth.matter.observables

    @property
    def sets(self) -> int:
        """Training sets."""
        return self.truth.size.sets

    def settings(self) -> dict[str, Any]:
        """What stored numbers depend on."""
        size = dataclasses.asdict(self.truth.size)
        del size["sets"]  # more of them leave the first as they are
        return {
            "size": size,
            "recipe": dataclasses.asdict(self.recipe),
            "model": repr(self.potential),
            "matter": dataclasses.asdict(self.truth.matter),
        }

    def training_set(self, number: int) -> TrainingSet:
        """Frames that no other set has."""
        size = self.truth.size
        counts = (size.train, size.validation, size.calibration)
        frames = self.truth.frames("in")
        first = number * sum(counts)
        if first + sum(counts) > len(frames):
            raise ValueError(f"{len(frames)} frames are too few for set {number}")
        mine = self.truth.labelled(frames[first : first + sum(counts)], number)
        ends = np.cumsum([0, *counts])
        train, validation, calibration = (
            jax.tree.map(lambda x, a=a, b=b: x[a:b], mine) for a, b in itertools.pairwise(ends)
        )
        return TrainingSet(self.posterior(train), validation, calibration)

    def posterior(self, data: Batch) -> Posterior:
        """The spline's noise is known to 2 %, and its prior is that of ``exact``."""
        import numpyro.distributions as dist

        if not self.exact:
            wide = dist.Exponential(1.0)
            return Posterior(
                EnergyForces(self.potential, wide, wide), WeightPrior.normal(10.0), data
            )
        size = self.truth.size
        noise = [dist.LogNormal(np.log(s), 0.02) for s in (size.energy_noise, size.force_noise)]
        return Posterior(
            EnergyForces(self.potential, *noise), WeightPrior.normal(MODEL.scale), data
        )

    def own_methods(self) -> dict[str, Method]:
        """The exact posterior, where there is one."""
        return {"exact": self._exact} if self.exact else {}

    def _exact(self, key: jax.Array, train: Posterior, validation: Batch) -> Any:
        """Independent draws from the Gaussian that a linear model with known noise has."""
        del validation
        mean, root = exact(train.data, self.truth.size)
        z = np.asarray(jax.random.normal(key, (self.recipe.members, len(mean))), float)
        draws = mean + z @ root.T
        noise = {
            f"log_sigma_{name}": np.full(len(z), np.log(sigma), np.float32)
            for name, sigma in (
                ("energy", self.truth.size.energy_noise), ("forces", self.truth.size.force_noise)
            )
        }  # fmt: skip
        return {"potential": {"pair": draws[:, None].astype(np.float32)}, "noise": noise}

    def reference(self, place: Place) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """From the long simulations of the truth."""
        made = self.truth.made
        return {
            o.name: tuple(np.asarray(made[f"{o.name} {place}{more}"]) for more in ("", " error"))
            for o in self.observables
        }  # type: ignore[return-value]

    @functools.cache  # noqa: B019 -- a case lives as long as the run
    def test(self, place: Place) -> Batch:
        """Sixteen frames at the end of the list, which no set reaches."""
        return self.truth.labelled(self.truth.frames(place)[-16:], None)

    __hash__ = object.__hash__

    @functools.cached_property
    def _simulation(self) -> Simulation:
        matter, size = self.truth.matter, self.truth.size
        length = Length(size.steps, equilibration=size.equilibration, stride=STRIDE, blocks=10)
        return Simulation(
            FINE, matter.system, matter.ensemble(1), length, matter.observables,
            stability=Stability(min_distance=1.5), skin=0.8,
        )  # fmt: skip

    @functools.cached_property
    def _curve(self) -> Any:
        return curves.pair_curve(self.potential, 18, curves.knots(FINE))

    def simulate(self, key: jax.Array, params: Any) -> dict[Place, Trajectories]:
        """One trajectory a draw and temperature, from the truth's frames in distribution."""
        energies = np.asarray(self._curve(params), float)
        fine = {"pair": jnp.asarray(curves.through(FINE, energies)[:, None], float)}
        start_key, run_key = jax.random.split(key)
        frames = self.truth.frames("in")
        chosen = np.asarray(jax.random.choice(start_key, len(frames), (len(energies), 2)))
        made = self._simulation.run(run_key, fine, starts=jnp.asarray(frames[chosen], float))
        return {place: part(made, slice(i, i + 1)) for i, place in enumerate(PLACES)}

    def context(self, place: Place, given: TrainingSet) -> Context:
        """Energies have no shift."""
        del given
        return self.truth.matter.context(place)


def exact(data: Batch, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and a root of the covariance, of the spline's coefficients given labels."""
    with jax.enable_x64(True):
        batch = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x, np.float64) if x.dtype == np.float32 else x), data
        )
        energy, forces = (np.asarray(x) for x in _designs(batch))
    rows = [energy / size.energy_noise, forces.reshape(-1, COARSE) / size.force_noise]
    labels = [
        np.asarray(data.energy, float) / size.energy_noise,
        np.asarray(data.forces, float).ravel() / size.force_noise,
    ]
    x, y = np.concatenate(rows), np.concatenate(labels)
    precision = x.T @ x + np.eye(COARSE) / MODEL.scale**2
    values, vectors = np.linalg.eigh(precision)
    return np.linalg.solve(precision, x.T @ y), vectors / np.sqrt(values)


@jax.jit
def _designs(batch: Batch) -> Any:
    def one(system: System, neighbors: Any) -> Any:
        return MODEL.design(system, neighbors), MODEL.force_design(system, neighbors)

    return jax.lax.map(lambda frame: one(*frame), (batch.system, batch.neighbors))


def cases(matter: Matter, folder: Path, quick: bool, sets: int = 20) -> list[Argon]:
    """The network with every method; the spline with those that its exact posterior judges."""
    size, network = SETTINGS[matter.name]
    size = dataclasses.replace(size, sets=sets)
    if not quick:
        size = dataclasses.replace(size, steps=4800, reference_steps=32000)
        network = dataclasses.replace(network, adam=4 * network.adam, steps=4 * network.steps)
    truth = Truth(matter, size, folder)
    every = (
        "ensemble", "pSGLD, τ = 1", "pSGLD, τ = 0.1", "pSGLD, τ = 0.01", "reSGLD", "SWAG",
        "Laplace",
    )  # fmt: skip
    spline = dataclasses.replace(network, last_layer="potential/pair", prior_scale=MODEL.scale)
    # the fluid is in every quick run, which has no time for all of them
    judged = (
        ("exact", "pSGLD, τ = 1", "Laplace") if quick and matter is FLUID else ("exact", *every)
    )
    name, title = matter.name, matter.name.replace("_", " ")
    return [
        Argon(truth, MODEL, f"{name}_spline", f"{title}, cubic spline (well specified)", spline,
              judged, exact=True),
        Argon(truth, NETWORK, f"{name}_network", f"{title}, pairwise network", network,
              every[:-1] if quick else every),
    ]  # fmt: skip
