"""Errors, intervals and stability of a round, as plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayespot.data import Dataset
from bayespot.md import REASONS, Trajectories
from bayespot.pipeline import Job
from bayespot.potentials import Potential
from bayespot.predict import predict
from bayespot.uncertainty import draw_values, estimate


def errors(potential: Potential, params: Any, test: Dataset) -> dict[str, float]:
    """Root mean square errors of the draws' mean on the test frames, and how far draws differ.

    Energies in eV an atom, forces in eV/Angstrom.
    """
    made = predict(potential, params, test.batch)
    atoms = np.asarray(test.batch.system.mask)
    each = atoms.sum(axis=1)
    energy = (made.energy - np.asarray(test.batch.energy)) / each
    forces = (made.forces - np.asarray(test.batch.forces))[:, atoms].reshape(len(energy), -1)
    return {
        f"{name}_{what}": float(np.sqrt(np.mean(number)))
        for name, gap in (("energy", energy.astype(float)), ("forces", forces.astype(float)))
        for what, number in (
            ("rmse", gap.mean(axis=0) ** 2),
            ("spread", gap.var(axis=0, ddof=1) if len(gap) > 1 else np.full(1, np.nan)),
        )
    }


def used_draws(made: Trajectories) -> np.ndarray:
    """Draws that observables are taken from: see ``uncertainty.draw_values``."""
    stable = made.reason == 0
    return np.flatnonzero(stable.sum(axis=1) >= min(2, stable.shape[1]))


def stability(made: Trajectories) -> dict[str, Any]:
    """Draws with a value, draws without, and why trajectories failed."""
    used = len(used_draws(made))
    return {
        "draws": used,
        "draws_lost": len(made.reason) - used,
        "failed": {
            REASONS[c]: int((made.reason == c).sum())
            for c in range(1, len(REASONS))
            if (made.reason == c).any()
        },
    }


def intervals(job: Job, made: Trajectories) -> dict[str, dict[str, Any]]:
    """Half of each observable's 95 % interval, and its parts there; of curves at the widest point.

    Observables have none where fewer than two draws are stable.
    """
    found: dict[str, dict[str, Any]] = {}
    for o in job.observables:
        content: dict[str, Any] = {"title": o.title, "unit": o.unit, "half_width": None}
        found[o.name] = content
        if len(used_draws(made)) < 2:
            continue
        x, variances, _ = draw_values(o, made, job.context)
        whole = estimate(x, variances)
        half = np.ravel((whole.high95 - whole.low95) / 2)
        if not np.isfinite(half).any():
            continue
        widest = int(np.nanargmax(half))
        content["half_width"] = float(half[widest])
        for part in ("mean", "parameter", "md_of_mean"):
            content[part] = float(np.ravel(getattr(whole, part))[widest])
        if o.axis is not None and len(o.shape) == 1:
            content["at"] = float(o.axis[widest])
    return found
