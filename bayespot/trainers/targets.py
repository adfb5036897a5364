"""What simulated averages shall be: measurements with their errors, and the loss they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.observables import Context, Frame, Observable


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """``weight * mean(((<O> - value)/error)^2)``.

    Attributes:
        observable: what is simulated.
        value: what was measured, in the observable's unit and of its shape.
        error: its standard error, same shape or one number.
        weight: of this term.
        point: which state point of the simulation, in its order.
    """

    observable: Observable
    value: Any
    error: Any = 1.0
    weight: float = 1.0
    point: int = 0

    def __post_init__(self) -> None:
        name, axis = self.observable.name, self.observable.axis
        shape = np.shape(self.value)
        whole = self.observable.shape
        if axis is not None and shape != whole:
            raise UserError(
                f"the target of {name} has shape {shape}, the observable has {whole}",
                "Give a value for each bin",
            )
        error = np.asarray(self.error, float)
        if not np.isfinite(np.asarray(self.value, float)).all():
            raise UserError(f"the target of {name} is not finite", "Leave it out")
        if not (np.isfinite(error) & (error > 0)).all() or error.shape not in ((), shape):
            raise UserError(
                f"the error of the target of {name} is not positive, or has shape {error.shape}",
                "Give one positive number, or one for each value",
            )

    def loss(self, found: jax.Array) -> jax.Array:
        """Of an average."""
        gap = (found - jnp.asarray(self.value, found.dtype)) / jnp.asarray(self.error, found.dtype)
        return self.weight * jnp.mean(gap**2)


def check(targets: Sequence[Target], points: int) -> None:
    """Refuse targets that would shadow each other, or that configurations cannot have.

    Raises:
        UserError: none, a point that is not simulated, two of one name, or an observable that
            looks back in time.
    """
    if not targets:
        raise UserError("there are no targets", "Give at least one")
    seen: dict[tuple[str, int], Target] = {}
    for target in targets:
        where = (target.observable.name, target.point)
        if not 0 <= target.point < points:
            raise UserError(
                f"the target of {where[0]} is at state point {target.point}, and {points} are"
                " simulated",
                f"Give a number from 0 to {points - 1}",
            )
        if where in seen:
            raise UserError(
                f"two targets are called {where[0]} at state point {target.point}", "Rename one"
            )
        if target.observable.window:
            raise UserError(
                f"{where[0]} looks back in time, and kept frames have no past",
                "Learn from averages over configurations",
            )
        seen[where] = target


def needs_potential(observable: Observable, like: Frame) -> bool:
    """Whether snapshots change with the parameters at a fixed configuration.

    Found by looking at what a snapshot reads of its frame.
    """
    read: set[str] = set()

    class Spy(Frame):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    spy = Spy(**{f.name: getattr(like, f.name) for f in dataclasses.fields(like)})
    jax.eval_shape(lambda: observable.snapshot(spy))
    return bool(read & {"energy", "potential", "params", "strained_energy"})


def reduced(observable: Observable, mean: dict[str, jax.Array], context: Context) -> jax.Array:
    """Value of an average, traced."""
    return jnp.asarray(observable.reduce(mean, context))
