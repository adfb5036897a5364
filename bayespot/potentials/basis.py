"""Radial and angular basis functions, directions and cut-off envelope, smooth from d = 0 to the
cut-off."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq
from scipy.special import spherical_jn


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
    return bessel_waves(distances, cutoff, jnp.arange(1, count + 1, dtype=distances.dtype))


def sinc(x: jax.Array) -> jax.Array:
    """``sin(pi x)/(pi x)`` by its series near 0, where jnp.sinc divides the rounding of its first
    derivative by x and of its second by x^2."""
    near = jnp.abs(x) < 0.1
    y = (jnp.pi * jnp.where(near, x, 0.0)) ** 2
    series = 1 - y / 6 * (1 - y / 20 * (1 - y / 42 * (1 - y / 72 * (1 - y / 110))))
    far = jnp.pi * jnp.where(near, 1.0, x)
    return jnp.where(near, series, jnp.sin(far) / far)


def bessel_waves(distances: jax.Array, cutoff: float, n: jax.Array) -> jax.Array:
    """``bessel`` for given ``n``, whole or not: its frequencies as parameters."""
    x = distances[..., None] * n / cutoff
    return jnp.sqrt(2 / cutoff) * n * jnp.pi / cutoff * sinc(x)


def gaussians(distances: jax.Array, cutoff: float, count: int) -> jax.Array:
    """``exp(-(d - mu_n)^2 / (2 w^2))`` with centres spaced evenly over [0, r_c] and ``w`` their
    spacing, on a new last axis."""
    centers = jnp.linspace(0.0, cutoff, count, dtype=distances.dtype)
    width = cutoff / (count - 1)
    return jnp.exp(-0.5 * ((distances[..., None] - centers) / width) ** 2)


@functools.cache
def bessel_zeros(degrees: int, count: int) -> np.ndarray:
    """(degrees, count) the first positive zeros of the spherical Bessel functions j_0, j_1, ..."""
    zeros = np.pi * np.arange(1, count + degrees)
    rows = [zeros[:count]]
    for l in range(1, degrees):
        # the zeros of j_l lie between those of j_(l-1)
        j = functools.partial(spherical_jn, l)
        zeros = np.array([brentq(j, a, b, xtol=1e-14) for a, b in itertools.pairwise(zeros)])
        rows.append(zeros[:count])
    return np.stack(rows)


@functools.cache
def _spherical_series(degrees: int, count: int) -> np.ndarray:
    """(terms, degrees count) Chebyshev coefficients in ``2 x^2 - 1`` of the functions below, those
    of odd degree divided by x."""
    zeros = bessel_zeros(degrees, count)
    terms = int(zeros.max() / 2) + 18
    angle = np.pi * (np.arange(terms) + 0.5) / terms
    x = np.cos(angle / 2)[:, None]
    columns = []
    for l, z in enumerate(zeros):
        norm = np.sqrt(2) / np.abs(spherical_jn(l + 1, z))
        columns.append(norm * spherical_jn(l, z * x) / x ** (l % 2))
    cosines = 2 / terms * np.cos(np.arange(terms)[:, None] * angle)
    cosines[0] /= 2
    return cosines @ np.concatenate(columns, axis=1)


def spherical_bessel(distances: jax.Array, cutoff: float, degrees: int, count: int) -> jax.Array:
    """``sqrt(2)/|j_(l+1)(z_ln)| j_l(z_ln d/r_c)`` for l < degrees, n = 1..count, on two new last
    axes (Gasteiger et al. 2020, eq. 6 in units of the cut-off); z_ln is the n-th zero of j_l.

    The closed forms of j_l divide by d^(l+1) what nearly cancels. They are entire functions, even
    or odd: a Chebyshev series in d^2, fitted once, gives values and all derivatives anywhere in
    [0, r_c] to rounding, without a division or a branch.  Constant beyond the cut-off.
    """
    x = jnp.minimum(distances / cutoff, 1.0)
    series = jnp.asarray(_spherical_series(degrees, count), distances.dtype)
    y = 2 * x[..., None] ** 2 - 1
    terms = jnp.concatenate([jnp.ones_like(y), y], axis=-1)
    while terms.shape[-1] < len(series):  # T_(k+j) = 2 T_k T_j - T_(k-j) doubles their number
        last, fold = terms[..., -1:], terms[..., -2::-1]
        terms = jnp.concatenate([terms, 2 * last * terms[..., 1:] - fold], axis=-1)
    # full precision: accelerators would round the terms to 10 bits
    values = jnp.matmul(terms[..., : len(series)], series, precision="highest")
    values = values.reshape(*x.shape, degrees, count)
    odd = jnp.arange(degrees)[:, None] % 2 == 1
    return jnp.where(odd, x[..., None, None] * values, values)


def legendre(cosines: jax.Array, degrees: int) -> jax.Array:
    """``sqrt((2l+1)/(4 pi)) P_l(cos)`` for l < degrees on a new last axis: the spherical harmonics
    Y_l0, polynomials of the cosine with no angle taken."""
    values = [jnp.ones_like(cosines), cosines]
    for l in range(1, degrees - 1):
        values.append(((2 * l + 1) * cosines * values[-1] - l * values[-2]) / (l + 1))
    norms = np.sqrt((2 * np.arange(degrees) + 1) / (4 * np.pi))
    return jnp.stack(values[:degrees], axis=-1) * jnp.asarray(norms, cosines.dtype)


def directions(vectors: jax.Array, core: float = 0.2) -> jax.Array:
    """Unit vectors from ``core`` (Angstrom) on; within it they shrink to zero at the origin.

    A unit vector has no value at d = 0. Within the core, where atoms never come, 1/d continues as
    the polynomial in d^2 that joins it with two derivatives: the result is twice continuously
    differentiable everywhere, and exact for all that matters.
    """
    squared = jnp.sum(vectors**2, axis=-1, keepdims=True)
    outside = squared > core**2
    inverse = 1 / jnp.sqrt(jnp.where(outside, squared, 1.0))
    y = squared / core**2
    return vectors * jnp.where(outside, inverse, (15 - y * (10 - 3 * y)) / (8 * core))
