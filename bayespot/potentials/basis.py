"""Radial basis functions and cut-off envelope, smooth from d = 0 to the cut-off."""

import jax
import jax.numpy as jnp


def polynomial_envelope(distances: jax.Array, cutoff: float, order: int = 6) -> jax.Array:
    """1 at d = 0, 0 from the cut-off on, with two continuous derivatives (Gasteiger et al. 2020,
    eq. 8, without its 1/d)."""
    x = jnp.clip(distances / cutoff, 0.0, 1.0)
    p = order
    a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
    return 1 + x**p * (a + x * (b + x * c))


def bessel(distances: jax.Array, cutoff: float, count: int) -> jax.Array:
    """``sqrt(2/r_c) sin(n pi d/r_c)/d`` for n = 1..count, on a new last axis.

    Written with sinc, which is analytic at d = 0: values and both derivatives stay finite.
    """
    n = jnp.arange(1, count + 1, dtype=distances.dtype)
    x = distances[..., None] * n / cutoff
    return jnp.sqrt(2 / cutoff) * n * jnp.pi / cutoff * jnp.sinc(x)


def gaussians(distances: jax.Array, cutoff: float, count: int) -> jax.Array:
    """``exp(-(d - mu_n)^2 / (2 w^2))`` with centres spaced evenly over [0, r_c] and ``w`` their
    spacing, on a new last axis."""
    centers = jnp.linspace(0.0, cutoff, count, dtype=distances.dtype)
    width = cutoff / (count - 1)
    return jnp.exp(-0.5 * ((distances[..., None] - centers) / width) ** 2)
