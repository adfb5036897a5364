"""Long simulations from frames that no training saw: when they break, and what they average."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.md import Length, Simulation, Stability, Trajectories
from bayespot.md.stability import REASONS
from bayespot.observables import Context, EinsteinDiffusion
from benchmarks.stable.cases import STRIDE, Case
from benchmarks.stable.problem import DISTANCES, Problem, radial, reference

BROKEN = 0.5  # Angstrom; a bond of a molecule that is lost
LAGS = 1000.0  # fs, of diffusion


def judge(case: Case, problem: Problem, models: dict[str, Any], temperature: float) -> dict:
    """Every model side by side, from the same starts.

    Args:
        case, problem: what is simulated.
        models: parameters by name.
        temperature: K.

    Returns:
        ``time_ps`` of each model's replicas, None where they outlast ``horizon_ps``; averages over
        what was stable, and their error against ab-initio dynamics.
    """
    how, names = case.judging, list(models)
    ensemble = dataclasses.replace(case.ensemble, temperature=temperature)
    time_step = float(np.max(ensemble.time_step))
    block = round(1000 * how.block / time_step)
    blocks = round(how.picoseconds / how.block)
    curves = radial(problem) if case.localized else []
    skipped = 1 if curves else 0  # blocks: diffusion looks back
    spread = EinsteinDiffusion(
        "diffusion", round(LAGS / (STRIDE * time_step)) + 1, STRIDE * time_step, species=8
    )
    simulation = Simulation(
        problem.potential,
        problem.system,
        ensemble,
        Length((blocks - skipped) * block, skipped * block, STRIDE, blocks - skipped),
        [*(c.observable for c in curves), spread] if curves else [DISTANCES],
        stability=Stability(problem.bonds, problem.lengths, BROKEN),
    )
    chosen = np.random.default_rng(6).choice(len(problem.held_out), how.replicas, replace=False)
    starts = jnp.asarray(problem.held_out[chosen])
    params = jax.tree.map(lambda *x: jnp.concatenate(x), *models.values())
    made = simulation.run(
        jax.random.key(7), params, starts=jnp.stack([starts] * len(names)), replicas=how.replicas
    )
    frames = np.where(made.failed_at < 0, np.inf, made.failed_at / STRIDE - 1)
    for criterion in curves:
        lost = criterion.first_failure(made.means)
        ended = np.where(lost < 0, np.inf, (lost + skipped) * (block // STRIDE))
        frames = np.minimum(frames, ended)
    picoseconds = frames * STRIDE * time_step / 1000
    found: dict[str, Any] = {"temperature": temperature, "horizon_ps": how.picoseconds}
    for i, name in enumerate(names):
        found[name] = {
            "time_ps": np.where(np.isfinite(picoseconds[i]), picoseconds[i], np.nan),
            "median_ps": float(np.median(picoseconds[i])),
            "unstable": float(np.mean(np.isfinite(picoseconds[i]))),
            "reasons": [REASONS[r] for r in made.reason[i]],
        }
        if curves:
            found[name] |= _liquid(curves, spread, made, i, frames[i], block // STRIDE)
        else:
            found[name] |= _molecule(problem, made, i, frames[i], block // STRIDE)
    return found


def _molecule(problem: Problem, made: Trajectories, model: int, frames: Any, each: int) -> dict:
    """h(r) over all frames before each replica broke."""
    counts = made.means[DISTANCES.name]["counts"][:, model]  # lost frames count nought
    blocks = len(counts)
    stable = np.minimum(frames, blocks * each).sum()
    mean = counts.sum(axis=(0, 1)) * each / max(stable, 1)
    return {"h": DISTANCES.reduce({"counts": mean}, _context(problem))}


def _liquid(
    curves: list[Any], spread: EinsteinDiffusion, made: Trajectories, model: int,
    frames: np.ndarray, each: int,
) -> dict:  # fmt: skip
    """Radial distributions and diffusion over whole blocks before each replica fell apart."""
    ended = each * (2 + np.arange(len(made.temperature)))  # one block came before
    weights = (frames[None] >= ended[:, None]).astype(float)
    found: dict[str, Any] = {"rdf": {}, "rdf_error": {}, "stable_blocks": float(weights.sum())}
    total = weights.sum() or np.nan  # no number where nothing was stable for a block
    for criterion in curves:
        name = criterion.observable.name
        pairs = np.nan_to_num(made.means[name]["pairs"][:, model])
        curve = criterion.observable.reduce(
            {"pairs": np.einsum("br,brk->k", weights, pairs) / total}, Context(0.0, 0)
        )
        found["rdf"][name] = curve
        width = criterion.observable.high / criterion.observable.bins
        found["rdf_error"][name] = float(np.sum(np.abs(curve - criterion.reference)) * width)
    msd = np.nan_to_num(made.means[spread.name]["msd"][:, model])
    if weights.any():
        mean = {"msd": np.einsum("br,brk->k", weights, msd) / total}
        found["diffusion"] = float(spread.reduce(mean, Context(0.0, 0)))
    return found


def _context(problem: Problem) -> Context:
    return Context(0.0, len(problem.system.positions))


def distance_error(curve: np.ndarray, problem: Problem) -> float:
    """``integral |h - h_AIMD| dr``: at most 2 for densities."""
    everything = np.concatenate([problem.pool, problem.held_out])
    gap = np.asarray(curve) - reference(DISTANCES, problem.system, everything)
    return float(np.sum(np.abs(gap)) * (DISTANCES.high - DISTANCES.low) / DISTANCES.bins)
