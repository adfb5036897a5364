"""Lennard-Jones argon, fluid and solid: the potential, long simulations of it, frames with noisy
labels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.build import bulk

from bayespot.data import Batch, Frame, Shift, make_dataset
from bayespot.md import NVT, Length, Simulation
from bayespot.observables import RDF, Context, HeatCapacity, MeanEnergy, Observable, Pressure
from bayespot.potentials import CubicSpline, energy_and_forces
from bayespot.system import System
from bayespot.uncertainty import jackknife
from benchmarks.uq import curves
from benchmarks.uq.case import PLACES, Place, part
from benchmarks.uq.store import kept

SIGMA, EPSILON = 3.405, 0.01032  # Angstrom, eV: argon
RANGE, START, COARSE = 6.5, 3.0, 16
WIDTH = (RANGE - START) / (COARSE + 1)
MODEL = CubicSpline(START, RANGE, COARSE, scale=0.1)
# every third knot is one of the model's; three more intervals below
FINE = CubicSpline(START - 3 * WIDTH, RANGE, 3 * (COARSE + 4) - 1)
TIME_STEP, FRICTION, STRIDE, KEEP = 10.0, 0.005, 20, 10


@dataclasses.dataclass(frozen=True)
class Size:
    """Of the experiment.

    Attributes:
        sets: training sets.
        train, validation, calibration: frames of each.
        force_noise, energy_noise: standard deviations of the labels, eV/Angstrom and eV a frame.
        steps, equilibration: of MD, of each draw at each temperature.
        reference_steps, reference_replicas: of the truth, likewise.
    """

    sets: int = 20
    train: int = 8
    validation: int = 4
    calibration: int = 8
    force_noise: float = 0.03
    energy_noise: float = 0.06
    steps: int = 1200
    equilibration: int = 240
    reference_steps: int = 8000
    reference_replicas: int = 16


@dataclasses.dataclass(frozen=True)
class Matter:
    """What is simulated, and where.

    Attributes:
        name: for files.
        edge: of the cube, Angstrom.
        cells: of four atoms along it, where MD starts.
        temperatures: K.
        energy: eV, near that of all atoms.
        slots: for neighbours of an atom in frames, as many as there may come to be.
    """

    name: str
    edge: float
    cells: int
    temperatures: Mapping[Place, float]
    energy: float
    slots: int

    @functools.cached_property
    def atoms(self) -> Atoms:
        """As a perfect crystal."""
        return bulk("Ar", "fcc", a=self.edge / self.cells, cubic=True) * ((self.cells,) * 3)

    @functools.cached_property
    def system(self) -> System:
        """The same, for MD."""
        return System.from_ase(self.atoms)

    @functools.cached_property
    def observables(self) -> tuple[Observable, ...]:
        """What is simulated."""
        return (
            RDF.of("g(r)", self.system, 6.0, 24),
            MeanEnergy("energy"),
            Pressure("pressure"),
            HeatCapacity("heat capacity", reference=self.energy),
        )

    def ensemble(self, replicas: int) -> NVT:
        """So many replicas at each temperature, one temperature after the other."""
        kelvin = [self.temperatures[place] for place in PLACES for _ in range(replicas)]
        return NVT(kelvin, TIME_STEP, friction=FRICTION)

    def context(self, place: Place) -> Context:
        """For reductions."""
        return Context(self.temperatures[place], len(self.atoms))


FLUID = Matter("argon", (32 / 0.7) ** (1 / 3) * SIGMA, 2, {"in": 150.0, "away": 300.0}, -1.4, 40)
CRYSTAL = Matter("argon_crystal", 2 * 5.3, 2, {"in": 60.0, "away": 160.0}, -1.6, 50)


def lennard_jones(distances: np.ndarray) -> np.ndarray:
    """eV, brought smoothly to zero at the cut-off."""
    sixth = (SIGMA / distances) ** 6
    x = np.clip((distances - START) / (RANGE - START), 0, 1)
    return 4 * EPSILON * (sixth**2 - sixth) * (1 - x**3 * (10 - x * (15 - 6 * x)))


class Truth:
    """The potential, frames of it, and what it says of observables."""

    def __init__(self, matter: Matter, size: Size, folder: Path) -> None:
        self.matter, self.size, self.folder = matter, size, folder
        places = curves.knots(MODEL)
        self.coarse = curves.through(MODEL, lennard_jones(places))
        at = curves.design(MODEL, curves.knots(FINE)) @ self.coarse
        self.params = {"pair": jnp.asarray(curves.through(FINE, at)[None], float)}

    @functools.cached_property
    def made(self) -> dict[str, Any]:
        """Long simulations: averages, errors, and the frames kept."""
        matter, size = self.matter, self.size
        depends = (
            size.reference_steps, size.reference_replicas, self.params["pair"], repr(matter),
            repr(matter.observables), TIME_STEP, STRIDE, KEEP, FRICTION,
        )  # fmt: skip
        stored = kept(self.folder / f"truth_{matter.name}.json", depends, self._simulated)
        return {k: np.asarray(v, float) if isinstance(v, list) else v for k, v in stored.items()}

    def _simulated(self) -> dict[str, Any]:
        matter, size = self.matter, self.size
        replicas = size.reference_replicas
        simulation = Simulation(
            FINE, matter.system, matter.ensemble(replicas),
            Length(size.reference_steps, equilibration=size.reference_steps // 10, stride=STRIDE,
                   blocks=10),
            matter.observables, keep=KEEP,
        )  # fmt: skip
        params = jax.tree.map(lambda x: x[None], self.params)
        made = simulation.run(jax.random.key(0), params, replicas=2 * replicas)
        assert (made.reason == 0).all(), "the truth is stable"
        assert made.frames is not None
        told: dict[str, Any] = {}
        for number, place in enumerate(PLACES):
            here = part(made, slice(number * replicas, (number + 1) * replicas))
            for observable in matter.observables:
                blocks = {k: x[:, 0].mean(0, dtype=float) for k, x in
                          here.means[observable.name].items()}  # fmt: skip
                value, variance = jackknife(observable, blocks, matter.context(place))
                told[f"{observable.name} {place}"] = value
                told[f"{observable.name} {place} error"] = np.sqrt(variance)
            mine = slice(number * replicas, (number + 1) * replicas)
            # six digits of positions are 1e-5 Angstrom: labels are made of what is stored
            frames = made.frames.positions[0, mine]
            told[f"frames {place}"] = frames.reshape(-1, *frames.shape[-2:]) % matter.edge
        return told

    def frames(self, place: Place) -> np.ndarray:
        """(frames, atoms, 3), in a random order."""
        x = self.made[f"frames {place}"]
        return x[np.random.default_rng(1).permutation(len(x))]

    @functools.cached_property
    def _label(self) -> Any:
        def one(system: System, neighbors: Any) -> Any:
            return energy_and_forces(FINE, self.params, system, neighbors)

        return jax.jit(jax.vmap(one))

    def labelled(self, positions: np.ndarray, seed: int | None) -> Batch:
        """With noise of that seed, or without any; room for neighbours is always the same."""
        matter = self.matter
        none = np.zeros(positions.shape[1:])
        frames = []
        for i, x in enumerate(positions):
            atoms = matter.atoms.copy()
            atoms.positions = x
            frames.append(Frame(atoms, 0.0, none, "made here", i))
        batch = roomy(make_dataset(frames, Shift((18,), (0.0,)), RANGE).batch, matter.slots)
        energy, forces = (np.asarray(x, float) for x in self._label(batch.system, batch.neighbors))
        if seed is not None:
            rng = np.random.default_rng([7, seed])
            energy = energy + self.size.energy_noise * rng.normal(size=energy.shape)
            forces = forces + self.size.force_noise * rng.normal(size=forces.shape)
        return batch._replace(energy=jnp.asarray(energy, float), forces=jnp.asarray(forces, float))


def roomy(batch: Batch, slots: int) -> Batch:
    """With ``slots`` slots for neighbours: programs are compiled for their number."""
    lists: Any = batch.neighbors
    more = slots - lists.index.shape[-1]
    if more < 0:
        raise ValueError(f"an atom has more than {slots} neighbours")
    atoms = lists.index.shape[1]
    index = jnp.pad(lists.index, ((0, 0), (0, 0), (0, more)), constant_values=atoms)
    shift = jnp.pad(lists.shift, ((0, 0), (0, 0), (0, more), (0, 0)))
    return batch._replace(neighbors=dataclasses.replace(lists, index=index, shift=shift))
