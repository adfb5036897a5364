"""Small systems and every potential, for the physics tests."""

import functools

import jax
import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from bayespot.neighbors import allocate
from bayespot.potentials import (
    MACE,
    ZBL,
    BehlerParrinello,
    CubicSpline,
    DimeNetPP,
    GemNetT,
    HarmonicAngles,
    HarmonicBonds,
    LennardJones,
    ListedPairs,
    NequIP,
    PaiNN,
    PairMLP,
    ProperDihedrals,
    Scaled,
    SchNet,
    StillingerWeber,
    Tabulated,
    UltraFast,
    energy_and_forces,
)
from bayespot.system import System
from bayespot.topology import find_bonds

ETHANOL = molecule("CH3CH2OH")
SCHNET = SchNet(species=(1, 6, 8, 14), range=4.0, features=8, interactions=2, basis=8)
DIMENET = DimeNetPP((1, 6, 8, 14), 4.0, 8, 8, 6, 4, 4, 1, 1, (1, 1), 4, 4)
GEMNET = GemNetT((1, 6, 8, 14), 4.0, 8, 6, 4, 1, (1, 1, 1, 1), 4, 4)
BONDS = HarmonicBonds(find_bonds(ETHANOL), (1.2,) * 8, (30.0,) * 8)
ANGLES = HarmonicAngles(((3, 0, 1), (0, 1, 2), (4, 0, 1)), (1.9, 1.8, 2.0), (3.0, 2.0, 4.0))
DIHEDRALS = ProperDihedrals(
    ((2, 1, 0, 3), (2, 1, 0, 3), (3, 0, 1, 5)), (1, 3, 2), (0.4, 0.0, 3.0), (0.2, 0.1, 0.3)
)
TABLE = Tabulated(
    tuple(np.linspace(0.7, 4.0, 23).tolist()),
    tuple((2 * np.exp(-2 * np.linspace(0.7, 4.0, 23)) - 0.02).tolist()),
    fade=2.0,
)
POTENTIALS = {
    "schnet": SCHNET,
    "dimenet": DIMENET,
    "gemnet": GEMNET,
    "behler_g5": BehlerParrinello((1, 6, 8, 14), 4.0, hidden=(8,)),
    "behler_g4": BehlerParrinello(
        (1, 6, 8, 14), 4.0, ((0.5, 0.0),), ((0.1, -1.0, 2),), "G4", hidden=(8,)
    ),
    "mace": MACE((1, 6, 8, 14), 4.0, 4, basis=3, hidden=8, correlation=2, scale=0.02),
    "nequip": NequIP((1, 6, 8, 14), 4.0, 8, interactions=2, basis=3, hidden=16, scale=0.02),
    "painn": PaiNN((1, 6, 8, 14), 4.0, features=8, interactions=2, basis=3, scale=0.02),
    "pair_mlp": PairMLP(range=4.0, hidden=(16,)),
    "lennard_jones": LennardJones(1.0, 0.05, 4.0),
    "lj_trainable": LennardJones(1.0, 0.05, 4.0, trainable=True),
    "repulsion": LennardJones(1.2, 0.1, 4.0, repulsion_only=True),
    "lj_mixed": LennardJones(
        (0.8, 1.1, 1.0, 2.2), (0.05, 0.02, 0.04, 0.1), 4.0, trainable=True, species=(1, 6, 8, 14)
    ),
    "spline": CubicSpline(0.9, 4.0, 8, scale=0.2),
    "spline_species": CubicSpline(1.2, 4.0, 8, (1, 6, 8, 14), scale=0.2),
    "ultra_fast": UltraFast((1, 6, 8, 14), 0.9, 4.0, 3.0, 8, 3),
    "stillinger_weber": StillingerWeber(1.0, 0.02, 4.0, strength=5.0, trainable=True),
    "zbl": Scaled(ZBL(0.8, 3.0), (1, 6, 8, 14), (0.01,) * 4, (0.0,) * 4),
    "tabulated": TABLE,
    "scaled": Scaled(
        LennardJones(1.0, 0.05, 4.0, trainable=True),
        (1, 6, 8, 14),
        (0.5, 1.2, 2.0, 0.7),
        (-0.1, 0.3, 0.0, 0.2),
        trainable=True,
    ),
    "bonds": BONDS,
    "angles": ANGLES,
    "dihedrals": DIHEDRALS,
    "listed_pairs": ListedPairs(((2, 5), (3, 5), (1, 3)), (1.5, 1.8, 1.6), (0.1, 0.2, 0.1)),
    "sum": SCHNET + LennardJones(1.0, 0.05, 4.0, repulsion_only=True) + BONDS,
}


BONDED = ("bonds", "angles", "dihedrals", "listed_pairs", "sum")
"""Those that name atoms by number: the order of atoms matters, and only ethanol will do."""
RANGED = tuple(name for name in POTENTIALS if name not in BONDED)
"""Those that go to zero at a cut-off, and describe a crystal as well as a molecule."""


def ethanol(seed: int = 0, noise: float = 0.05) -> Atoms:
    atoms = ETHANOL.copy()
    atoms.positions += noise * np.random.default_rng(seed).normal(size=atoms.positions.shape)
    return atoms


def silicon(seed: int = 0) -> Atoms:
    atoms = bulk("Si", cubic=True)
    rng = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * rng.normal(size=(3, 3))), True)
    atoms.positions += 0.1 * rng.normal(size=atoms.positions.shape)
    return atoms


def params_of(potential, system):
    """Parameters well away from any symmetric start."""
    return _params(potential, system.positions.dtype)


@functools.cache
def _params(potential, dtype):
    """Initialised once: compiling that costs more than most tests."""
    system = jax.tree.map(
        lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, System.from_ase(ETHANOL)
    )
    params = jax.jit(potential.init)(jax.random.key(1), system)
    noise = jax.random.key(2)
    return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(noise, x.shape, x.dtype), params)


def energy(potential, params, atoms: Atoms, kind: str = "auto") -> jax.Array:
    return energy_forces(potential, params, atoms, kind=kind)[0]


def energy_forces(potential, params, atoms: Atoms, size: int | None = None, kind: str = "auto"):
    """Energy and forces on ``size`` atoms (padded), by one program for each size."""
    system = System.from_ase(atoms, size)
    return _both(potential, params, system, allocate(system, potential.cutoff, 0.3, kind))


_both = jax.jit(energy_and_forces, static_argnums=0)
