"""Which replicas an update of StABlE broke, by what it kept of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayespot.md.stability import DRIFTED, RDFDeviation, Stability
from bayespot.neighbors import Lists
from bayespot.system import System


@functools.partial(jax.jit, static_argnums=0)
def of_frames(
    limits: Stability,
    system: System,
    positions: Float[Array, "members replicas frames atoms 3"],
    cells: Float[Array, "members replicas frames 3 3"],
    lists: Lists,
) -> tuple[Int[Array, "members replicas"], Bool[Array, ""]]:
    """Code of the first frame that fails ``limits``, 0 where none does; were lists too small?"""

    def one(frame: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        here = system.replace(positions=frame[0], cell=frame[1])
        built = lists.update(here)
        return limits.check(here, jnp.zeros_like(frame[0]), built), built.overflow

    flat = positions.reshape(-1, *positions.shape[3:]), cells.reshape(-1, 3, 3)
    found, crowded = jax.lax.map(one, flat, batch_size=min(64, len(flat[0])))
    codes = found.reshape(positions.shape[:3])
    first = jnp.argmax(codes != 0, axis=2)
    code = jnp.take_along_axis(codes, first[..., None], axis=2)[..., 0]
    return code.astype(jnp.int32), jnp.any(crowded)


def of_structure(
    criteria: Sequence[RDFDeviation], means: Sequence[Any], shape: tuple[int, ...]
) -> np.ndarray:
    """(members, replicas) reason where averages over blocks left the reference."""
    lost = np.zeros(shape, np.int32)
    if criteria:
        stacked = jax.tree.map(lambda *x: np.stack([np.asarray(y) for y in x]), *means)
        for criterion in criteria:
            lost[criterion.first_failure(stacked) >= 0] = DRIFTED
    return lost
