"""Densities of phi and psi against the atoms'."""

from __future__ import annotations

import numpy as np

COARSE = 3  # bins of the figure's grid that entropies and free energies take together
VISITED = 4.0  # kT: free energies are compared below


def measures(counts: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Distances of (bins, bins) fractions from those of the reference.

    Returns:
        ``mse`` of the densities in rad^-4, over all bins, as in the relative-entropy paper;
        ``divergence`` of Jensen and Shannon, nats; ``free_energy``, the root mean square
        difference in kT where the reference is within ``VISITED`` of its minimum, its mean there
        taken off; ``helix``, the share of alpha_R.
    """
    counts, reference = (x / np.sum(x) for x in (counts, reference))
    width = 2 * np.pi / len(reference)
    p, q = _coarse(counts), _coarse(reference)
    middle = (p + q) / 2
    seen = (q > q.max() * np.exp(-VISITED)) & (p > 0)
    gap = np.log(np.where(seen, q, 1.0)) - np.log(np.where(seen, p, 1.0))
    gap = gap[seen]
    return {
        "mse": float(np.mean((counts - reference) ** 2) / width**4),
        "divergence": float((_relative(p, middle) + _relative(q, middle)) / 2),
        "free_energy": float(np.std(gap)),
        "helix": float(helix(counts)),
    }


def with_errors(groups: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Of all groups (groups, bins, bins) together, with a jackknife over them."""
    there = groups[np.isfinite(groups).all(axis=(1, 2))]
    whole = measures(there.mean(axis=0), reference)
    number = len(there)
    rest = [measures(np.delete(there, i, axis=0).mean(axis=0), reference) for i in range(number)]
    for key in list(whole):
        spread = np.var([r[key] for r in rest])
        whole[f"{key}_error"] = float(np.sqrt((number - 1) * spread))
    return whole


def leave_one_out(runs: np.ndarray) -> dict[str, float]:
    """Mean over runs (runs, bins, bins) of each against all others: what sampling leaves."""
    found = [measures(run, np.delete(runs, i, axis=0).mean(axis=0)) for i, run in enumerate(runs)]
    made = {key: float(np.mean([f[key] for f in found])) for key in found[0]}
    made["helix_error"] = float(np.std([f["helix"] for f in found], ddof=1))
    return made


def helix(counts: np.ndarray) -> np.ndarray:
    """Share of alpha_R: phi < 0 and psi from -120 to 50 degrees; of (..., phi, psi)."""
    bins = counts.shape[-1]
    centre = -180 + (np.arange(bins) + 0.5) * 360 / bins
    inside = (centre[:, None] < 0) & (centre[None] > -120) & (centre[None] < 50)
    return np.sum(counts * inside, axis=(-2, -1)) / np.sum(counts, axis=(-2, -1))


def _coarse(counts: np.ndarray) -> np.ndarray:
    size = len(counts) // COARSE
    return counts.reshape(size, COARSE, size, COARSE).sum(axis=(1, 3))


def _relative(p: np.ndarray, q: np.ndarray) -> float:
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))
