"""Training of the coarse potential, and the long simulations that judge it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayespot.data import Batch
from bayespot.md import NVT, Length, Simulation, Stability
from bayespot.neighbors import AllPairs
from bayespot.observables import DihedralSurface, Frame
from bayespot.potentials import Potential, energy_and_forces
from bayespot.trainers import ForceMatching, RelativeEntropy, Weights, fit
from benchmarks.alanine import molecule
from benchmarks.alanine.atomistic import Frames
from benchmarks.alanine.compare import helix

TIME_STEP, STRIDE = 3.0, 40  # fs, and steps between two frames
FRICTION = 2e-3  # 1/fs
BINS = 60
SURFACE = DihedralSurface("surface", molecule.PHI, molecule.PSI, BINS)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of the whole comparison.

    Attributes:
        nanoseconds: of a run of OpenMM; the first of them is trained on.
        references: further runs, which only judge.
        width: of the network.
        batches: mini-batches of force matching.
        batch_size: frames of one.
        force_rate: first learning rate of force matching.
        updates: of relative entropy from random parameters.
        entropy_rate: their first learning rate.
        corrections: of relative entropy after force matching.
        correction_rate: their first learning rate.
        replicas: trajectories of relative entropy.
        picoseconds: of each; a tenth more is skipped.
        judges: trajectories of each potential that is judged.
        judged: picoseconds of each; half as many are skipped.
    """

    nanoseconds: float = 10.0
    references: int = 3
    width: int = 32
    batches: int = 2000
    batch_size: int = 256
    force_rate: float = 5e-3
    updates: int = 45
    entropy_rate: float = 6e-3
    corrections: int = 25
    correction_rate: float = 3e-3
    replicas: int = 32
    picoseconds: float = 12.0
    judges: int = 32
    judged: float = 100.0


SETTINGS = {
    "quick": Settings(judged=60.0),
    "full": Settings(
        batches=20000, updates=300, corrections=30, replicas=64, picoseconds=50.0, judges=64,
        judged=500.0
    ),
}  # fmt: skip


class Made(NamedTuple):
    """What training gave: parameters, seconds, and the loss along it."""

    params: Any
    seconds: float
    loss: np.ndarray


def batch(frames: Frames) -> Batch:
    """Frames with forces and no energies."""
    count = len(frames.positions)
    one = molecule.system(frames.positions[0])
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), one)
    return Batch(
        many.replace(positions=jnp.asarray(frames.positions)),
        AllPairs(jnp.zeros(count, bool)),
        jnp.zeros(count),
        jnp.asarray(frames.forces),
    )


def first(potential: Potential, frames: Frames, seed: int = 0) -> Any:
    """Random parameters, one member."""
    made = potential.init(jax.random.key(seed), molecule.system(frames.positions[0]))
    return jax.tree.map(lambda x: x[None], made)


def match_forces(
    how: Settings, potential: Potential, frames: Frames, start: Any, where: Path
) -> Made:
    """Adam with a cosine decay; a tenth of the frames chooses the best parameters."""
    started = time.perf_counter()
    cut = len(frames.positions) * 9 // 10
    train, validation = (
        batch(Frames(frames.positions[s], frames.forces[s], 0.0))
        for s in (slice(0, cut), slice(cut, None))
    )
    looks = 20
    trainer = ForceMatching(
        potential,
        train,
        optax.adam(optax.cosine_decay_schedule(how.force_rate, how.batches, 0.01)),
        validation=validation,
        batch_size=how.batch_size,
        steps=how.batches // looks,
        weights=Weights(energy=0.0, forces=1.0),
        chunk=1024,
    )
    made = fit(jax.random.key(1), trainer, start, looks, checkpoint=where)
    return Made(made.params, time.perf_counter() - started, made.history["validation_loss"][:, 0])


