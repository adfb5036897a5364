"""Convergence of draws, through ArviZ: R-hat, effective sample sizes, errors, and modes."""

import warnings
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import numpy as np

from samplers.run import Result


class Convergence(NamedTuple):
    """Per quantity: rank-normalised R-hat, bulk and tail ESS, MCSE of the mean (arrays (q,))."""

    rhat: np.ndarray
    ess_bulk: np.ndarray
    ess_tail: np.ndarray
    mcse_mean: np.ndarray


def convergence(values: np.ndarray) -> Convergence:
    """Diagnostics of scalar quantities (Vehtari et al. 2021).

    Give predictions (energies, forces on held-out data) rather than weights: networks have
    symmetries that make chains differ in weights and agree in every function value.

    Args:
        values: (chain, draw, quantity); at least 4 draws.  With one chain R-hat is NaN.
    """
    import arviz as az

    columns = _columns(values)
    many = np.shape(values)[0] > 1
    return Convergence(
        np.array([float(az.rhat(c)) if many else np.nan for c in columns]),
        np.array([float(az.ess(c, method="bulk")) for c in columns]),
        np.array([float(az.ess(c, method="tail", prob=(0.05, 0.95))) for c in columns]),
        np.array([float(az.mcse(c, method="mean")) for c in columns]),
    )


def autocorrelation_time(values: np.ndarray) -> np.ndarray:
    """Integrated autocorrelation time in draws, per quantity: draws over ESS of the mean.

    Args:
        values: (chain, draw, quantity).
    """
    import arviz as az

    count = np.shape(values)[0] * np.shape(values)[1]
    return np.array([count / float(az.ess(c, method="mean")) for c in _columns(values)])


def _columns(values: np.ndarray) -> list[np.ndarray]:
    values = np.asarray(values, float)
    if values.ndim != 3:
        raise ValueError(f"values must be (chain, draw, quantity), not of shape {values.shape}")
    return [np.ascontiguousarray(values[:, :, i]) for i in range(values.shape[2])]


class Modes(NamedTuple):
    """Modes in function space.

    Attributes:
        count: how many.
        labels: (chain, draw) the mode of each draw, the heaviest first; -1 where a draw was
            left out by thinning.
        weights: (count,) share of the draws in each.
    """

    count: int
    labels: np.ndarray
    weights: np.ndarray


def modes(values: np.ndarray, tolerance: float | None = None, limit: int = 2000) -> Modes:
    """Group draws whose predictions are alike.

    Two draws are alike where their predictions differ by less than ``tolerance`` in root mean
    square; modes are the groups that chains of alike draws connect (single linkage).  What counts
    as alike is a question about the application: give the tolerance where you can.

    Args:
        values: (chain, draw, quantity) function values.
        tolerance: in units of the values; None is twice the root-mean-square spread within
            chains.
        limit: draws looked at; the rest is thinned away evenly.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    values = np.asarray(values, float)
    if values.ndim != 3:
        raise ValueError(f"values must be (chain, draw, quantity), not of shape {values.shape}")
    chains, draws, _ = values.shape
    if tolerance is None:
        tolerance = 2 * float(np.sqrt(values.var(axis=1).mean()))
    labels = np.full((chains, draws), -1)
    every = max(1, -(-chains * draws // limit))
    picked = values[:, ::every]
    flat = picked.reshape(-1, values.shape[2]) / np.sqrt(values.shape[2])
    if len(flat) == 1:
        found = np.ones(1, int)
    else:
        found = fcluster(linkage(flat, "single"), max(tolerance, 1e-300), "distance")
    names, counts = np.unique(found, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    rank = np.empty(names.max() + 1, int)
    rank[order] = np.arange(len(order))
    labels[:, ::every] = rank[found].reshape(picked.shape[:2])
    return Modes(len(names), labels, np.sort(counts)[::-1] / counts.sum())


def to_arviz(result: Result) -> Any:
    """ArviZ's object (``InferenceData`` or, from ArviZ 1.0 on, xarray's ``DataTree``).

    Group ``posterior`` holds every leaf by name (``layer/w``) and what was watched; group
    ``sample_stats`` holds, of each draw, ``lp``, ``acceptance_rate``, ``step_size``,
    ``diverging``, ``gradients`` (of a step) and what the sampler reports besides
    (``swap_rate``, ``replica``, ...).
    """
    paths = jax.tree_util.tree_flatten_with_path(result.draws)[0]
    posterior = {
        jax.tree_util.keystr(path, simple=True, separator="/") or "x": np.asarray(leaf)
        for path, leaf in paths
    }
    if result.watched.shape[2]:
        posterior["watched"] = np.asarray(result.watched)
    info = result.info
    stats = {
        "lp": info.log_density,
        "acceptance_rate": info.acceptance,
        "step_size": info.step_size,
        "diverging": info.divergent > 0,
        "gradients": info.gradients,
        **info.extra,
    }
    kept = {name: np.asarray(x)[:, result.kept] for name, x in stats.items()}
    return from_groups({"posterior": posterior, "sample_stats": kept})


def from_groups(groups: dict[str, dict[str, np.ndarray]]) -> Any:
    """ArviZ's object from arrays (chain, draw, ...) by group and name, in either version."""
    import arviz

    az: Any = arviz
    with warnings.catch_warnings():
        # an ensemble has more chains than draws, and should
        warnings.filterwarnings("ignore", "More chains .* than draws", UserWarning)
        if int(version("arviz").split(".")[0]) < 1:  # groups as keywords
            return az.from_dict(**groups)
        return az.from_dict(groups)
