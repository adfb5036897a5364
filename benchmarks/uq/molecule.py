"""A molecule with GFN2-xTB as the truth, learned by a small SchNet from some tens of frames."""

from __future__ import annotations

import dataclasses
import functools
import itertools
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
from bayespot.observables import Context, Observable
from bayespot.posterior import Posterior
from bayespot.potentials import HarmonicAngles, HarmonicBonds, Potential, SchNet
from bayespot.prior import WeightPrior
from bayespot.system import System
from bayespot.topology import find_bonds
from benchmarks.uq import molecule_truth
from benchmarks.uq.case import PLACES, Place, TrainingSet, part
from benchmarks.uq.methods import Method, Recipe
from benchmarks.uq.molecule_truth import Kind

METHODS = (
    "ensemble", "pSGLD, τ = 1", "pSGLD, τ = 0.1", "pSGLD, τ = 0.01", "reSGLD", "SWAG", "Laplace",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Size:
    """Of the experiment; MD is at 0.5 fs.

    Attributes:
        train, validation, calibration: frames of each set.
        test: frames at each temperature that are only predicted.
        replicas: of each draw at each temperature.
        steps, equilibration: of each.
        features, interactions, basis: of the SchNet.
        cutoff: of all models, Angstrom: every atom sees every other.
    """

    train: int = 60
    validation: int = 5
    calibration: int = 15
    test: int = 50
    replicas: int = 8
    steps: int = 12000
    equilibration: int = 1200
    features: int = 16
    interactions: int = 2
    basis: int = 16
    cutoff: float = 4.0


@dataclasses.dataclass
class Molecule:
    """A case: see ``case.Case``.

    Attributes:
        path: of the truth, which is made where it is missing (the extra ``reference``).
        kind: which molecule.
        name, title: for files and tables.
        sets: training sets.
        size: of sets, MD and model.
        recipe, methods: how posteriors are made, and which.
        blocks: of MD.
    """

    path: Path
    kind: Kind
    name: str
    title: str
    sets: int
    size: Size
    recipe: Recipe
    methods: tuple[str, ...] = METHODS
    blocks: int = 10

    __hash__ = object.__hash__

    @property
    def temperatures(self) -> dict[Place, float]:
        """K."""
        return dict(self.kind.temperatures)

    @property
    def observables(self) -> tuple[Observable, ...]:
        """What is simulated."""
        return self.kind.observables

    def settings(self) -> dict[str, Any]:
        """What stored numbers depend on."""
        return {
            "size": dataclasses.asdict(self.size),
            "recipe": dataclasses.asdict(self.recipe),
            "kind": dataclasses.asdict(self.kind),
        }

    def own_methods(self) -> dict[str, Method]:
        """None."""
        return {}

    @functools.cached_property
    def _truth(self) -> dict[str, np.ndarray]:
        return molecule_truth.load(self.path, self.kind)

    def _frames(self, place: Place) -> list[Frame]:
        positions, energy, forces = (
            self._truth[f"frame {what} {place}"] for what in ("positions", "energy", "forces")
        )
        return [
            Frame(Atoms(self.kind.atoms.numbers, x), float(e), np.asarray(f, float), "GFN2-xTB", i)
            for i, (x, e, f) in enumerate(zip(positions, energy, forces, strict=True))
        ]

    def training_set(self, number: int) -> TrainingSet:
        """Frames that no other set has, of walkers that are independent of each other.

        Raises:
            ValueError: there are not so many.
        """
        import numpyro.distributions as dist

        size = self.size
        ends = np.cumsum([0, size.train, size.validation, size.calibration])
        frames = self._frames("in")[: -size.test]
        first = number * ends[-1]
        if first + ends[-1] > len(frames):
            raise ValueError(f"{len(frames)} frames are too few for set {number}")
        parts = [frames[first + a : first + b] for a, b in itertools.pairwise(ends)]
        shift = data.fit_shift(parts[0])
        train, validation, calibration = (make_dataset(p, shift, size.cutoff).batch for p in parts)
        wide = dist.Exponential(1.0)
        posterior = Posterior(
            EnergyForces(self.potential, wide, wide), WeightPrior.normal(10.0), train
        )
        numbers = self.kind.atoms.numbers
        return TrainingSet(posterior, validation, calibration, shift.of(numbers))

    @functools.cached_property
    def potential(self) -> Potential:
        """A SchNet beside springs, whose stiffness is that of the frames of all sets."""
        size, frames = self.size, self._frames("in")
        example, kelvin = self.kind.atoms, self.temperatures["in"]
        positions = self._truth["frame positions in"].astype(float)
        bonds = _bonds(example)
        springs = HarmonicBonds.from_fluctuations(bonds, positions, kelvin)
        # some tens of frames do not tell a network to keep angles from closing
        bends = HarmonicAngles.from_fluctuations(_angles(bonds), positions, kelvin)
        network = SchNet(
            tuple(sorted({int(z) for z in example.numbers})), size.cutoff, size.features,
            size.interactions, size.basis, neighbors=mean_neighbors(frames[:50], size.cutoff),
        )  # fmt: skip
        return network + springs + bends

    @functools.cache  # noqa: B019 -- a case lives as long as the run
    def test(self, place: Place) -> Batch:
        """Frames at the end of the list, which no set reaches."""
        frames = self._frames(place)[-self.size.test :]
        species = tuple(sorted({int(z) for z in self.kind.atoms.numbers}))
        return make_dataset(frames, Shift(species, (0.0,) * len(species)), self.size.cutoff).batch

    def reference(self, place: Place) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Averages of Monte Carlo with the truth."""
        return {
            o.name: (self._truth[f"{o.name} {place}"], self._truth[f"{o.name} {place} error"])
            for o in self.observables
        }

    @property
    def _whole_molecule(self) -> Stability:
        """What frames of the truth keep to with room to spare, and a broken molecule does not."""
        bonds = _bonds(self.kind.atoms)
        lengths = [float(self.kind.atoms.get_distance(*bond)) for bond in bonds]
        return Stability(bonds, tuple(lengths), max_bond_deviation=0.4, min_distance=1.2)

    @functools.cached_property
    def _simulation(self) -> Simulation:
        size = self.size
        kelvin = [self.temperatures[place] for place in PLACES for _ in range(size.replicas)]
        # a strong friction: positions alone are averaged, and energies are forgotten sooner
        return Simulation(
            self.potential, System.from_ase(self.kind.atoms), NVT(kelvin, 0.5, friction=0.05),
            Length(size.steps, equilibration=size.equilibration, stride=20, blocks=self.blocks),
            self.observables, stability=self._whole_molecule,
        )  # fmt: skip

    def simulate(self, key: jax.Array, params: Any) -> dict[Place, Trajectories]:
        """From frames of the truth where the model was trained."""
        start_key, run_key = jax.random.split(key)
        frames, replicas = self._truth["frame positions in"], self.size.replicas
        draws = len(jax.tree.leaves(params)[0])
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
        return Context(self.temperatures[place], len(self.kind.atoms), given.shift)


def _bonds(example: Atoms) -> tuple[tuple[int, int], ...]:
    return tuple((int(i), int(j)) for i, j in find_bonds(example))


def _angles(bonds: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int, int], ...]:
    """Two bonds that share an atom, which is in the middle."""
    made = []
    for one, two in itertools.combinations(bonds, 2):
        for corner in set(one) & set(two):
            made.append((sum(one) - corner, corner, sum(two) - corner))
    return tuple(made)


def peroxide(sets: int, quick: bool) -> Molecule:
    """Hydrogen peroxide, whose truth is beside this file; ``quick`` is less of everything."""
    size, recipe = Size(), Recipe(
        members=8, adam=6000, learning_rate=1e-2, steps=4000, batch_size=4, first=1e-4,
        last=1e-5, last_layer="potential/0/readout1",
    )  # fmt: skip
    few = ("ensemble", "pSGLD, τ = 1", "pSGLD, τ = 0.01")
    if quick:
        size = dataclasses.replace(size, replicas=4, steps=2000, equilibration=400)
        recipe = dataclasses.replace(recipe, adam=2000, steps=1000)
    return Molecule(
        Path(__file__).with_name("peroxide.npz"), molecule_truth.PEROXIDE, "peroxide",
        "hydrogen peroxide, GFN2-xTB, SchNet", sets, size, recipe, few if quick else METHODS,
    )  # fmt: skip


def ethanol(folder: Path, sets: int) -> Molecule:
    """Ethanol, whose truth is made in ``folder`` once."""
    size = Size(
        train=40, validation=10, calibration=20, replicas=4, steps=20000, equilibration=2000,
        basis=20, cutoff=5.0,
    )  # fmt: skip
    recipe = Recipe(
        members=8, adam=6000, learning_rate=5e-3, steps=4000, batch_size=4, first=1e-5,
        last=1e-6, last_layer="potential/0/readout1",
    )  # fmt: skip
    return Molecule(
        folder / "ethanol.npz", molecule_truth.ETHANOL, "ethanol", "ethanol, GFN2-xTB, SchNet",
        sets, size, recipe,
    )  # fmt: skip
