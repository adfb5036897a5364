"""Weights of configurations under another law than the one they were drawn from.

A configuration ``S`` of volume ``V``, drawn with ``U_0`` at ``T_0`` and ``P_0``, counts at ``U``,
``T`` and ``P`` for

    w(S) ~ exp(-(U(S) + P V)/(k_B T) + (U_0(S) + P_0 V)/(k_B T_0))

(Zwanzig 1954; DiffTRe, Thaler & Zavadlav 2021, equation 2).  Everything is differentiable in
``U``, and differentiating an average gives the covariance formula of methods.md section 3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bayespot.units import BOLTZMANN, GPA


class State(NamedTuple):
    """Thermodynamic conditions.

    Attributes:
        temperature: K.
        pressure: GPa; None at constant volume.
    """

    temperature: Any
    pressure: Any = None


def log_weights(
    energy: Float[Array, " frames"],
    reference: Float[Array, " frames"],
    state: State,
    reference_state: State | None = None,
    volume: Float[Array, " frames"] | None = None,
) -> Float[Array, " frames"]:
    """Logarithms of normalised weights.

    Args:
        energy: potential energies wanted, eV.
        reference: those that the configurations were drawn with, eV.
        state: conditions wanted.
        reference_state: conditions that the configurations were drawn at; None for ``state``.
        volume: Angstrom^3, of constant-pressure configurations.

    Raises:
        ValueError: a pressure without volumes, or on one side only.
    """
    drawn = state if reference_state is None else reference_state
    if (state.pressure is None) != (drawn.pressure is None):
        raise ValueError("weights between constant volume and constant pressure are not defined")
    kT, kT0 = BOLTZMANN * state.temperature, BOLTZMANN * drawn.temperature
    # differences first: total energies have more digits than float32
    if reference_state is None:
        return jax.nn.log_softmax(-(energy - reference) / kT)
    centre = jax.lax.stop_gradient(jnp.mean(reference))
    exponent = (reference - centre) / kT0 - (energy - centre) / kT
    if state.pressure is not None:
        if volume is None:
            raise ValueError("weights between pressures need the volume of each configuration")
        exponent = exponent + (drawn.pressure / kT0 - state.pressure / kT) * GPA * volume
    return jax.nn.log_softmax(exponent)


def average(log_w: Float[Array, " frames"], values: Any) -> Any:
    """Weighted mean over the first axis of every array in ``values``."""
    weights = jnp.exp(log_w)
    return jax.tree.map(lambda x: jnp.tensordot(weights, x.astype(weights.dtype), axes=1), values)


def effective_size(log_w: Float[Array, " frames"]) -> Float[Array, ""]:
    """``exp(-sum w ln w)``, between 1 and the number of frames (methods.md section 3)."""
    terms = jnp.where(jnp.isneginf(log_w), 0.0, jnp.exp(log_w) * log_w)
    return jnp.exp(-jnp.sum(terms))


def kish_size(log_w: Float[Array, " frames"]) -> Float[Array, ""]:
    """``1/sum w^2`` (Kish 1965); never above ``effective_size``."""
    return jnp.exp(-jax.nn.logsumexp(2 * log_w))
