"""What a case of ``coverage`` is: a known potential, training sets of it, and what to simulate."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol

import jax
import numpy as np

from bayespot.data import Batch
from bayespot.md import Trajectories
from bayespot.observables import Context, Observable
from bayespot.posterior import Posterior
from benchmarks.uq.methods import Method, Recipe

Place = Literal["in", "away"]
PLACES: tuple[Place, ...] = ("in", "away")
"""The temperature that training frames have, and one 100 to 200 K away."""


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """One of many, independent of the others.

    Attributes:
        train: the posterior with the training frames.
        validation: frames of the same kind.
        calibration: frames of the same kind, for recalibration only.
        shift: eV to add to potential energies of the whole system.
    """

    train: Posterior
    validation: Batch
    calibration: Batch
    shift: float = 0.0


class Case(Protocol):
    """A potential that is known, and a model that learns it."""

    @property
    def name(self) -> str:
        """For files."""
        ...

    @property
    def title(self) -> str:
        """For tables."""
        ...

    @property
    def recipe(self) -> Recipe:
        """How the package's methods are run."""
        ...

    @property
    def methods(self) -> tuple[str, ...]:
        """Which are, by name."""
        ...

    @property
    def sets(self) -> int:
        """Training sets."""
        ...

    @property
    def temperatures(self) -> dict[Place, float]:
        """K."""
        ...

    @property
    def observables(self) -> tuple[Observable, ...]:
        """What is simulated."""
        ...

    @property
    def blocks(self) -> int:
        """Time blocks that MD noise of one model is known from."""
        ...

    def settings(self) -> dict[str, Any]:
        """What stored numbers depend on."""
        ...

    def training_set(self, number: int) -> TrainingSet:
        """Frames of its own."""
        ...

    def own_methods(self) -> dict[str, Method]:
        """Beyond the package's: exact posteriors."""
        ...

    def reference(self, place: Place) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Observable -> truth and its standard error."""
        ...

    def test(self, place: Place) -> Batch:
        """Frames labelled without noise."""
        ...

    def simulate(self, key: jax.Array, params: Any) -> dict[Place, Trajectories]:
        """Of every draw, at both temperatures."""
        ...

    def context(self, place: Place, given: TrainingSet) -> Context:
        """For reductions."""
        ...


def part(made: Trajectories, replicas: slice) -> Trajectories:
    """Some of the replicas."""
    means = {
        name: {key: x[:, :, replicas] for key, x in snapshot.items()}
        for name, snapshot in made.means.items()
    }
    return made._replace(
        means=means, temperature=made.temperature[:, :, replicas],
        reason=made.reason[:, replicas], failed_at=made.failed_at[:, replicas], final=None,
    )  # fmt: skip
