"""The ten heavy atoms: what they are, and a potential of priors and a network.

Bonds, angles, dihedrals and their parameters are those of the relative-entropy paper's model.
"""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np

from bayespot.potentials import (
    HarmonicAngles,
    HarmonicBonds,
    ListedPairs,
    Potential,
    ProperDihedrals,
)
from bayespot.system import System
from bayespot.units import BOLTZMANN
from benchmarks.alanine.internal import InternalNetwork

DATA = Path(__file__).parents[3] / "shared" / "data" / "alanine_dipeptide"
TEMPERATURE = 300.0  # K
KJ_MOL = 1 / 96.48533212331  # eV
SYMBOLS = "CCONCCCONC"  # CH3 C O N CA CB C O N CH3
MASSES = (15.035, 12.011, 15.999, 15.015, 13.019, 15.035, 12.011, 15.999, 15.015, 15.035)  # u
BONDS = ((0, 1), (1, 2), (1, 3), (4, 6), (6, 7), (4, 5), (3, 4), (6, 8), (8, 9))
ANGLES = (
    (0, 1, 2), (0, 1, 3), (2, 1, 3), (1, 3, 4), (3, 4, 5), (3, 4, 6), (5, 4, 6), (4, 6, 7),
    (4, 6, 8), (7, 6, 8), (6, 8, 9),
)  # fmt: skip
PHI, PSI = (1, 3, 4, 6), (3, 4, 6, 8)
DIHEDRALS = (
    PHI, PSI, (0, 1, 3, 4), (2, 1, 3, 4), (1, 3, 4, 5), (5, 4, 6, 8), (4, 6, 8, 9), (7, 6, 8, 9)
)  # fmt: skip
FAR = (
    (0, 5), (0, 6), (0, 7), (0, 8), (0, 9), (1, 7), (1, 8), (1, 9), (2, 5), (2, 6), (2, 7),
    (2, 8), (2, 9), (3, 9), (5, 9),
)  # fmt: skip


def system(positions: np.ndarray) -> System:
    """In open space; (beads, 3) Angstrom."""
    atoms = ase.Atoms(SYMBOLS, positions, masses=MASSES)
    return System.from_ase(atoms)


def _read(name: str) -> np.ndarray:
    return np.load(DATA / f"prior_{name}.npy").astype(float)


def prior() -> Potential:
    """Bonds and angles that fluctuate as the atoms', the force field's dihedrals and repulsion."""
    kt = BOLTZMANN * TEMPERATURE
    bonds = HarmonicBonds(
        BONDS,
        tuple(10 * _read("eq_bond_length")),
        tuple(kt / (100 * _read("eq_bond_variance"))),
    )
    angles = HarmonicAngles(
        ANGLES,
        tuple(np.deg2rad(_read("eq_angle"))),
        tuple(kt / (np.deg2rad(1) ** 2 * _read("eq_angle_variance"))),
    )
    repulsion = ListedPairs(
        FAR, tuple(10 * _read("sigma")), tuple(KJ_MOL * _read("epsilon")), repulsion_only=True
    )
    return bonds + angles + _dihedrals() + repulsion


def _dihedrals() -> Potential:
    constant, multiplicity, phase = (
        _read(f"dihedral_{x}") for x in ("constant", "multiplicity", "phase")
    )
    terms = [(row, term) for row, term in np.argwhere(constant > 0)]
    return ProperDihedrals(
        tuple(DIHEDRALS[row] for row, _ in terms),
        tuple(int(multiplicity[at]) for at in terms),
        tuple(float(np.deg2rad(phase[at])) for at in terms),
        tuple(float(KJ_MOL * constant[at]) for at in terms),
    )


def potential(positions: np.ndarray, width: int) -> Potential:
    """The priors and a network, its inputs scaled by frames of the training set."""
    return prior() + InternalNetwork.of(positions, BONDS, DIHEDRALS, width, BOLTZMANN * TEMPERATURE)
