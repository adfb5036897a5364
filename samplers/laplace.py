"""Laplace approximation over some of the parameters, best the last layer (MacKay 1992; Daxberger
et al. 2021).

    theta_S ~ N(mode_S, H^-1),   H = - d^2 log p(mode) / d theta_S^2,   the rest at the mode
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from samplers.base import Batch, Info, Position, Sampler, Target, plain_info


class LaplaceState(NamedTuple):
    """The draw, the mode, and ``H^(-1/2)``."""

    position: Position
    mode: Position
    root: jax.Array
    log_density: jax.Array


def laplace(
    target: Target, select: Callable[[str], bool] | None = None, min_precision: float = 1e-6
) -> Sampler:
    """Independent draws from the Gaussian at each chain's start, which must be a mode.

    Find the modes with ``ensemble`` first; chains at several modes make a mixture.  The Hessian
    of the chosen parameters is dense: choose at most a few thousand.

    Args:
        target: its full-data density is expanded.
        select: which leaves, by name (``"output/w"``), are uncertain; None is all.
        min_precision: smaller eigenvalues of H are raised to it (the start is no exact mode, and
            networks have flat directions): best the precision of the prior.
    """
    if not min_precision > 0:
        raise ValueError(f"min_precision must be positive, not {min_precision}")

    def init(key: jax.Array, position: Position) -> LaplaceState:
        del key
        flat, rebuild = _chosen(position, select)
        hessian = -jax.hessian(lambda x: target.log_density_full(rebuild(x)))(flat)
        values, vectors = jnp.linalg.eigh(hessian)
        root = vectors / jnp.sqrt(jnp.maximum(values, min_precision))
        return LaplaceState(position, position, root, target.log_density_full(position))

    def step(key: jax.Array, state: LaplaceState, batch: Batch) -> tuple[LaplaceState, Info]:
        del batch
        flat, rebuild = _chosen(state.mode, select)
        z = jax.random.normal(key, flat.shape, flat.dtype)
        new = state._replace(position=rebuild(flat + state.root @ z))
        return new, plain_info(state.log_density, jnp.zeros(()), gradients=0)

    return Sampler(init, step)


def _chosen(
    position: Position, select: Callable[[str], bool] | None
) -> tuple[jax.Array, Callable[[jax.Array], Any]]:
    """The chosen leaves as one vector, and the way back into a whole position."""
    paths, treedef = jax.tree_util.tree_flatten_with_path(position)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
    chosen = [select is None or select(name) for name in names]
    if not any(chosen):
        raise ValueError(f"no parameter was selected; there are {', '.join(names)}")
    flat, unravel = ravel_pytree([x for (_, x), c in zip(paths, chosen, strict=True) if c])

    def rebuild(values: jax.Array) -> Any:
        parts = iter(unravel(values))
        leaves = [next(parts) if c else x for (_, x), c in zip(paths, chosen, strict=True)]
        return jax.tree.unflatten(treedef, leaves)

    return flat, rebuild
