"""What is refused before any MD is run."""

from __future__ import annotations

import numpy as np

from bayespot.errors import UserError
from bayespot.md.ensembles import Ensemble
from bayespot.potentials import Potential
from bayespot.system import System

SMALLEST_VOLUME = 0.5
"""Angstrom^3 per atom; metallic hydrogen has three times that."""

SMALLEST_DISTANCE = 0.3
"""Angstrom; a hydrogen molecule is 0.74 long."""


def check(potential: Potential, system: System, ensemble: Ensemble) -> None:
    """Refuse what no simulation can make sense of.

    Raises:
        UserError: unknown elements, an impossible density, constant pressure without a cell.
    """
    known = potential.elements
    present = {int(z) for z in np.unique(np.asarray(system.species)) if z > 0}
    if known is not None and present - known:
        raise UserError(
            f"the system holds elements {sorted(present - known)} that the potential was not"
            " trained on",
            "Train on data with these elements",
        )
    atoms = int(np.sum(np.asarray(system.mask)))
    if atoms == 1 and ensemble.shape == ("NVT", "nose_hoover"):
        raise UserError(
            "a Nosé-Hoover chain cannot drive a single atom", 'Use thermostat = "langevin"'
        )
    if all(system.pbc):
        volume = abs(float(np.linalg.det(np.asarray(system.cell, float)))) / max(atoms, 1)
        if not volume > SMALLEST_VOLUME:
            raise UserError(
                f"the cell leaves {volume:.3g} Å^3 to each of {atoms} atoms",
                "Check the cell and its unit (Angstrom)",
            )
    elif ensemble.varies_cell:
        raise UserError(
            "constant pressure needs a cell that is periodic in all three directions",
            "Use constant volume (NVT), or give the system a periodic cell",
        )


def check_starts(nearest: np.ndarray) -> None:
    """Refuse starts with atoms on top of each other.

    Args:
        nearest: (draws, replicas) smallest distance of two atoms, Angstrom.

    Raises:
        UserError: naming the first such start.
    """
    if (nearest < SMALLEST_DISTANCE).any():
        draw, replica = np.argwhere(nearest < SMALLEST_DISTANCE)[0]
        raise UserError(
            f"the start of draw {draw}, replica {replica} has two atoms"
            f" {nearest[draw, replica]:.3g} Å apart",
            "Remove overlapping atoms, or minimise the energy first (bayespot.md.minimize)",
        )
