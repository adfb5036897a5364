"""The standard deviation that is handed out for what members predict."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bayespot.calibration import Recalibration

QUANTITIES = ("energy", "forces", "stress")
"""What members predict of a configuration."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """How standard deviations are made of members.

    Attributes:
        variance: of the labels about a perfect member, by quantity: eV^2 of a frame's total
            energy, eV^2/Angstrom^2, eV^2/Angstrom^6; what is missing is 0.
        recalibration: stretches them; None hands out the plain spread.
        noise: whether ``variance`` is part of what is handed out: the uncertainty of a new label,
            where without it that of the mean potential.
    """

    variance: Mapping[str, float] = dataclasses.field(default_factory=dict)
    recalibration: Recalibration | None = None
    noise: bool = False

    def of(
        self, name: str, samples: np.ndarray, symbols: np.ndarray, config_type: str = ""
    ) -> np.ndarray:
        """Standard deviation over members (ddof=1), with noise and recalibration as set.

        Recalibration learnt a factor for the whole, spread and noise; the same factor goes to the
        part that is handed out.  It learnt that of energies for the energy per atom.

        Args:
            name: "energy" (total, eV), "forces" (eV/Angstrom) or "stress" (eV/Angstrom^3).
            samples: (K,), (K, atoms, 3) or (K, ...); K at least 2.
            symbols: (atoms,) of the elements.
            config_type: kind of the configuration, for recalibrations that differ between kinds.

        Returns:
            Shape of one sample.
        """
        per = len(symbols) if name == "energy" else 1
        squares = np.var(np.asarray(samples, float), axis=0, ddof=1) / per**2
        whole = np.sqrt(squares + self.variance.get(name, 0.0) / per**2)
        handed = whole if self.noise else np.sqrt(squares)
        if self.recalibration is not None:
            groups = {"config_type": np.full(whole.size, config_type)}
            if name == "forces":
                groups["element"] = np.repeat(symbols, 3)
            stretched = self.recalibration.apply(name, whole.ravel(), groups)
            stretched = np.asarray(stretched, float).reshape(whole.shape)
            certain = whole == 0
            handed = handed * np.where(certain, 1.0, stretched / np.where(certain, 1.0, whole))
        return np.asarray(handed * per)
