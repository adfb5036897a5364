"""Small helpers on pytrees of arrays."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

Tree = Any


def random_normal_like(key: jax.Array, tree: Tree) -> Tree:
    """Independent standard normal numbers in the shapes and dtypes of ``tree``.

    One stream for the whole tree, cut into leaves: networks have many small leaves, and a stream
    for each would cost more than its numbers.
    """
    leaves, treedef = jax.tree.flatten(tree)
    if any(x.dtype != jnp.float32 for x in leaves):
        keys = jax.random.split(key, len(leaves))
        noise = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(treedef, noise)
    sizes = [math.prod(x.shape) for x in leaves]
    # Made whole before it is cut: fused into its uses it would be computed once for each.
    flat = jax.lax.optimization_barrier(_normal(key, sum(sizes)))
    noise, start = [], 0
    for x, size in zip(leaves, sizes, strict=True):
        noise.append(flat[start : start + size].reshape(x.shape))
        start += size
    return jax.tree.unflatten(treedef, noise)


def _normal(key: jax.Array, size: int) -> jax.Array:
    """At least ``size`` standard normal numbers: ``jax.random.normal`` in float32 at half its bits.

    JAX computes two words of Threefry for every number and keeps one, so that arrays may be
    sharded; both are good, and the noise is the dearest part of a step beside the gradient.
    """
    if jax.random.key_impl(key) != "threefry2x32":
        return jax.random.normal(key, (size,), jnp.float32)
    # A whole number of vector registers: XLA's CPU code for odd lengths is scalar, 8 times slower.
    counts = jnp.arange(-(-size // 256) * 256, dtype=jnp.uint32)
    bits = threefry_2x32(jax.random.key_data(key), counts)
    one = jnp.uint32(0x3F800000)  # exponent of 1.0: 23 random bits below it give [1, 2)
    uniform = jax.lax.bitcast_convert_type((bits >> 9) | one, jnp.float32) - 1
    # The middle of each of the 2^23 cells of (-1, 1): symmetric, and never +-1.
    centred = 2 * uniform - jnp.float32(1 - 2.0**-23)
    return jnp.float32(math.sqrt(2)) * jax.lax.erf_inv(centred)


def all_finite(tree: Tree) -> jax.Array:
    """True when every floating-point number in ``tree`` is finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


def where(condition: jax.Array, new: Tree, old: Tree) -> Tree:
    """``new`` where the scalar ``condition`` holds, else ``old``, leaf by leaf, in old's dtype."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b).astype(b.dtype), new, old)


def dot(a: Tree, b: Tree) -> jax.Array:
    """The inner product of two trees."""
    return sum(jax.tree.leaves(jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)), jnp.zeros(()))


def size(tree: Tree) -> int:
    """How many numbers a tree holds."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
