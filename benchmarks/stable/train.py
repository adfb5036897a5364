"""Force matching, StABlE after it, and as much more force matching for comparison."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayespot.md import Length, Simulation
from bayespot.predict import predict
from bayespot.trainers import ForceMatching, StABlE, fit
from benchmarks.stable.cases import STRIDE, Case
from benchmarks.stable.problem import Problem, criteria, molecules, targets

LARGEST = 100.0  # norm of a gradient


class Made(NamedTuple):
    """A model; parameters have a leading axis of one member."""

    params: Any
    seconds: float
    history: dict[str, np.ndarray]


def like(problem: Problem) -> Any:
    """First parameters."""
    return jax.tree.map(
        lambda x: x[None], problem.potential.init(jax.random.key(1), problem.system)
    )


def descent(case: Case) -> optax.GradientTransformation:
    """Adam: labels make some directions stiff; wrecks make gradients of any size."""
    return optax.chain(
        optax.clip_by_global_norm(LARGEST), optax.adam(case.teaching.learning_rate, b2=0.99)
    )


def pretrain(case: Case, problem: Problem, where: Path) -> Made:
    """Until it has converged; best validation parameters."""
    how, updates = case.pretraining, 20
    started = time.perf_counter()
    trainer = ForceMatching(
        problem.potential,
        problem.train,
        optax.adam(optax.cosine_decay_schedule(how.learning_rate, how.steps, 0.01)),
        validation=problem.validation,
        batch_size=how.batch_size,
        steps=how.steps // updates,
        weights=case.pretraining.weights,
    )
    made = fit(jax.random.key(2), trainer, like(problem), updates, checkpoint=where)
    return Made(made.params, time.perf_counter() - started, made.history)


def stabilise(case: Case, problem: Problem, params: Any, where: Path) -> Made:
    """StABlE from there."""
    how = case.teaching
    started = time.perf_counter()
    simulation = Simulation(
        problem.potential,
        problem.system,
        case.ensemble,
        Length(how.block_steps, stride=STRIDE, blocks=1),
        stability=criteria(case, problem),
        keep=how.keep,
    )
    # from ab-initio frames of the same temperature, each replica another
    chosen = np.random.default_rng(3).choice(len(problem.pool), how.replicas, replace=False)
    trainer = StABlE(
        simulation,
        targets(case, problem),
        descent(case),
        replicas=how.replicas,
        rewind=how.blocks,
        f_max=how.f_max,
        f_min=how.f_min,
        neighborhoods=molecules(problem) if case.localized else None,
        labels=problem.train if how.label_weight else None,
        label_weight=how.label_weight,
        label_frames=case.pretraining.frames,  # few: no noise from mini-batches
        weights=case.pretraining.weights,
        starts=jnp.asarray(problem.pool[chosen])[None],
    )
    made = fit(jax.random.key(4), trainer, params, how.updates, checkpoint=where)
    return Made(made.params, time.perf_counter() - started, made.history)


def more_matching(case: Case, problem: Problem, params: Any, steps: int) -> Made:
    """As many steps as StABlE took, of the same length, on the labels alone."""
    started = time.perf_counter()
    trainer = ForceMatching(
        problem.potential,
        problem.train,
        descent(case),
        batch_size=case.pretraining.frames,
        steps=max(1, steps),
        weights=case.pretraining.weights,
    )
    made = fit(jax.random.key(5), trainer, params, 1)
    return Made(made.params, time.perf_counter() - started, made.history)


def errors(problem: Problem, params: Any) -> dict[str, float]:
    """Mean absolute ones of frames that no training saw, meV per atom and meV/Angstrom."""
    test = problem.test
    found = predict(problem.potential, params, test)
    atoms = problem.system.positions.shape[0]
    energy = np.abs(np.asarray(found.energy[0]) - np.asarray(test.energy)) / atoms
    forces = np.abs(np.asarray(found.forces[0]) - np.asarray(test.forces))
    return {
        "energy_mae_mev_per_atom": float(1e3 * energy.mean()),
        "forces_mae_mev": float(1e3 * forces.mean()),
    }
