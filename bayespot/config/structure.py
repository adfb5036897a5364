"""Sections of the observables of structure: where atoms are, relative to each other."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Discriminator, Field, Tag

from bayespot.config.base import Count, Finite, Name, Positive, Section

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0)]
Two = tuple[Index, Index]
Three = tuple[Index, Index, Index]
Four = tuple[Index, Index, Index, Index]
Room = Annotated[float, Field(ge=1, allow_inf_nan=False)]
"""Over the most neighbours of an atom at the start."""


def _how_many(value: Any) -> str:
    several = isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple)
    return "several" if several else "one"


Fours = Annotated[
    Annotated[Four, Tag("one")] | Annotated[tuple[Four, ...], Tag("several")],
    Discriminator(_how_many),
]
"""Four atoms, or several times four."""


class Ranged(Section):
    """From ``low`` to ``high``."""

    low: Finite
    high: Finite

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Ranged:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


class DistanceObservable(Ranged):
    """h(r)."""

    kind: Literal["distances"]
    name: Name = "h_r"
    low: NotNegative = 0.8
    high: Positive = 4.8
    bins: Count = 100
    smooth: bool = False


class BondLengthObservable(Ranged):
    """Density of the lengths between pairs of atoms."""

    kind: Literal["bond_lengths"]
    name: Name = "bond_lengths"
    atoms: Annotated[tuple[Two, ...], Field(min_length=1)]
    low: NotNegative = 0.8
    high: Positive = 2.0
    bins: Count = 120
    smooth: bool = False


class BondAngleObservable(Section):
    """Density of the angles of triples of atoms, the vertex in the middle."""

    kind: Literal["bond_angles"]
    name: Name = "bond_angles"
    atoms: Annotated[tuple[Three, ...], Field(min_length=1)]
    bins: Count = 90
    smooth: bool = False


class DihedralObservable(Section):
    """Dihedral density of four atoms, or of several times four."""

    kind: Literal["dihedral"]
    name: Name = "dihedral"
    atoms: Fours
    bins: Count = 36
    smooth: bool = False


class DihedralSurfaceObservable(Section):
    """Density of two dihedrals."""

    kind: Literal["dihedral_surface"]
    name: Name = "dihedral_surface"
    first: Fours
    second: Fours
    bins: Count = 60
    smooth: bool = False

    @pydantic.model_validator(mode="after")
    def _in_pairs(self) -> DihedralSurfaceObservable:
        one, other = (len(x) if _how_many(x) == "several" else 1 for x in (self.first, self.second))
        if one != other:
            raise ValueError(
                f"first has {one} dihedrals, and second has {other}: pairs are counted"
            )
        return self


class FreeEnergyObservable(Section):
    """Of a density, whose name does not matter."""

    kind: Literal["free_energy"]
    name: Name = "free_energy"
    density: Annotated[
        BondLengthObservable | BondAngleObservable | DihedralObservable | DihedralSurfaceObservable,
        Field(discriminator="kind"),
    ]


class RDFObservable(Section):
    """Radial distribution function, of all atoms or of two elements."""

    kind: Literal["rdf"]
    name: Name = "rdf"
    high: Positive = 6.0
    bins: Count = 120
    elements: tuple[str, str] | None = None
    smooth: bool = False
    room: Room = 1.5


class ADFObservable(Section):
    """Angular distribution function, of all atoms or of three elements, the centre in the
    middle."""

    kind: Literal["adf"]
    name: Name = "adf"
    cutoff: Positive = 3.18
    bins: Count = 150
    elements: tuple[str, str, str] | None = None
    spread: NotNegative = 0.1
    smooth: bool = False
    room: Room = 2.0


class TCFObservable(Ranged):
    """Triplet correlation function at equilateral triangles."""

    kind: Literal["tcf"]
    name: Name = "tcf"
    low: Positive = 2.0
    high: Positive = 5.0
    bins: Count = 50
    element: str | None = None
    smooth: bool = False
    room: Room = 1.5

    @pydantic.model_validator(mode="after")
    def _triangles(self) -> TCFObservable:
        width = (self.high - self.low) / self.bins
        if self.low <= width:
            raise ValueError(f"low {self.low} must exceed the width of a bin, {width:.3g}")
        return self


class TetrahedralOrderObservable(Section):
    """Mean tetrahedral order, of all atoms or of one element."""

    kind: Literal["tetrahedral_order"]
    name: Name = "tetrahedral_order"
    cutoff: Positive = 5.0
    element: str | None = None
    room: Room = 1.5


class TetrahedralOrderDistributionObservable(Ranged):
    """Its density over atoms."""

    kind: Literal["tetrahedral_order_distribution"]
    name: Name = "tetrahedral_order_distribution"
    cutoff: Positive = 5.0
    element: str | None = None
    room: Room = 1.5
    low: Finite = -1.0
    high: Finite = 1.0
    bins: Count = 100
    smooth: bool = False
