"""Free-energy differences between two potentials from configurations of one or of both."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from bayespot.units import BOLTZMANN


def zwanzig(
    difference: Float[np.ndarray, " frames"] | Float[Array, " frames"], temperature: float
) -> float:
    """``A_1 - A_0 = -k_B T ln <exp(-(U_1 - U_0)/k_B T)>_0`` in eV (Zwanzig 1954).

    Args:
        difference: ``U_1 - U_0`` of configurations drawn with ``U_0``, eV.
        temperature: K.
    """
    kT = BOLTZMANN * temperature
    scaled = -np.asarray(difference, float) / kT
    return float(-kT * (logsumexp(scaled) - np.log(len(scaled))))


def bar(
    forward: Float[np.ndarray, " frames"] | Float[Array, " frames"],
    backward: Float[np.ndarray, " others"] | Float[Array, " others"],
    temperature: float,
) -> float:
    """``A_1 - A_0`` in eV by Bennett's acceptance ratio (Bennett 1976).

    Args:
        forward: ``U_1 - U_0`` of configurations drawn with ``U_0``, eV.
        backward: ``U_0 - U_1`` of configurations drawn with ``U_1``, eV.
        temperature: K.

    Raises:
        ValueError: no configurations, or energies that are not finite.
    """
    kT = BOLTZMANN * temperature
    ahead, back = np.asarray(forward, float) / kT, np.asarray(backward, float) / kT
    if not (ahead.size and back.size and np.isfinite(ahead).all() and np.isfinite(back).all()):
        raise ValueError("BAR needs finite energy differences of both potentials")
    lean = np.log(len(ahead) / len(back))

    def imbalance(guess: float) -> float:
        """Increases with ``guess`` and vanishes at the estimate."""
        return float(np.sum(expit(guess - lean - ahead)) - np.sum(expit(lean - guess - back)))

    # the root lies where all of one sample and all of the other would be accepted
    low = min(ahead.min(), (-back).min()) - abs(lean) - 1.0
    high = max(ahead.max(), (-back).max()) + abs(lean) + 1.0
    while imbalance(low) > 0:
        low -= high - low
    while imbalance(high) < 0:
        high += high - low
    root: Any = brentq(imbalance, low, high, xtol=1e-10, rtol=1e-12)  # type: ignore[arg-type]
    return kT * float(root)
