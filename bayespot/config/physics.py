"""Sections of potentials with fixed formulas: alone, or as priors beside a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bayespot.config.base import Positive, Section

Exponent = Annotated[int, Field(ge=0)]


class HarmonicBondsTerm(Section):
    """Harmonic bonds whose constants are those of the training frames at their temperature."""

    kind: Literal["harmonic_bonds"]
    temperature: Positive


class HarmonicAnglesTerm(Section):
    """Harmonic angles between all bonds of an atom, with constants likewise."""

    kind: Literal["harmonic_angles"]
    temperature: Positive


class RepulsionTerm(Section):
    """``epsilon (sigma/d)^12`` between all atoms within ``cutoff``."""

    kind: Literal["repulsion"]
    sigma: Positive
    epsilon: Positive
    cutoff: Positive


class PairParameters(Section):
    """Of one element with itself, Angstrom and eV."""

    sigma: Positive
    epsilon: Positive


class LennardJonesTerm(Section):
    """One ``sigma`` and ``epsilon`` for all atoms, or ``elements`` with one of each for every
    element (mean sigma and geometric mean of epsilon between different ones)."""

    kind: Literal["lennard_jones"]
    cutoff: Positive
    sigma: Positive | None = None
    epsilon: Positive | None = None
    elements: dict[str, PairParameters] = Field(default_factory=dict)
    trainable: bool = False

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> LennardJonesTerm:
        given = [self.sigma is not None, self.epsilon is not None]
        if any(given) if self.elements else not all(given):
            raise ValueError("give either sigma and epsilon, or elements")
        return self


class StillingerWeberTerm(Section):
    """``parameters`` names a published set; without it sigma, epsilon, cutoff and strength are
    needed, and the reduced form is that of the paper unless told otherwise."""

    kind: Literal["stillinger_weber"]
    parameters: Literal["silicon"] | None = None
    sigma: Positive | None = None
    epsilon: Positive | None = None
    cutoff: Positive | None = None
    strength: Positive | None = None
    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    gamma: Positive | None = None
    A: Positive | None = None
    B: Positive | None = None
    p: Exponent | None = None
    q: Exponent | None = None
    trainable: bool = False

    @property
    def numbers(self) -> dict[str, float | int]:
        """Those that are given."""
        fixed = {"kind", "parameters", "trainable", "priors"}
        return self.model_dump(exclude=fixed, exclude_none=True)

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> StillingerWeberTerm:
        needed = ("sigma", "epsilon", "cutoff", "strength")
        if self.parameters and self.numbers:
            raise ValueError(f"parameters is a whole set: leave out {', '.join(self.numbers)}")
        lacking = [name for name in needed if name not in self.numbers]
        if not self.parameters and lacking:
            raise ValueError(
                f'give {", ".join(lacking)}, or the name of a set, parameters = "silicon"'
            )
        return self


class ZBLTerm(Section):
    """Screened repulsion of nuclei: exact up to ``inner``, zero from ``cutoff`` on."""

    kind: Literal["zbl"]
    inner: Positive = 1.0
    cutoff: Positive = 2.0

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> ZBLTerm:
        if self.inner >= self.cutoff:
            raise ValueError(f"inner {self.inner} must be below cutoff {self.cutoff}")
        return self


class TabulatedTerm(Section):
    """Pair energies from a text file of distances in Angstrom and energies in eV, between all
    atoms or the two elements of ``pair``; ``fade`` is the width of the switch at the last."""

    kind: Literal["tabulated"]
    file: Path
    fade: Positive = 0.5
    pair: tuple[str, str] | None = None


class ForceFieldTerm(Section):
    """Bonds, angles, dihedrals and pairs of one molecule from a TOML file."""

    kind: Literal["force_field"]
    file: Path


PriorTerm = Annotated[
    HarmonicBondsTerm
    | HarmonicAnglesTerm
    | RepulsionTerm
    | LennardJonesTerm
    | StillingerWeberTerm
    | ZBLTerm
    | TabulatedTerm
    | ForceFieldTerm,
    Field(discriminator="kind"),
]


class WithPriors(Section):
    """Any potential may have terms added to it."""

    priors: tuple[PriorTerm, ...] = ()


class LennardJonesPotential(LennardJonesTerm, WithPriors):
    """Lennard-Jones."""


class StillingerWeberPotential(StillingerWeberTerm, WithPriors):
    """Stillinger-Weber."""


class ZBLPotential(ZBLTerm, WithPriors):
    """Ziegler-Biersack-Littmark."""


class TabulatedPotential(TabulatedTerm, WithPriors):
    """A table."""


class ForceFieldPotential(ForceFieldTerm, WithPriors):
    """A classical force field of one molecule."""
