"""Sections of the potentials with parameters to learn, and the choice among all potentials.

Each has the defaults of its class in ``bayespot.potentials``, whose docstring explains its
options.  What is None by default comes from the training frames.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Field

from bayespot.config.base import Count, Finite, Positive, Section
from bayespot.config.physics import (
    ForceFieldPotential,
    LennardJonesPotential,
    StillingerWeberPotential,
    TabulatedPotential,
    WithPriors,
    ZBLPotential,
)

Width = Annotated[int, Field(ge=2)]
"""Of features that the read-out halves."""
Layers = Annotated[int, Field(ge=0)]


class Learned(WithPriors):
    """What sampling needs: parameters."""


class Network(Learned):
    """``scale`` is the energy unit of the read-out in eV; "per_species" gives each element the
    root mean square of its forces in the training frames, times 1 Angstrom."""

    cutoff: Positive = 5.0
    scale: Positive | Literal["per_species"] = 1.0


class Convolution(Network):
    """Sums over neighbours, divided by what their number ``neighbors`` calls for; that of the
    training frames where none is given."""

    neighbors: Positive | None = None


class SchNetPotential(Convolution):
    """Message passing on distances."""

    kind: Literal["schnet"] = "schnet"
    features: Width = 32
    interactions: Count = 2
    basis: Annotated[int, Field(ge=2)] = 20


class DimeNetPPPotential(Network):
    """Messages on directed edges that see angles.  Its embedding of a temperature waits for
    training frames that name theirs."""

    kind: Literal["dimenet_pp"]
    features: Count = 32
    out_features: Count = 64
    triplet_features: Count = 16
    basis_features: Count = 8
    species_features: Count = 16
    interactions: Count = 4
    out_layers: Layers = 3
    residuals: tuple[Layers, Layers] = (1, 2)
    basis: Count = 6
    degrees: Count = 7
    envelope: Count = 6


class PaiNNPotential(Convolution):
    """Message passing with scalars and vectors."""

    kind: Literal["painn"]
    features: Width = 32
    interactions: Count = 3
    basis: Count = 20


class NequIPPotential(Convolution):
    """Equivariant convolutions."""

    kind: Literal["nequip"]
    features: Width = 32
    interactions: Count = 4
    basis: Count = 8
    hidden: Count = 64


class MACEPotential(Convolution):
    """Products of atomic densities."""

    kind: Literal["mace"]
    features: Width = 32
    interactions: Count = 2
    basis: Count = 8
    hidden: Count = 64
    correlation: Annotated[int, Field(ge=1, le=3)] = 3


class GemNetTPotential(Network):
    """Messages on directed edges with triplets, both ways."""

    kind: Literal["gemnet_t"]
    features: Count = 128
    triplet_features: Count = 64
    basis_features: Count = 16
    interactions: Count = 4
    residuals: tuple[Layers, Layers, Layers, Layers] = (1, 1, 1, 2)
    basis: Count = 6
    degrees: Count = 7
    envelope: Count = 5
    factors: tuple[Positive, Positive, Positive] = (4.0, 0.5, 0.5)


Radial = tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], Finite]
Angular = tuple[
    Annotated[float, Field(ge=0, allow_inf_nan=False)], Annotated[float, Field(ge=-1, le=1)], Count
]


class BehlerParrinelloPotential(Network):
    """Symmetry functions and a network for each element; ``standardize`` centres and scales them
    over the training frames."""

    kind: Literal["behler_parrinello"]
    cutoff: Positive = 6.0
    radial: Annotated[tuple[Radial, ...], Field(min_length=1)] = (
        (0.01, 0.0),
        (0.1, 0.0),
        (0.3, 0.0),
        (0.8, 0.0),
        (4.0, 1.0),
        (4.0, 1.5),
        (4.0, 2.0),
        (4.0, 2.5),
        (4.0, 3.0),
    )
    angular: tuple[Angular, ...] = (
        (0.01, 1.0, 1),
        (0.01, -1.0, 1),
        (0.01, 1.0, 4),
        (0.01, -1.0, 4),
        (0.1, 1.0, 1),
        (0.1, -1.0, 1),
        (0.1, 1.0, 4),
        (0.1, -1.0, 4),
    )
    form: Literal["G4", "G5"] = "G5"
    hidden: tuple[Count, ...] = (32, 32)
    standardize: bool = True


class PairMLPPotential(Learned):
    """Pair network on Bessel functions."""

    kind: Literal["pair_mlp"]
    cutoff: Positive = 5.0
    basis: Count = 6
    hidden: tuple[Count, ...] = (64,)
    scale: Positive = 1.0


class CubicSplinePotential(Learned):
    """A curve for each pair of elements, or one for all; ``start``: shortest distance."""

    kind: Literal["cubic_spline"]
    start: Positive | None = None
    cutoff: Positive = 5.0
    basis: Width = 20
    by_species: bool = True
    scale: Positive = 0.1

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> CubicSplinePotential:
        if self.start is not None and self.start >= self.cutoff:
            raise ValueError(f"start {self.start} must be below cutoff {self.cutoff}")
        return self


class UltraFastPotential(Learned):
    """Curves of pairs and triplets; ``start``: shortest distance."""

    kind: Literal["ultra_fast"]
    start: Positive | None = None
    cutoff: Positive = 5.0
    triplet_cutoff: Positive = 4.0
    basis: Width = 20
    triplet_basis: Count = 6
    scale: Positive = 0.1

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> UltraFastPotential:
        if self.start is not None and self.start >= min(self.cutoff, self.triplet_cutoff):
            raise ValueError(f"start {self.start} must be below cutoff and triplet_cutoff")
        return self


PotentialConfig = Annotated[
    SchNetPotential
    | DimeNetPPPotential
    | PaiNNPotential
    | NequIPPotential
    | MACEPotential
    | GemNetTPotential
    | BehlerParrinelloPotential
    | PairMLPPotential
    | CubicSplinePotential
    | UltraFastPotential
    | StillingerWeberPotential
    | LennardJonesPotential
    | TabulatedPotential
    | ZBLPotential
    | ForceFieldPotential,
    Field(discriminator="kind"),
]


def kinds(union: Any = PotentialConfig) -> dict[str, type[Section]]:
    """Section of every ``kind`` in a union of sections."""
    members = get_args(get_args(union)[0])
    return {get_args(m.model_fields["kind"].annotation)[0]: m for m in members}
