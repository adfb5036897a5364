"""Convergence of draws, through ArviZ: R-hat, effective sample size, Monte-Carlo error."""

from typing import NamedTuple

import numpy as np


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

    values = np.asarray(values, float)
    if values.ndim != 3:
        raise ValueError(f"values must be (chain, draw, quantity), not of shape {values.shape}")
    columns = [np.ascontiguousarray(values[:, :, i]) for i in range(values.shape[2])]
    many = values.shape[0] > 1
    return Convergence(
        np.array([float(az.rhat(c)) if many else np.nan for c in columns]),
        np.array([float(az.ess(c, method="bulk")) for c in columns]),
        np.array([float(az.ess(c, method="tail", prob=(0.05, 0.95))) for c in columns]),
        np.array([float(az.mcse(c, method="mean")) for c in columns]),
    )
