"""Molecules with GFN2-xTB as the truth: their frames, and averages with errors, in one file each.

    python -m benchmarks.uq.molecule_truth benchmarks/uq/peroxide.npz

makes again what is committed of hydrogen peroxide, whose two hydrogens turn about each other in a
wide well around trans: all of it is sampled within a picosecond.
The truth of ethanol is made by the run that needs it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.build import molecule

from bayespot.observables import (
    Context,
    DihedralDistribution,
    DistanceDistribution,
    HeatCapacity,
    MeanEnergy,
    Observable,
)
from bayespot.observables import Frame as Moment
from bayespot.system import System
from bayespot.uncertainty import jackknife
from benchmarks.uq import xtb
from benchmarks.uq.case import Place

TESTED = 100  # frames away from training that are kept
GROUPS = 25  # of walkers, which are independent of each other: for errors


@dataclasses.dataclass(frozen=True)
class Kind:
    """A molecule.

    Attributes:
        name: in ASE's collection.
        dihedral: atoms of the angle that is watched.
        distances: lowest and highest in Angstrom, and bins, of h(r).
        temperatures: K.
        walkers: of Monte Carlo; their last places are the frames.
        moves: that averages are over, at each temperature.
        degree: of the polynomial that moves them.
    """

    name: str
    dihedral: tuple[int, int, int, int]
    distances: tuple[float, float, int]
    temperatures: tuple[tuple[Place, float], ...] = (("in", 500.0), ("away", 300.0))
    walkers: int = 850
    moves: int = 40
    degree: int = 3

    @property
    def atoms(self) -> Atoms:
        """In their equilibrium shape."""
        return molecule(self.name)

    @property
    def observables(self) -> tuple[Observable, ...]:
        """What is simulated."""
        return (
            DistanceDistribution("h(r)", *self.distances),
            DihedralDistribution("dihedral", self.dihedral),
            MeanEnergy("energy"),
            HeatCapacity("heat capacity"),
        )


# atom order of ASE: O, O, H, H; C, C, O, H(O), H(C) x 5
PEROXIDE = Kind("H2O2", (2, 0, 1, 3), (0.8, 3.0, 44), walkers=1650)
ETHANOL = Kind("CH3CH2OH", (0, 1, 2, 3), (0.8, 4.8, 80), walkers=1450, moves=200, degree=2)


def make(path: Path, kind: Kind, label: xtb.Label | None = None, start: int = 100) -> None:
    """Sample both temperatures, and write frames, averages and their errors.

    Args:
        path: of the file.
        kind: which molecule.
        label: in place of GFN2-xTB, which two processes call.
        start: walkers that polynomials are fitted with.
    """
    if label is None:
        with ProcessPoolExecutor(2, get_context("spawn"), initializer=_one_thread) as pool:
            return make(path, kind, xtb.gfn2(pool, kind.atoms.numbers), start)
    rng, atoms = np.random.default_rng(0), kind.atoms
    masses = atoms.get_masses()
    at, move = xtb.equilibrium(
        rng, atoms.positions, masses, start, kind.temperatures[0][1], label, kind.degree
    )
    at = xtb.Walkers(*(x[np.arange(kind.walkers) % start] for x in at))
    made: dict[str, np.ndarray] = {}
    for place, temperature in kind.temperatures:
        walk = functools.partial(
            xtb.step, rng, temperature=temperature, masses=masses, move=move, label=label
        )
        accepted = []
        for _ in range(15):  # copies part, and walkers cool down
            at, _ = walk(at)
        averages = Averages(kind, float(at.energy.mean()))
        for _ in range(kind.moves):
            at, share = walk(at)
            averages.add(at)
            accepted.append(share)
        print(f"{kind.name}, {temperature:.0f} K: {np.mean(accepted):.0%} accepted", flush=True)
        keep = slice(None if place == "in" else -TESTED, None)
        made[f"frame positions {place}"] = at.positions[keep].astype(np.float32)
        made[f"frame energy {place}"] = at.energy[keep]
        made[f"frame forces {place}"] = at.forces[keep].astype(np.float32)
        for name, (value, error) in averages.values(temperature):
            made[f"{name} {place}"], made[f"{name} {place} error"] = value, error
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npz")
    np.savez_compressed(partial, allow_pickle=False, **made)
    partial.replace(path)
    return None


def _one_thread() -> None:
    """Of each process: molecules are too small for more, and there are two."""
    os.environ["OMP_NUM_THREADS"] = "1"


class Averages:
    """Observables of walkers and their mirror images: the truth knows no left and right."""

    def __init__(self, kind: Kind, zero: float) -> None:
        self.kind, self.zero = kind, zero
        system = System.from_ase(kind.atoms)
        observables = kind.observables

        @jax.jit
        @jax.vmap
        def look(positions: jax.Array, energy: jax.Array) -> dict[str, dict[str, jax.Array]]:
            moment = Moment(system.replace(positions=positions), energy, jnp.zeros_like(positions))
            return {o.name: o.snapshot(moment) for o in observables}

        self._look: Any = look
        self._seen: list[Any] = []

    def add(self, at: xtb.Walkers) -> None:
        """After a move."""
        energy = jnp.asarray(at.energy - self.zero, float)
        both = [self._look(jnp.asarray(sign * at.positions, float), energy) for sign in (1, -1)]
        use = len(energy) // GROUPS * GROUPS
        self._seen.append(jax.tree.map(
            lambda *x: np.mean([
                np.asarray(y[:use], float).reshape(GROUPS, -1, *y.shape[1:]).mean(1) for y in x
            ], axis=0),
            *both,
        ))  # fmt: skip

    def values(self, temperature: float) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
        """Name, average, and its standard error over groups."""
        blocks = jax.tree.map(lambda *x: np.mean(x, axis=0), *self._seen)
        context = Context(temperature, len(self.kind.atoms), self.zero)
        for observable in self.kind.observables:
            value, variance = jackknife(observable, blocks[observable.name], context)
            yield observable.name, (np.asarray(value), np.sqrt(variance))


def load(path: Path, kind: Kind) -> dict[str, np.ndarray]:
    """All that ``make`` wrote, which it does here where there is no file."""
    if not path.exists():
        make(path, kind)
    with np.load(path) as stored:
        return dict(stored)


if __name__ == "__main__":
    make(Path(sys.argv[1]), PEROXIDE)
