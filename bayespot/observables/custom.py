"""An observable from one function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.observables.base import Context, Observable
from bayespot.observables.frame import Frame


@dataclasses.dataclass(frozen=True, init=False)
class Custom(Observable):
    """The time average of what a function says of a frame, or a function of such averages.

    >>> def height(frame):
    ...     return jnp.max(frame.system.positions[:, 2])
    >>> Custom("height", height, unit="Å").unit
    'Å'

    Programs are compiled once for each function object: define it once, outside of loops.

    Attributes:
        name: unique in a run.
        function: of a ``Frame``, in JAX; an array, or a dictionary of arrays to average.
        reduction: of the averages (by the names of the dictionary) and a ``Context``; None takes
            the average itself.
        label: unit of the value.
        abscissa: that of a curve.
        abscissa_label: its name and unit.
    """

    function: Callable[[Frame], Any]
    reduction: Callable[[dict[str, Any], Context], Any] | None
    label: str
    abscissa: tuple[float, ...] | None
    abscissa_label: str

    def __init__(
        self,
        name: str,
        function: Callable[[Frame], Any],
        unit: str = "",
        reduce: Callable[[dict[str, Any], Context], Any] | None = None,
        axis: Sequence[float | int] | np.ndarray | None = None,
        axis_label: str = "",
    ) -> None:
        points = None if axis is None else tuple(float(x) for x in axis)
        given = {
            "name": name, "function": function, "reduction": reduce, "label": unit,
            "abscissa": points, "abscissa_label": axis_label,
        }  # fmt: skip
        for key, value in given.items():
            object.__setattr__(self, key, value)

    @property
    def unit(self) -> str:
        """As given."""
        return self.label

    @property
    def axis(self) -> np.ndarray | None:
        """As given."""
        return None if self.abscissa is None else np.asarray(self.abscissa)

    @property
    def axis_label(self) -> str:
        """As given."""
        return self.abscissa_label

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """What the function says, as floats."""
        made = self.function(frame)
        if not isinstance(made, dict):
            made = {"value": made}
        elif self.reduction is None and len(made) != 1:
            raise UserError(
                f"observable {self.name} averages {', '.join(made)}, and has no reduction",
                "Give reduce, which makes one value of them",
            )
        dtype = frame.system.positions.dtype
        return {key: jnp.asarray(value).astype(dtype) for key, value in made.items()}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """By the given function, or the average."""
        if self.reduction is None:
            return next(iter(mean.values()))
        return self.reduction(mean, context)
