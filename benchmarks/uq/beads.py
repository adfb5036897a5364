"""Coarse models of the molecules' centres: their training sets, posteriors and simulations."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.data import Batch, Frame, Shift, make_dataset
from bayespot.likelihood import EnergyForces
from bayespot.md import NVT, Length, Simulation, Stability, Trajectories
from bayespot.observables import Observable, Pressure
from bayespot.posterior import Posterior
from bayespot.potentials import LennardJones, PairMLP, Potential, SchNet
from bayespot.prior import WeightPrior
from bayespot.units import KJ_PER_MOL
from benchmarks.uq.argon_truth import roomy
from benchmarks.uq.case import part
from benchmarks.uq.methods import Methods, Recipe
from benchmarks.uq.polar_fluid import BEADS, CURVES, SIGMA, TEMPERATURES, Truth, beads
from benchmarks.uq.runner import predictor

RANGE, SLOTS, ELEMENT = 5.0, 28, 8
TRAINED = 298.0
TIME_STEP, STRIDE, CLOSEST = 4.0, 25, 1.6  # fs, steps between two frames, Angstrom
OBSERVABLES: tuple[Observable, ...] = (*CURVES, Pressure("pressure"))
# what keeps beads apart where no frame tells them to (the paper's prior of water)
REPULSION = LennardJones(SIGMA, KJ_PER_MOL, RANGE, repulsion_only=True)
CURVE = PairMLP(RANGE, 6, (16,), 0.1)
MODELS: dict[str, Potential] = {
    "many-body": SchNet((ELEMENT,), RANGE, 8, 2, 8, scale=0.1, neighbors=17.0) + REPULSION,
    "pairs": CURVE + REPULSION,
    "thermal": dataclasses.replace(CURVE, temperature=TRAINED) + REPULSION,
}
SIMULATED = {"many-body": TEMPERATURES[:2], "pairs": TEMPERATURES, "thermal": TEMPERATURES}
"""Temperatures of MD; pressures are asked of the cheap models, which see all."""
COLD = (1.0, 0.1, 0.01)
"""Posterior temperatures."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Of part ``bands``.

    Attributes:
        sets: training sets.
        train, validation: frames of each; those of two temperatures share them.
        steps, equilibration: of MD of each draw at each temperature.
        recipe: of all posteriors.
    """

    sets: int = 5
    train: int = 24
    validation: int = 4
    steps: int = 1000
    equilibration: int = 200
    recipe: Recipe = dataclasses.field(
        default_factory=lambda: Recipe(members=6, adam=3000, steps=1000)
    )


class Case:
    """Training sets, methods and MD; whatever is compiled serves all sets."""

    def __init__(self, truth: Truth, plan: Plan) -> None:
        self.truth, self.plan = truth, plan
        self._last: Any = (-1, None, None)
        self._methods = {name: Methods(plan.recipe) for name in MODELS}
        length = Length(plan.steps, equilibration=plan.equilibration, stride=STRIDE, blocks=5)
        system = BEADS.replace(temperature=jnp.asarray(TRAINED, float))
        self._simulations = {
            name: Simulation(
                potential, system, NVT(SIMULATED[name], TIME_STEP, friction=0.005), length,
                OBSERVABLES, stability=Stability(min_distance=CLOSEST), skin=0.5,
            )
            for name, potential in MODELS.items()
        }  # fmt: skip

    def batch(self, temperatures: tuple[float, ...], first: int, count: int) -> Batch:
        """``count`` frames, equally many of each temperature, which they tell."""
        each, made = count // len(temperatures), self.truth.made
        frames, kelvin = [], []
        for t in temperatures:
            arrays = [made[f"{what} {t:g}"] for what in ("centres", "forces", "stress")]
            if first + each > len(arrays[0]):
                raise ValueError(f"{len(arrays[0])} frames at {t:g} K are too few")
            for i in range(first, first + each):
                centres, forces, stress = (x[i] for x in arrays)
                frames.append(Frame(beads(centres), 0.0, forces, "made here", i, stress))
                kelvin.append(t)
        batch = make_dataset(frames, Shift((ELEMENT,), (0.0,)), RANGE).batch
        told = batch.system.replace(temperature=jnp.asarray(kelvin, float))
        return roomy(batch._replace(system=told), SLOTS)

    def posterior(self, model: str, temperatures: tuple[float, ...], number: int) -> Any:
        """Posterior and validation frames of a training set that shares none with others."""
        import numpyro.distributions as dist

        plan = self.plan
        first = number * (plan.train + plan.validation)
        wide = dist.Exponential(1.0)
        # centres have no energies: the scale of theirs is a parameter that nothing depends on
        likelihood = EnergyForces(
            MODELS[model], dist.LogNormal(0.0, 1.0), wide, use_energy=False, stress_noise=wide
        )
        train = self.batch(temperatures, first, plan.train)
        posterior = Posterior(likelihood, WeightPrior.normal(10.0), train)
        return posterior, self.batch(temperatures, first + plan.train, plan.validation)

    def ensemble(self, model: str, temperatures: tuple[float, ...], number: int) -> Any:
        """Draws of the deep ensemble, leading axis."""
        train, validation = self.posterior(model, temperatures, number)
        if model == "many-body" and temperatures == (TRAINED,):
            self._last = number, train, validation  # chains start where this ensemble ends
        made = self._methods[model].ensemble(jax.random.key(number), train, validation)
        return jax.tree.map(lambda x: x[:, -1], made.params)

    def chains(self, number: int, tau: float) -> tuple[Any, Any, int]:
        """Last draws of all chains, as many consecutive ones of the first, and how many chains
        diverged; of the many-body model, after its ``ensemble`` of that set."""
        methods, members = self._methods["many-body"], self.plan.recipe.members
        started, train, validation = self._last
        if started != number:
            raise ValueError(f"the ensemble of set {number} must come first")
        made = methods.psgld(jax.random.key(number), train, validation, tau, members)
        several = jax.tree.map(lambda x: x[:, -1], made.params)
        alone = jax.tree.map(lambda x: x[int(np.argmax(made.healthy))], made.params)
        return several, alone, int(np.sum(~made.healthy))

    @functools.cached_property
    def _test(self) -> Batch:
        """Frames at the end of the list, which no set reaches."""
        count = len(self.truth.made[f"centres {TRAINED:g}"])
        return self.batch((TRAINED,), count - 40, 40)

    @functools.cached_property
    def _predictors(self) -> dict[str, Any]:
        return {name: predictor(potential) for name, potential in MODELS.items()}

    def force_rmse(self, model: str, params: Any) -> float:
        """Of the mean of all draws, on frames that no set has, eV/Angstrom."""
        found = self._predictors[model](jax.tree.map(jnp.asarray, params), self._test)[1]
        gap = np.asarray(found, float).mean(0) - np.asarray(self._test.forces, float)
        return float(np.sqrt(np.mean(gap**2)))

    def simulate(self, model: str, number: int, params: Any) -> dict[float, Trajectories]:
        """A trajectory of each draw at each temperature, from frames of that temperature."""
        draws, kelvin = len(jax.tree.leaves(params)[0]), SIMULATED[model]
        rng = np.random.default_rng([3, number])
        starts = np.stack(
            [rng.choice(self.truth.made[f"centres {t:g}"], draws) for t in kelvin], axis=1
        )
        made = self._simulations[model].run(
            jax.random.key(100 + number), jax.tree.map(jnp.asarray, params),
            starts=jnp.asarray(starts, float),
        )  # fmt: skip
        return {t: part(made, slice(i, i + 1)) for i, t in enumerate(kelvin)}
