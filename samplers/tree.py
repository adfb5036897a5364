"""Small helpers on pytrees of arrays."""

from typing import Any

import jax
import jax.numpy as jnp

Tree = Any


def random_normal_like(key: jax.Array, tree: Tree) -> Tree:
    """Independent standard normal numbers in the shapes and dtypes of ``tree``."""
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(k, x.shape, x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, noise)


def all_finite(tree: Tree) -> jax.Array:
    """True when every floating-point number in ``tree`` is finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves]))


def where(condition: jax.Array, new: Tree, old: Tree) -> Tree:
    """``new`` where the scalar ``condition`` holds, else ``old``, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
