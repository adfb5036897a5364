"""Averages of many draws from one trajectory, to first order in the energy difference.

Weights lose their effective sample where energies are extensive; the first cumulant does not:

    <O>_1 = <O>_0 - (<O D> - <O><D>)/(k_B T),   D = U_1 - U_0

(cumulant expansion approximation, CEA; Imbalzano et al. 2021, J. Chem. Phys. 154, 074102).  It is
biased where ``D`` is not small against ``k_B T`` or ``O`` and ``D`` are not jointly Gaussian.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.units import BOLTZMANN


def cumulant_average(
    values: Float[Array, "frames ..."],
    difference: Float[Array, " frames"],
    temperature: float | Float[Array, ""],
) -> Array:
    """First-order mean of ``values`` under an energy larger by ``difference``.

    Args:
        values: of every frame.
        difference: ``U_1 - U_0`` of every frame, eV.
        temperature: K.
    """
    mean = jnp.mean(values, axis=0)
    gap = difference - jnp.mean(difference)
    frames = len(values)
    covariance = jnp.tensordot(gap, values - mean, axes=1) / max(frames - 1, 1)
    return mean - covariance / (BOLTZMANN * temperature)
