"""Who interacts with whom: all pairs of an open system, or a list with an overflow flag.

Both kinds give a potential the same view, ``Pairs``: for every atom its neighbours in a fixed
number of slots, with a mask.
"""

from bayespot.neighbors.grid import Grid
from bayespot.neighbors.lists import (
    SMALL,
    Lists,
    NeighborList,
    Neighbors,
    allocate,
    lists_of,
    placeholder,
    sizes_of,
)
from bayespot.neighbors.pairs import AllPairs, GivenPairs, Pairs, safe_norm

__all__ = [
    "SMALL",
    "AllPairs",
    "GivenPairs",
    "Grid",
    "Lists",
    "NeighborList",
    "Neighbors",
    "Pairs",
    "allocate",
    "lists_of",
    "placeholder",
    "safe_norm",
    "sizes_of",
]
