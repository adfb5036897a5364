"""Several trainers of one potential, taking turns: bottom-up and top-down data together.

A guard watches each trainer's own loss.  Where it exceeds ``tolerance`` times its best (for one
below zero: its best by ``tolerance - 1`` of its size), the others did that: their turns count for
half as much from then on, and slowly for more again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.errors import UserError
from bayespot.trainers.base import Record, Stop, Trainer


class InterleavedState(NamedTuple):
    """Of all trainers.

    Attributes:
        params: now; leading axis of members.
        states: of each trainer, in their order.
        best: (trainers, members) lowest loss so far.
        share: (trainers, members) how much of a turn's change is kept.
    """

    params: Any
    states: tuple[Any, ...]
    best: Float[Array, "trainers members"]
    share: Float[Array, "trainers members"]


class Interleaved(Trainer):
    """One update is a turn of every trainer (Fusion, methods.md section 3)."""

    def __init__(
        self,
        trainers: Mapping[str, Trainer],
        turns: Sequence[int] | None = None,
        tolerance: float = 2.0,
    ) -> None:
        """Args:
        trainers: by name; each with a "loss" in its record.
        turns: updates of each in a row; one by default.
        tolerance: times its best that a loss may rise to before the guard steps in; infinite
            switches it off.

        Raises:
            UserError: fewer than two trainers, or turns that do not fit them.
        """
        self.trainers = dict(trainers)
        self.turns = tuple(turns) if turns is not None else (1,) * len(self.trainers)
        if len(self.trainers) < 2:
            raise UserError("there is one trainer to take turns", "Give at least two")
        if len(self.turns) != len(self.trainers) or min(self.turns) < 1:
            raise UserError(
                f"turns {self.turns} for {len(self.trainers)} trainers", "Give a number for each"
            )
        if not tolerance > 1:
            raise UserError(f"the tolerance is {tolerance}", "Give a factor above one")
        self.tolerance = tolerance

    def init(self, key: jax.Array, params: Any) -> InterleavedState:
        """First states of all, with independent keys."""
        keys = jax.random.split(key, len(self.trainers))
        members = len(jax.tree.leaves(params)[0])
        states = tuple(t.init(k, params) for t, k in zip(self.trainers.values(), keys, strict=True))
        ones = jnp.ones((len(states), members))
        return InterleavedState(params, states, jnp.full_like(ones, jnp.inf), ones)

    def update(self, state: InterleavedState) -> tuple[InterleavedState, Record]:
        """A turn of each; records are named ``trainer/quantity``."""
        params, states = state.params, list(state.states)
        best, share = np.array(state.best), np.array(state.share)
        told: Record = {}
        for i, (name, trainer) in enumerate(self.trainers.items()):
            before = params
            states[i] = trainer.with_params(states[i], params)
            for turn in range(self.turns[i]):
                states[i], record = trainer.update(states[i])
                if turn == 0:  # the loss of what the others left
                    limit = best[i] + (self.tolerance - 1) * np.abs(best[i])
                    worse = ~(record["loss"] <= limit)
                    others = np.arange(len(states)) != i
                    share[np.ix_(others, worse)] /= 2
                    best[i] = np.fmin(best[i], record["loss"])
                told |= {f"{name}/{key}": value for key, value in record.items()}
            kept = jnp.asarray(share[i])
            params = jax.tree.map(
                lambda old, new, kept=kept: _between(old, new, kept), before, states[i].params
            )
            told[f"{name}/share"] = share[i].copy()
            share[i] = np.minimum(1.0, share[i] * 1.1)
        new = InterleavedState(params, tuple(states), jnp.asarray(best), jnp.asarray(share))
        return new, told

    def sizes(self) -> dict[str, Any]:
        """Of all trainers, by name."""
        return {name: trainer.sizes() for name, trainer in self.trainers.items()}

    def restore_sizes(self, sizes: dict[str, Any]) -> None:
        """What ``sizes`` gave elsewhere."""
        for name, trainer in self.trainers.items():
            trainer.restore_sizes(sizes[name])


def give_up(share: float = 1e-3) -> Stop:
    """Stop once the guard leaves some member's turns less than ``share``: the objectives exclude
    each other."""

    def stop(history: dict[str, np.ndarray]) -> str | None:
        for name, values in history.items():
            if name.endswith("/share") and values[-1].min() < share:
                return f"{name.removesuffix('/share')} destroys what the other trainers learned"
        return None

    return stop


def _between(old: jax.Array, new: jax.Array, share: jax.Array) -> jax.Array:
    scale = share.reshape(-1, *(1,) * (old.ndim - 1)).astype(old.dtype)
    return jnp.where(scale == 1, new, old + scale * (new - old))
