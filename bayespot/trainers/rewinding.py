"""Trajectories that remember where they were, so that they can go back to before they broke."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from bayespot.md.program import Carry


class Trajectories(NamedTuple):
    """Leading axes (members, replicas) everywhere; states are those of the integrator.

    Attributes:
        now: where they are.
        past: (..., blocks, ...) where the last blocks of a replica began, the latest first: the
            last of them is t steps before now, or at most t before it broke.
        anchor: where learning starts from.
        reason: why a replica stands still (``md.REASONS``); 0 where it does not.
        steps: made in this simulation phase, until it broke.
    """

    now: Any
    past: Any
    anchor: Any
    reason: Int[Array, "members replicas"]
    steps: Int[Array, "members replicas"]


def start(states: Any, blocks: int) -> Trajectories:
    """Nobody goes back to before the start."""
    none = jnp.zeros(jax.tree.leaves(states)[0].shape[:2], jnp.int32)
    return Trajectories(states, _filled(states, blocks), states, none, none)


@jax.jit
def begin(here: Trajectories, learns: Bool[Array, " members"]) -> Trajectories:
    """Members that learn go back to their anchor, where the same thermal noise awaits them: with
    the same parameters those that broke would break again, and only learning can prevent it."""
    blocks = jax.tree.leaves(here.past)[0].shape[2]
    past = _where(learns, _filled(here.anchor, blocks), here.past)
    reason = jnp.where(learns[:, None], 0, here.reason)
    return here._replace(now=_where(learns, here.anchor, here.now), past=past, reason=reason)


@jax.jit
def remember(here: Trajectories, carry: Carry) -> Trajectories:
    """At the start of a block; replicas that stand still keep their past."""
    moves = carry.reason == 0
    longer = jax.tree.map(
        lambda past, now: jnp.concatenate([now[:, :, None], past[:, :, :-1]], axis=2),
        here.past,
        carry.states,
    )
    return here._replace(past=_where(moves, longer, here.past))


@jax.jit
def end(here: Trajectories, carry: Carry, made: Any, drifted: jax.Array) -> Trajectories:
    """After the blocks of an update.

    Args:
        here: its ``reason`` still is that of the beginning.
        carry: of the session, which counted its steps from the beginning.
        made: steps of the update.
        drifted: (members, replicas) reasons found in averages over it, or 0.
    """
    moved = jnp.where(carry.reason == 0, made, carry.failed_at)
    steps = here.steps + jnp.where(here.reason == 0, moved, 0)
    reason = jnp.where(carry.reason == 0, drifted, carry.reason)
    return here._replace(now=carry.states, reason=reason, steps=steps)


@jax.jit
def switch(here: Trajectories, to_learn: jax.Array, to_simulate: jax.Array) -> Trajectories:
    """Members that begin to learn go back by t; a simulation phase counts its steps from 0."""
    oldest = jax.tree.map(lambda x: x[:, :, -1], here.past)
    steps = jnp.where((to_learn | to_simulate)[:, None], 0, here.steps)
    return here._replace(anchor=_where(to_learn, oldest, here.anchor), steps=steps)


def _filled(states: Any, blocks: int) -> Any:
    return jax.tree.map(lambda x: jnp.repeat(x[:, :, None], blocks, axis=2), states)


def _where(mask: jax.Array, yes: Any, no: Any) -> Any:
    """``mask`` has the first one or two axes of the arrays."""
    return jax.tree.map(
        lambda a, b: jnp.where(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a, b),
        yes,
        no,
    )
