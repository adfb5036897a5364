"""Numbers that potentials take from the training frames."""

from __future__ import annotations

import numpy as np
from ase.neighborlist import neighbor_list

from bayespot.build.symbols import symbols
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.system import System


def mean_neighbors(frames: list[Frame], cutoff: float) -> float:
    """Neighbours of an atom, on average over all atoms of all frames."""
    pairs = sum(len(neighbor_list("i", f.atoms, cutoff)) for f in frames)
    if not pairs:
        raise UserError(
            f"no atoms of the training frames are within {cutoff} Angstrom of each other",
            "Raise cutoff in [potential]",
        )
    return pairs / sum(len(f.atoms) for f in frames)


def shortest_distance(frames: list[Frame], below: float) -> float:
    """Between any two atoms, Angstrom."""
    least = min(neighbor_list("d", f.atoms, below).min(initial=below) for f in frames)
    if least >= below:
        raise UserError(
            f"no atoms of the training frames are within {below} Angstrom of each other",
            "Raise the cut-offs in [potential]",
        )
    return float(least)


def force_sizes(frames: list[Frame], species: tuple[int, ...]) -> tuple[float, ...]:
    """Root mean square of the force components on each element, eV/Angstrom."""
    numbers = np.concatenate([f.atoms.numbers for f in frames])
    squares = np.concatenate([np.mean(f.forces**2, axis=1) for f in frames])
    sizes = {z: float(np.sqrt(np.mean(squares[numbers == z]))) for z in species}
    still = [z for z in species if sizes[z] == 0]
    if still:
        raise UserError(
            f"no training frame has a force on {symbols(still)}, so that it has no scale",
            "Give scale in [potential] a number",
        )
    return tuple(sizes.values())


def representative(frames: list[Frame], species: tuple[int, ...], most: int = 32) -> list[System]:
    """``most`` frames spread over all, and one more for each element that those lack."""
    places = np.unique(np.linspace(0, len(frames) - 1, most).astype(int))
    chosen = [frames[i] for i in places]
    for z in species:
        if not any(z in f.atoms.numbers for f in chosen):
            chosen.append(next(f for f in frames if z in f.atoms.numbers))
    return [System.from_ase(f.atoms) for f in chosen]
