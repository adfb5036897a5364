"""What potentials with angles share: features of directed edges, their angles and their reversal.

The edge in slot ``s`` of atom ``i`` carries the message from that neighbour ``j`` to ``i``.  Two
edges of the same atom make an angle there, so all angles are local to an atom; what goes on to the
next atom moves by turning edges round.
"""

from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from bayespot.neighbors import Pairs
from bayespot.potentials.basis import (
    bessel_waves,
    directions,
    legendre,
    polynomial_envelope,
    spherical_bessel,
)
from bayespot.potentials.network import embedding


def waves(
    pairs: Pairs, cutoff: float, envelope: int, basis: int, degrees: int
) -> tuple[jax.Array, jax.Array]:
    """Radial (atoms, slots, basis) and spherical (atoms, slots, degrees, basis) Bessel functions of
    the distances, brought to zero at the cut-off; the radial frequencies are learned."""
    dtype = pairs.distances.dtype
    with hk.experimental.name_scope("basis"):  # type: ignore[attr-defined]
        n = hk.get_parameter("frequencies", (basis,), dtype, init=counting)
    cut = polynomial_envelope(pairs.distances, cutoff, envelope) * pairs.mask
    radial = bessel_waves(pairs.distances, cutoff, n) * cut[..., None]
    spherical = spherical_bessel(pairs.distances, cutoff, degrees, basis)
    return radial, spherical * cut[..., None, None]


def angles(pairs: Pairs, degrees: int) -> jax.Array:
    """(atoms, slots, slots, degrees) Y_l0 of the angle between two edges of an atom; 0 between an
    edge and itself."""
    unit = directions(pairs.vectors)
    values = legendre(jnp.einsum("asx,atx->ast", unit, unit), degrees)
    apart = ~jnp.eye(unit.shape[1], dtype=bool)
    return jnp.where(apart[..., None], values, 0.0)


def reversal(pairs: Pairs) -> Callable[[jax.Array], jax.Array]:
    """The map from features (atoms, slots, ...) to those of the same edges the other way round.

    The way back from j to i is j's neighbour that is atom i in the same image: of all that are
    atom i, the one at minus the vector.  Costs ``atoms * slots^2`` once for any number of uses.
    """
    if pairs.weight != 0.5:
        raise ValueError("potentials with angles need a full neighbour list, not a half list")
    atoms, slots = pairs.mask.shape
    numbers = jnp.arange(atoms)
    neighbor = jnp.broadcast_to(pairs.gather(numbers), (atoms, slots))
    far = pairs.gather(jnp.where(pairs.mask, neighbor, -1))  # who the neighbour's neighbours are
    vectors = jax.lax.stop_gradient(pairs.vectors)
    gap = jnp.sum((vectors[:, :, None] + pairs.gather(vectors)) ** 2, axis=-1)
    back = jnp.argmin(jnp.where(far == numbers[:, None, None], gap, jnp.inf), axis=-1)
    # an edge without a way back is empty or beyond the cut-off: whatever it gets is not used
    place = neighbor * slots + back

    def turn(x: jax.Array) -> jax.Array:
        return x.reshape(atoms * slots, *x.shape[2:])[place]

    return turn


def edge_ends(pairs: Pairs, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(atoms, slots, width) features of the atom and of the neighbour of each edge."""
    shape = (*pairs.mask.shape, x.shape[-1])
    return jnp.broadcast_to(x[:, None], shape), jnp.broadcast_to(pairs.gather(x), shape)


def embed(rows: jax.Array, count: int, width: int, dtype: np.dtype) -> jax.Array:
    """(atoms, width) one learned vector a species, uniform with unit variance at the start."""
    init = hk.initializers.RandomUniform(-np.sqrt(3.0), np.sqrt(3.0))
    return embedding(rows, count, width, dtype, init)


def glorot_orthogonal(shape: Sequence[int], dtype: np.dtype) -> jax.Array:
    """A random (semi-)orthogonal matrix with the variance 2/(inputs + outputs) of its entries."""
    rows, columns = shape
    scale = np.sqrt(2 * max(rows, columns) / (rows + columns))
    return hk.initializers.Orthogonal(scale)(shape, dtype)


def he_orthogonal(shape: Sequence[int], dtype: np.dtype) -> jax.Array:
    """A random (semi-)orthogonal matrix whose columns are brought to mean 0, variance 1/inputs.

    Without the mean, that of activations (which are positive) does not grow from layer to layer.
    """
    inputs, outputs = int(np.prod(shape[:-1])), shape[-1]
    w = hk.initializers.Orthogonal()((inputs, outputs), dtype)
    w = w - jnp.mean(w, axis=0)
    return (w / jnp.sqrt(inputs * jnp.mean(w**2, axis=0))).reshape(shape)


def counting(shape: Sequence[int], dtype: np.dtype) -> jax.Array:
    """1, 2, 3, ...: the canonical frequencies."""
    return jnp.arange(1, shape[0] + 1, dtype=dtype)
