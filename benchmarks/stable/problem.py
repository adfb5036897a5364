"""Frames of a case, their bonds, and what simulations of it shall be like."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot import data
from bayespot.build.samples import mean_neighbors
from bayespot.data import Batch, Frame
from bayespot.md import RDFDeviation, Stability
from bayespot.observables import RDF, Context, Custom, DistanceDistribution, Observable
from bayespot.observables import Frame as Seen
from bayespot.observables.geometry import bond_lengths
from bayespot.potentials import SchNet
from bayespot.system import System
from bayespot.topology import find_bonds
from bayespot.trainers import Neighborhoods, Target
from benchmarks.stable.cases import DATA, Case

RDF_RANGE, RDF_BINS = 6.0, 60
LIMIT = 3.0  # Angstrom; of the integrated deviation of a radial distribution function
O_H = ((0, 1), (0, 2))  # bonds within a molecule: an oxygen and its two hydrogens


class Problem(NamedTuple):
    """A case with its data.

    Attributes:
        potential: with the neighbours counted.
        train, validation, test: labelled frames, prepared.
        system: one frame.
        pool: (frames, atoms, 3) positions of frames that are not tested on.
        held_out: (frames, atoms, 3) those of the test.
        bonds, lengths: pairs of atoms, and their mean lengths in the pool, Angstrom.
    """

    potential: SchNet
    train: Batch
    validation: Batch
    test: Batch
    system: System
    pool: np.ndarray
    held_out: np.ndarray
    bonds: tuple[tuple[int, int], ...]
    lengths: tuple[float, ...]


def load(case: Case, seed: int = 0) -> Problem:
    """Split at random: frames to learn from and to stop by, a third to test on, others."""
    frames = data.read(DATA / case.path)
    order = [frames[i] for i in np.random.default_rng(seed).permutation(len(frames))]
    how, tested = case.pretraining, len(frames) // 3
    test, rest = order[:tested], order[tested:]
    train, validation = rest[: how.frames], rest[how.frames : how.frames + how.validation]
    potential = dataclasses.replace(
        case.potential, neighbors=mean_neighbors(train, case.potential.cutoff)
    )
    shift = data.fit_shift(train)
    learnt, checked, tested_on = (
        data.make_dataset(x, shift, potential.cutoff).batch for x in (train, validation, test)
    )
    system = System.from_ase(rest[0].atoms)
    bonds = _bonds(rest)
    pool = _positions(rest)
    of_all = jax.vmap(lambda x: bond_lengths(system.replace(positions=x), bonds))(jnp.asarray(pool))
    lengths = tuple(float(x) for x in np.mean(np.asarray(of_all), axis=0))
    if case.localized:  # molecules are alike
        lengths = (float(np.mean(lengths)),) * len(bonds)
    return Problem(
        potential, learnt, checked, tested_on, system, pool, _positions(test), bonds, lengths
    )


def _positions(frames: list[Frame]) -> np.ndarray:
    return np.stack([f.atoms.positions for f in frames])


def _bonds(frames: list[Frame]) -> tuple[tuple[int, int], ...]:
    """Pairs that are bonded in most of some frames, oxygens of water first."""
    frames = frames[:21]
    counts = collections.Counter(pair for f in frames for pair in find_bonds(f.atoms))
    often = sorted(pair for pair, n in counts.items() if n > len(frames) / 2)
    numbers = frames[0].atoms.numbers
    return tuple((i, j) if numbers[i] >= numbers[j] else (j, i) for i, j in often)


def molecules(problem: Problem) -> Neighborhoods:
    """Each molecule of water a sample of its own, balanced by its worst bond."""
    groups: dict[int, list[int]] = {}
    for oxygen, hydrogen in problem.bonds:
        groups.setdefault(oxygen, []).append(hydrogen)
    return Neighborhoods(
        tuple((oxygen, *hydrogens) for oxygen, hydrogens in groups.items()),
        O_H,
        problem.lengths[:2],
    )


def criteria(case: Case, problem: Problem) -> Stability:
    """Of replicas while training."""
    return Stability(problem.bonds, problem.lengths, case.bond_deviation, case.min_distance)


def _mean_bond(frame: Seen) -> jax.Array:
    return jnp.mean(bond_lengths(frame.system, O_H))


MEAN_BOND = Custom("O–H length", _mean_bond, "Å")
DISTANCES = DistanceDistribution("h(r)", 0.6, 8.0, 148)
# the part of h(r) that bonds make; longer distances follow torsions, which t steps do not turn
BONDED = DistanceDistribution("h(r) of bonds", 0.6, 2.0, 28)
EMPTY = 0.01  # pairs of a frame, squared: the least by which the count of a bin may be off


def targets(case: Case, problem: Problem) -> list[Target]:
    """What StABlE trains on: O-H length of water, h(r) of a molecule's bonds.

    Squares of h(r) are weighed as in a chi-square test: counts fluctuate by their root. A broken
    bond falls into a bin that should be empty, and would hardly be seen beside the peaks.
    """
    if case.localized:
        return [Target(MEAN_BOND, np.mean(problem.lengths))]
    value = reference(BONDED, problem.system, problem.pool)
    atoms = len(problem.system.positions)
    pairs = atoms * (atoms - 1) / 2 * (BONDED.high - BONDED.low) / BONDED.bins
    return [Target(BONDED, value, np.sqrt(value * pairs + EMPTY) / pairs)]


def radial(problem: Problem) -> list[RDFDeviation]:
    """The three of water, whose deviation over a picosecond tells that it fell apart."""
    made = []
    for name, pair in {"O–O": (8, 8), "O–H": (8, 1), "H–H": (1, 1)}.items():
        rdf = RDF.of(name, problem.system, RDF_RANGE, RDF_BINS, pair)
        everything = np.concatenate([problem.pool, problem.held_out])
        made.append(RDFDeviation(rdf, reference(rdf, problem.system, everything), LIMIT))
    return made


def reference(observable: Observable, system: System, positions: np.ndarray) -> np.ndarray:
    """Value of an observable over frames of ab-initio dynamics."""

    def one(x: jax.Array) -> Any:
        return observable.snapshot(Seen(system.replace(positions=x), jnp.zeros(())))

    mean = jax.tree.map(
        lambda x: np.mean(np.asarray(x, float), axis=0),
        jax.lax.map(jax.jit(one), jnp.asarray(positions), batch_size=16),
    )
    return np.asarray(observable.reduce(mean, Context(0.0, int(jnp.sum(system.mask)))))
