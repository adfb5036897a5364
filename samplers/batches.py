"""Where the data of a run live: on the device when they fit, else streamed to it block by block."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from samplers.block import Plan, block_indices

BLOCK_BYTES = 256 * 2**20  # of streamed batches; two such blocks are in flight


def fits(data: Any) -> bool:
    """Whether data go to the device: not when memory-mapped, or above half its free memory."""
    leaves = jax.tree.leaves(data)
    if any(isinstance(x, np.memmap) for x in leaves):
        return False
    stats = jax.devices()[0].memory_stats() or {}  # None on CPU: the data are there already
    if "bytes_limit" not in stats:
        return True
    free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return sum(x.nbytes for x in leaves) < free / 2


def steps_per_block(plan: Plan, data: Any, chains: int) -> int:
    """How many steps' batches fill a streamed block."""
    assert plan.batch_size is not None
    leaves = jax.tree.leaves(data)
    datum = sum(x.nbytes // max(len(x), 1) for x in leaves)
    step = datum * plan.batch_size * (plan.sampler.num_batches or 1) * chains
    return max(1, BLOCK_BYTES // max(step, 1))


def stream(
    plan: Plan,
    keys: jax.Array,
    data: Any,
    blocks: list[tuple[int, int]],
    mesh: jax.sharding.Mesh | None = None,
) -> Iterator[Any]:
    """Batches of each (first step, periods) block, gathered on the host one block ahead.

    The same data as the device would have drawn, so that a streamed run equals one that is not.
    """
    size = len(jax.tree.leaves(data)[0])

    def gather(block: tuple[int, int]) -> Any:
        first_step, periods = block
        index = np.asarray(block_indices(plan, keys, jnp.asarray(first_step), periods, size))
        made = jax.tree.map(lambda x: np.asarray(x[index]), data)
        if mesh is None:
            return jax.tree.map(jnp.asarray, made)
        spec = jax.sharding.PartitionSpec(None, None, mesh.axis_names[0])
        return jax.device_put(made, jax.sharding.NamedSharding(mesh, spec))

    with ThreadPoolExecutor(1) as ahead:
        pending = [ahead.submit(gather, block) for block in blocks[:1]]
        for block in blocks[1:]:
            ready = pending.pop().result()
            pending.append(ahead.submit(gather, block))
            yield ready
        for last in pending:
            yield last.result()
