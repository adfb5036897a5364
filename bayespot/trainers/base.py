"""The contract of a trainer, and the loop that drives any of them.

Parameters have a leading axis of members everywhere: one trained potential is an ensemble of one.
"""

from __future__ import annotations

import abc
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.files import load_arrays, save_arrays

Record = dict[str, np.ndarray]  # of one update: (members, ...) each


class Trainer(abc.ABC):
    """Something that improves parameters update by update.

    States are pytrees of arrays with a ``params`` field, so that a checkpoint is their leaves,
    and trainers that share parameters can take turns.
    """

    @abc.abstractmethod
    def init(self, key: jax.Array, params: Any) -> Any:
        """The first state, cheap to make.

        Args:
            key: from ``jax.random.key``.
            params: leading axis of members.
        """

    @abc.abstractmethod
    def update(self, state: Any) -> tuple[Any, Record]:
        """One update, and what to write down about it."""

    def result(self, state: Any) -> Any:
        """The parameters to use: the last ones, unless a trainer knows better."""
        return state.params

    def with_params(self, state: Any, params: Any) -> Any:
        """``state`` with parameters that another trainer changed meanwhile."""
        return state._replace(params=params)

    def sizes(self) -> dict[str, Any]:
        """Sizes of buffers that runs grew, as JSON: rounding depends on them."""
        return {}

    def restore_sizes(self, sizes: dict[str, Any]) -> None:
        """Take over what ``sizes`` gave in another process."""
        del sizes


class Fit(NamedTuple):
    """What training gave.

    Attributes:
        params: leading axis of members.
        history: by name, (updates, members, ...).
        state: to go on from.
        stopped: why it ended.
    """

    params: Any
    history: dict[str, np.ndarray]
    state: Any
    stopped: str


Stop = Callable[[dict[str, np.ndarray]], str | None]
"""Reads the history after each update, and gives the reason to stop, or None."""


def fit(
    key: jax.Array,
    trainer: Trainer,
    params: Any,
    updates: int,
    *,
    stop: Stop | None = None,
    checkpoint: Path | None = None,
    seconds_between: float = 30.0,
    fingerprint: str = "",
    callback: Callable[[int, Record], None] | None = None,
) -> Fit:
    """Update until ``updates`` are made or ``stop`` says so.

    Args:
        key: from ``jax.random.key``.
        trainer: what updates.
        params: leading axis of members.
        updates: how many at most, those of earlier calls with this ``checkpoint`` included.
        stop: early stopping.
        checkpoint: file (``.npz``) to resume from and to write, at most every
            ``seconds_between``; a run that was killed ends with the same bits.
        fingerprint: what the checkpoint must agree with.
        callback: called with the number of updates made and the record of the last.

    Raises:
        UserError: a checkpoint of something else.
    """
    state = trainer.init(key, params)
    history: list[Record] = []
    if checkpoint is not None and Path(checkpoint).exists():
        state, history = _load(Path(checkpoint), trainer, state, fingerprint)
    saved, stopped = time.perf_counter(), f"{updates} updates made"
    while len(history) < updates:
        reason = stop(_stacked(history)) if stop is not None and history else None
        if reason is not None:
            stopped = reason
            break
        state, record = trainer.update(state)
        history.append({name: np.asarray(x) for name, x in record.items()})
        if callback is not None:
            callback(len(history), history[-1])
        if checkpoint is not None and time.perf_counter() - saved > seconds_between:
            _save(Path(checkpoint), trainer, state, history, fingerprint)
            saved = time.perf_counter()
    if checkpoint is not None:
        _save(Path(checkpoint), trainer, state, history, fingerprint)
    logging.getLogger("bayespot").debug("training ended: %s", stopped)
    return Fit(trainer.result(state), _stacked(history), state, stopped)


def patience(name: str, updates: int) -> Stop:
    """Stop once no member's ``name`` has fallen to a new minimum for ``updates`` updates."""

    def stop(history: dict[str, np.ndarray]) -> str | None:
        if name not in history:
            raise UserError(
                f"the history has no {name} to be patient with", f"Choose of {', '.join(history)}"
            )
        values = history[name].reshape(len(history[name]), -1)
        best = np.argmin(np.where(np.isnan(values), np.inf, values), axis=0)
        idle = len(values) - 1 - int(best.max())
        return f"{name} has not improved for {idle} updates" if idle >= updates else None

    return stop


def _stacked(history: Sequence[Record]) -> dict[str, np.ndarray]:
    if not history:
        return {}
    return {name: np.stack([record[name] for record in history]) for name in history[0]}


def _save(
    path: Path, trainer: Trainer, state: Any, history: list[Record], fingerprint: str
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = jax.tree.leaves(state)
    told = _stacked(history)
    header = {
        "fingerprint": fingerprint,
        "trainer": type(trainer).__name__,
        "updates": len(history),
        "leaves": len(leaves),
        "names": list(told),
        "sizes": trainer.sizes(),
    }
    save_arrays(path, [*leaves, *told.values()], header)


def _load(path: Path, trainer: Trainer, state: Any, fingerprint: str) -> tuple[Any, list[Record]]:
    try:
        arrays, header = load_arrays(path)
    except Exception as error:
        raise UserError(
            f"{path} is no checkpoint ({type(error).__name__}: {error})",
            "Remove it, or choose another checkpoint",
        ) from error
    leaves, treedef = jax.tree.flatten(state)
    stored = arrays[: header.get("leaves", 0)]
    same = (
        header.get("fingerprint") == fingerprint
        and header.get("trainer") == type(trainer).__name__
        and [(x.shape, x.dtype) for x in leaves] == [(x.shape, x.dtype) for x in stored]
    )
    if not same:
        raise UserError(
            f"{path} holds the training of something else",
            "Remove it, or choose another checkpoint",
        )
    trainer.restore_sizes(header["sizes"])
    told = dict(zip(header["names"], arrays[header["leaves"] :], strict=True))
    history = [{name: x[i] for name, x in told.items()} for i in range(header["updates"])]
    return jax.tree.unflatten(treedef, [jnp.asarray(x) for x in stored]), history