def _simulation(
    potential: Potential, frames: Frames, picoseconds: float, skipped: float, blocks: int, keep: int
) -> Simulation:
    unit = round(1000 / (TIME_STEP * STRIDE))  # frames of a picosecond
    step = max(1, keep)
    each = max(1, round(picoseconds * unit / blocks / step)) * step * STRIDE
    before = -(-round(skipped * unit) * STRIDE // each) * each
    length = Length(each * blocks, before, STRIDE, blocks)
    prior = molecule.prior()
    bonds = prior.terms[0]  # type: ignore[attr-defined]
    return Simulation(
        potential,
        molecule.system(frames.positions[0]),
        NVT(molecule.TEMPERATURE, TIME_STEP, friction=FRICTION),
        length,
        () if keep else (SURFACE,),
        stability=Stability(bonds.bonds, bonds.lengths, max_bond_deviation=0.5),
        keep=keep,
    )


def starts(frames: Frames, count: int) -> jax.Array:
    """(count, beads, 3), evenly from the frames."""
    return jnp.asarray(
        frames.positions[np.linspace(0, len(frames.positions) - 1, count).astype(int)]
    )


def minimise_entropy(
    how: Settings, potential: Potential, frames: Frames, start: Any, again: bool, where: Path
) -> Made:
    """Adam with the paper's moments, on as many frames of the data as of the simulations.

    Args:
        how: settings.
        potential: what is trained.
        frames: the data.
        start: its first parameters.
        again: after force matching: fewer and smaller steps.
        where: checkpoint.
    """
    started = time.perf_counter()
    updates = how.corrections if again else how.updates
    rate = how.correction_rate if again else how.entropy_rate
    simulation = _simulation(potential, frames, how.picoseconds, how.picoseconds / 10, 10, 2)
    shown = how.replicas * (simulation.length.steps // STRIDE // simulation.keep)
    trainer = RelativeEntropy(
        simulation,
        [frames.positions],
        optax.adam(optax.exponential_decay(rate, updates, 0.03), b1=0.1, b2=0.4),
        frames_per_update=min(shown, len(frames.positions)),
        replicas=how.replicas,
        starts=starts(frames, how.replicas)[None],
        trust=0.05,
        batch_size=512,
    )
    made = fit(jax.random.key(2), trainer, start, updates, checkpoint=where)
    return Made(made.params, time.perf_counter() - started, made.history["loss"][:, 0])


class Judged(NamedTuple):
    """What simulations gave, by potential.

    Attributes:
        counts: (potentials, groups, bins, bins) fractions of the frames of groups of replicas.
        failed: (potentials,) share of the replicas that were lost.
        halves: (potentials, 2) share of alpha_R in either half of the time.
    """

    counts: np.ndarray
    failed: np.ndarray
    halves: np.ndarray


GROUPS = 8


def judge(how: Settings, potential: Potential, frames: Frames, params: Any) -> Judged:
    """All potentials side by side; ``params`` have a leading axis of potentials."""
    simulation = _simulation(potential, frames, how.judged, how.judged / 2, 4, 0)
    every = len(jax.tree.leaves(params)[0])
    there = jnp.broadcast_to(
        starts(frames, how.judges), (every, how.judges, *frames.positions.shape[1:])
    )
    made = simulation.run(jax.random.key(3), params, starts=there, replicas=how.judges)
    counts = made.means["surface"]["counts"]  # (block, potential, replica, phi, psi)
    stable = made.reason == 0
    whole = np.where(stable[..., None, None], counts.mean(axis=0), np.nan)
    groups = whole.reshape(every, GROUPS, -1, BINS, BINS)
    with np.errstate(invalid="ignore"):
        pooled = np.nanmean(groups, axis=2)
    halves = np.stack([helix(counts[s].mean(axis=(0, 2))) for s in (slice(2), slice(2, 4))], -1)
    return Judged(pooled, 1 - stable.mean(axis=1), halves)


def histogram(frames: Frames) -> np.ndarray:
    """(bins, bins) fractions of the frames, by the same observable."""
    one = molecule.system(frames.positions[0])

    def counts(x: jax.Array) -> jax.Array:
        return SURFACE.snapshot(Frame(one.replace(positions=x), jnp.zeros(())))["counts"]

    total = np.zeros((BINS, BINS))
    summed = jax.jit(lambda x: jnp.sum(jax.vmap(counts)(x), axis=0))
    for part in np.array_split(frames.positions, max(1, len(frames.positions) // 1000)):
        total += np.asarray(summed(jnp.asarray(part)), float)
    return total / total.sum()


def force_fit(potential: Potential, params: Any, frames: Frames) -> float:
    """R^2 of the forces of one potential on frames it has not seen."""
    data = batch(frames)

    def one(x: jax.Array) -> jax.Array:
        system = molecule.system(frames.positions[0]).replace(positions=x)
        return energy_and_forces(potential, params, system, AllPairs(jnp.zeros((), bool)))[1]

    found = jax.lax.map(jax.jit(one), data.system.positions, batch_size=512)
    gap = np.asarray(found, float) - frames.forces
    return float(1 - np.mean(gap**2) / np.var(frames.forces.astype(float)))
