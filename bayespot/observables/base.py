"""The contract of an observable: a snapshot function and a reduction of its time averages."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables.frame import Frame

Value = np.ndarray | np.floating  # numpy turns arrays without axes into scalars


@dataclasses.dataclass(frozen=True)
class Observable(abc.ABC):
    """A number or a curve computed from a trajectory.

    The engine averages ``snapshot`` over the frames of each time block inside its scan; ``reduce``
    turns (weighted averages of) those into the value.  A reduction that is not linear, like a heat
    capacity from two moments, is therefore right for any pooling of blocks.

    Attributes:
        name: unique in a run.
    """

    name: str

    @property
    @abc.abstractmethod
    def unit(self) -> str:
        """Unit of the value."""

    @property
    def axis(self) -> np.ndarray | None:
        """Abscissa of a curve, or None for a number."""
        return None

    @property
    def axis_label(self) -> str:
        """Name and unit of the abscissa."""
        return ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value: that of the axis."""
        return () if self.axis is None else self.axis.shape

    @property
    def components(self) -> tuple[str, ...]:
        """What the values are called, where the axis does no more than number them."""
        return ()

    @property
    def title(self) -> str:
        """For figures."""
        return self.name

    @property
    def window(self) -> int:
        """Frames that ``Frame.history`` reaches back; 0 where one moment is enough."""
        return 0

    def track(self, frame: Frame) -> jax.Array:
        """What ``Frame.history`` holds of each moment."""
        raise NotImplementedError

    @abc.abstractmethod
    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """What to average, for one configuration."""

    @abc.abstractmethod
    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Value from averaged snapshots; leading axes of the arrays are kept.

        Averages are float64 arrays of numpy, or traced arrays of JAX, through which trainers
        differentiate: use operators, and ``namespace(mean)`` for functions.
        """


@dataclasses.dataclass(frozen=True)
class Context:
    """What a reduction may need besides averages.

    Attributes:
        temperature: K.
        num_atoms: atoms that exist.
        energy_shift: eV to add to potential energies: the per-species shift that training
            removed (kept out of the engine's float32 numbers).
    """

    temperature: float
    num_atoms: int
    energy_shift: float = 0.0


def namespace(mean: dict[str, Any]) -> Any:
    """``numpy`` or ``jax.numpy``, whichever the averages are arrays of."""
    return jnp if any(isinstance(x, jax.Array) for x in mean.values()) else np


def histogram(values: jax.Array, low: float, high: float, bins: int) -> jax.Array:
    """Counts (bins,) of the values inside [low, high)."""
    index = jnp.floor((values - low) / (high - low) * bins).astype(jnp.int32)
    return jnp.sum(index[:, None] == jnp.arange(bins), axis=0, dtype=jnp.float32)


def blocks_to_value(
    observable: Observable, blocks: dict[str, Any], weights: np.ndarray, context: Context
) -> np.ndarray:
    """Value from block averages pooled with ``weights`` (blocks,) over the first axis."""
    total = weights.sum()
    mean = {
        key: np.asarray(np.tensordot(weights, np.asarray(value, float), axes=1) / total)
        for key, value in blocks.items()
    }
    return np.asarray(observable.reduce(mean, context))
