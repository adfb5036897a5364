"""The only loop: every sampler runs through it, all chains in one compiled program.

A *period* is the ``thinning`` steps between two draws, a *block* a few periods; the compiled
program is one block, and progress, checkpoints and draws leave the device block by block.  Keys
are derived from (seed, chain, step) and nothing else, so a resumed run repeats an unbroken one
bit for bit, and chains are independent by construction.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from samplers import batches
from samplers.advice import advise
from samplers.base import Info, Position, Sampler, State
from samplers.block import Carry, Plan, run_block, start
from samplers.store import Store


class Block(NamedTuple):
    """What the loop tells its caller after each block.

    ``rhat`` and ``ess`` are the worst over the watched quantities so far, NaN while unknown.
    """

    step: int
    num_steps: int
    steps_per_second: float
    seconds_left: float
    info: Info  # numpy arrays (periods, chains)
    alive: np.ndarray  # (chains,)
    rhat: float = np.nan
    ess: float = np.nan


class Between(NamedTuple):
    """What no compiled program can do, such as simulations that targets rest on.

    Attributes:
        work: called on the host with the states of all chains; gives them back, positions as they
            were.  Buffers may have grown.  It depends on the states and on ``sizes`` alone.
        sizes: what a resumed run must know besides the states, as JSON: of buffers, say, on which
            rounding depends.
        restore: takes over what ``sizes`` gave in another process.
    """

    work: Callable[[State], State]
    sizes: Callable[[], dict[str, Any]] = dict
    restore: Callable[[dict[str, Any]], None] = lambda sizes: None


class Result(NamedTuple):
    """Draws of all chains.

    Attributes:
        draws: the position's pytree with leading axes (chain, draw), numpy; memory-mapped from
            the checkpoint's files where there is one.
        info: ``Info`` of arrays (chain, period) over the whole run, burn-in included.
        alive: (chain,) bool; a chain that met a non-finite number stays where it was and is False.
        failed_at: (chain,) first step of failure, -1 where there was none.
        kept: (period,) bool, which periods gave a draw.
        watched: (chain, draw, q) the watched quantities of every draw.
        stopped: why the run ended: "draws", "ess" or "time".
        advice: what to do about what went wrong, in sentences; empty where nothing did.
    """

    draws: Position
    info: Info
    alive: np.ndarray
    failed_at: np.ndarray
    kept: np.ndarray
    watched: np.ndarray
    stopped: str
    advice: tuple[str, ...]


def run(
    key: jax.Array,
    sampler: Sampler,
    positions: Position,
    data: Any = None,
    *,
    batch_size: int | None = None,
    num_burn_in: int,
    num_draws: int,
    thinning: int = 1,
    periods_per_block: int | None = None,
    watch: Callable[[Position], jax.Array] | None = None,
    min_ess: float | None = None,
    max_seconds: float | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    callback: Callable[[Block], None] | None = None,
    mesh: jax.sharding.Mesh | None = None,
    stream: bool | None = None,
    between: Between | None = None,
) -> Result:
    """Run one chain for each leading entry of ``positions`` and return their draws.

    Args:
        key: from ``jax.random.key``.
        sampler: what to run.  The same sampler object is compiled once.
        positions: pytree with a leading chain axis: one start per chain.
        data: pytree with a leading axis of N data, or None for full-data samplers.
        batch_size: data per mini-batch, drawn uniformly with replacement for every chain and step.
        num_burn_in: steps before the first period that gives a draw; a multiple of ``thinning``.
        num_draws: draws per chain (at most, where ``min_ess`` or ``max_seconds`` may end the run).
        thinning: steps between draws.
        periods_per_block: block length; by default about a hundredth of the run.
        watch: ``position -> (q,)`` array of function values (predictions on held-out data, say)
            followed for convergence: symmetric networks differ in weights and in no prediction.
        min_ess: stop once the bulk ESS of every watched quantity reaches it.
        max_seconds: stop after the block that reaches it; time before a resume does not count.
        checkpoint: folder to write after each block and to resume from.
        fingerprint: what the checkpoint must agree with (configuration, data).
        callback: called after each block.
        mesh: one-dimensional device mesh to shard the chains over; divides their number.
        stream: keep data on the host and send batches in blocks, gathered ahead; None streams
            memory-mapped data and data above half the device's free memory.
        between: work on the host before the first block and after each.

    Raises:
        ValueError: burn-in no multiple of thinning, a batch larger than the data, a checkpoint
            that belongs to another run, chains that the mesh does not divide.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from samplers import Target, constant, run, sgld
        >>> log_density = lambda x, batch=None: -0.5 * jnp.sum((x - 3.0) ** 2)
        >>> target = Target(log_density, log_density, data_size=1)
        >>> result = run(jax.random.key(0), sgld(target, constant(0.1)), jnp.zeros((4, 2)),
        ...              num_burn_in=200, num_draws=500, thinning=10)
        >>> result.draws.shape, bool(abs(result.draws.mean() - 3) < 0.1)
        ((4, 500, 2), True)
    """
    size = _check(data, batch_size, num_burn_in, num_draws, thinning, min_ess, watch)
    num_chains = len(jax.tree.leaves(positions)[0])
    kept = _kept_periods(sampler, num_burn_in // thinning, num_draws, thinning)
    streamed = size > 0 and (not batches.fits(data) if stream is None else stream)
    plan = Plan(sampler, watch, batch_size if size else None, thinning, streamed)
    per_block = min(periods_per_block or max(1, len(kept) // 100), len(kept))
    if streamed:
        steps = batches.steps_per_block(plan, data, num_chains)
        per_block = max(1, min(per_block, steps // thinning))

    init_key, step_key = jax.random.split(key)
    chain_keys = jax.random.split(step_key, num_chains)
    carry = start(sampler, jax.random.split(init_key, num_chains), positions)
    if mesh is not None:  # explicit axes (make_mesh's default) would want every gather annotated
        mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)
    chain_keys, carry = _shard(mesh, num_chains, (chain_keys, carry))
    like = _records(plan, carry, chain_keys, data, per_block)
    store = Store(checkpoint, fingerprint, *like)
    carry = store.load(carry, may_grow=between is not None)
    if between is not None and store.period:
        between.restore(store.sizes)
    elif between is not None:
        carry = carry._replace(states=between.work(carry.states))
    if checkpoint is not None:
        _, carry = _shard(mesh, num_chains, (chain_keys, carry))

    blocks = _blocks(store.period, len(kept), per_block)
    if store.stopped:
        blocks = []
    source = _source(plan, chain_keys, data, blocks, mesh)
    watcher = _Watcher(watch is not None, min_ess)
    started = time.perf_counter()
    for period, length in blocks:
        carry, draws, watched, info = run_block(
            plan, carry, chain_keys, jnp.asarray(period * thinning), length, next(source)
        )
        keep = kept[period : period + length]
        draws, watched = jax.tree.map(lambda x, keep=keep: np.asarray(x)[keep], (draws, watched))
        info = jax.tree.map(np.asarray, info)
        if between is not None and period + length < len(kept):
            carry = carry._replace(states=between.work(carry.states))
            store.sizes = between.sizes()
        store.append(carry, draws, watched, info, length)
        elapsed = time.perf_counter() - started
        watcher.look(store)
        done, total = (period + length) * thinning, len(kept) * thinning
        rate = (done - blocks[0][0] * thinning) / elapsed
        if callback is not None:
            left = (total - done) / rate
            alive = np.asarray(carry.alive)
            callback(Block(done, total, rate, left, info, alive, watcher.rhat, watcher.ess))
        if done == total:
            break
        if watcher.enough or (max_seconds is not None and elapsed >= max_seconds):
            store.stop(carry, "ess" if watcher.enough else "time")
            break
    return _result(store, carry, kept, num_burn_in // thinning)


def _check(
    data: Any,
    batch_size: int | None,
    num_burn_in: int,
    num_draws: int,
    thinning: int,
    min_ess: float | None,
    watch: Any,
) -> int:
    """The number of data, 0 where there are none."""
    if num_draws < 1 or thinning < 1:
        raise ValueError(f"num_draws and thinning must be at least 1, not {num_draws}, {thinning}")
    if num_burn_in % thinning:
        raise ValueError(f"num_burn_in={num_burn_in} must be a multiple of thinning={thinning}")
    sizes = {len(x) for x in jax.tree.leaves(data)}
    if len(sizes) > 1:
        raise ValueError(f"data arrays disagree on the number of data: {sorted(sizes)}")
    if sizes and not (batch_size and 0 < batch_size <= min(sizes)):
        raise ValueError(f"batch_size={batch_size} must lie between 1 and N={min(sizes)}")
    if min_ess is not None and watch is None:
        raise ValueError("min_ess needs watch: say whose effective sample size is meant")
    return min(sizes, default=0)


def _kept_periods(
    sampler: Sampler, burn_in_periods: int, num_draws: int, thinning: int
) -> np.ndarray:
    """(period,) bool: as many periods as give ``num_draws`` draws, and which do."""
    total = burn_in_periods + num_draws
    while True:
        index = np.arange(total)
        kept = index >= burn_in_periods
        if sampler.keep is not None:
            kept &= np.asarray(sampler.keep((index + 1) * thinning))
        if kept.sum() >= num_draws:
            return kept[: int(np.flatnonzero(kept)[num_draws - 1]) + 1]
        if total > 1000 * (burn_in_periods + num_draws):
            raise ValueError(
                f"the sampler keeps {kept.sum()} of {total} periods of {thinning} steps:"
                " choose a thinning that meets the part of its cycles that gives draws"
            )
        total *= 2


def _shard(mesh: jax.sharding.Mesh | None, chains: int, values: Any) -> Any:
    """Values with their leading chain axis spread over the mesh."""
    if mesh is None:
        return values
    if len(mesh.axis_names) != 1 or chains % mesh.size:
        raise ValueError(
            f"{chains} chains cannot be spread over a mesh of shape {dict(mesh.shape)}:"
            " it needs one axis that divides the number of chains"
        )
    spec = jax.sharding.PartitionSpec(mesh.axis_names[0])
    return jax.device_put(values, jax.sharding.NamedSharding(mesh, spec))


def _records(plan: Plan, carry: Carry, keys: jax.Array, data: Any, periods: int) -> Any:
    """Shapes of one draw, of what is watched, and of one info: a row each of a block."""

    def shape(x: Any) -> jax.ShapeDtypeStruct:
        lead = np.shape(x)
        if plan.streamed:
            batch = (plan.sampler.num_batches,) if plan.sampler.num_batches else ()
            lead = (periods, plan.thinning, len(keys), *batch, plan.batch_size, *lead[1:])
        return jax.ShapeDtypeStruct(lead, jax.dtypes.canonicalize_dtype(x.dtype))

    # Leaves only: a data class that checks its arrays would refuse bare shapes.
    leaves, treedef = jax.tree.flatten(data)
    _, *made = jax.eval_shape(
        lambda c, k, s, d: run_block(plan, c, k, s, periods, jax.tree.unflatten(treedef, d)),
        *(carry, keys, jnp.asarray(0), [shape(x) for x in leaves]),
    )
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), made)


def _blocks(first: int, periods: int, per_block: int) -> list[tuple[int, int]]:
    """(first period, length) of each block from ``first`` on."""
    return [(p, min(per_block, periods - p)) for p in range(first, periods, per_block)]


def _source(
    plan: Plan,
    keys: jax.Array,
    data: Any,
    blocks: list[tuple[int, int]],
    mesh: jax.sharding.Mesh | None,
) -> Iterator[Any]:
    """What each block reads its batches from."""
    if plan.streamed:
        steps = [(period * plan.thinning, length) for period, length in blocks]
        yield from batches.stream(plan, keys, data, steps, mesh)
        return
    on_device = jax.tree.map(jnp.asarray, data)
    if mesh is not None and data is not None:
        everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        on_device = jax.device_put(on_device, everywhere)
    for _ in blocks:
        yield on_device


class _Watcher:
    """R-hat and ESS of what is watched, looked at each time the draws have grown by a quarter."""

    def __init__(self, active: bool, min_ess: float | None) -> None:
        self.active, self.min_ess = active, min_ess
        self.rhat = self.ess = np.nan
        self.next_look = 8

    @property
    def enough(self) -> bool:
        return self.min_ess is not None and self.ess >= self.min_ess

    def look(self, store: Store) -> None:
        if not self.active or store.num_draws < self.next_look:
            return
        from samplers.diagnostics import convergence

        self.next_look = int(np.ceil(1.25 * store.num_draws))
        found = convergence(store.collect_watched())
        self.rhat = float(np.nanmax(found.rhat)) if np.isfinite(found.rhat).any() else np.nan
        self.ess = float(np.nanmin(found.ess_bulk))


def _result(store: Store, carry: Carry, kept: np.ndarray, burn_in: int) -> Result:
    draws, watched, infos = store.collect()
    alive, failed_at = np.asarray(carry.alive), np.asarray(carry.failed_at)
    rhat = np.full(watched.shape[2], np.nan)
    if watched.shape[2] and watched.shape[0] > 1 and watched.shape[1] >= 8:
        from samplers.diagnostics import convergence

        rhat = convergence(watched).rhat
    after = jax.tree.map(lambda x: x[:, burn_in:], infos)
    size = sum(math.prod(x.shape[2:]) for x in jax.tree.leaves(draws))
    return Result(
        draws,
        infos,
        alive,
        failed_at,
        kept[: store.period],
        watched,
        store.stopped or "draws",
        advise(alive, failed_at, after, rhat, infos.log_density[:, 0], size),
    )
