"""One kind of number, with truths and predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from bayespot.errors import UserError

LABELS = {
    "energy": "energy per atom",
    "forces": "force components",
    "force_vectors": "force vectors",
    "stress": "stress components",
}


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One kind of number: truths with the predictions of K members.

    Attributes:
        name: "energy" (per atom), "forces" (components), "force_vectors", "stress", or that of an
            observable.
        unit: of truth and samples.
        truth: (n,), or (n, 3) for vectors.
        samples: (K, n) or (K, n, 3), K at least 2.
        noise_variance: (n,) of the labels (of a component of a vector), unit^2.
        cluster: (n,) number of the frame: numbers of one frame are
            correlated, those of two are not.
        groups: kind ("element", "config_type", "magnitude", "domain") -> (n,) name of the group.
        label: for tables.

    Raises:
        UserError: fewer than two members.
        ValueError: shapes that do not fit, or numbers that are not finite.
    """

    name: str
    unit: str
    truth: np.ndarray
    samples: np.ndarray
    noise_variance: np.ndarray
    cluster: np.ndarray
    groups: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        if len(self.samples) < 2:
            raise UserError(
                f"{self.name} has predictions of {len(self.samples)} member",
                "Give at least two members: their spread is the uncertainty",
            )
        shapes = {len(self.truth), len(self.noise_variance), len(self.cluster)}
        shapes |= {len(group) for group in self.groups.values()}
        if self.samples.shape[1:] != self.truth.shape or len(shapes) > 1:
            raise ValueError(f"shapes of the {self.name} do not fit one another")
        if not len(self.truth):
            raise ValueError(f"no {self.name} to compare")
        finite = all(np.isfinite(x).all() for x in (self.truth, self.samples, self.noise_variance))
        if not finite or (self.noise_variance < 0).any():
            raise ValueError(f"{self.name}: numbers must be finite, and variances not negative")
        if not self.label:
            object.__setattr__(self, "label", LABELS.get(self.name, self.name))

    @property
    def vector(self) -> bool:
        """Whether each number is a vector of three."""
        return self.truth.ndim == 2

    def select(self, use: np.ndarray) -> Quantity:
        """Those numbers only (mask or indices)."""
        return dataclasses.replace(
            self,
            truth=self.truth[use],
            samples=self.samples[:, use],
            noise_variance=self.noise_variance[use],
            cluster=self.cluster[use],
            groups={kind: group[use] for kind, group in self.groups.items()},
        )
