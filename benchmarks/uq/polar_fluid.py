"""Flexible polar molecules in a small box: the all-atom truth behind part ``bands``.

Bent triatomics with the constants of SPC/Fw water (Wu, Tepper and Voth 2006) whose interaction ends
where their centres are half a box apart: a fluid of its own, whose potential of mean force between
centres is no sum over pairs and depends on temperature.  Masses are shared out for long time steps:
the equilibrium of positions does not know them.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import Atoms
from ase.build import bulk
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from bayespot.data import LinearMap
from bayespot.md import NVT, Length, Simulation
from bayespot.neighbors import AllPairs, Neighbors, safe_norm
from bayespot.observables import ADF, RDF, Context, Frame, Observable
from bayespot.potentials import Potential, energy_and_forces
from bayespot.potentials.base import Params
from bayespot.system import System
from bayespot.uncertainty import jackknife
from bayespot.units import BOLTZMANN, GPA
from benchmarks.uq.store import kept

MOLECULES, EDGE = 32, 9.86  # Angstrom: the density of water
TEMPERATURES = (260.0, 298.0, 340.0)
MASSES = np.array([10.0, 4.0, 4.0])
COULOMB = 14.399645  # eV Angstrom
CHARGES = np.array([-0.82, 0.41, 0.41])
SIGMA, EPSILON = 3.165492, 0.0067399  # Angstrom, eV, of the middle atom
BOND, STRETCH = 1.012, 45.93  # Angstrom, eV/Angstrom^2
ANGLE, BEND = np.deg2rad(113.24), 3.2913  # rad, eV/rad^2
FIRST, LAST = 3.9, 4.9  # Angstrom between centres, over which the interaction fades
TIME_STEP, STRIDE = 2.0, 50  # fs, and steps between two frames
MAP = LinearMap.from_groups([[0, 1, 2]], 3, MASSES)


@dataclasses.dataclass(frozen=True)
class PolarMolecules(Potential):
    """Bonds, angles, and charges and a Lennard-Jones centre between molecules in a cubic box.

    Atoms are those of one molecule after the other, the middle one first, and never wrapped.
    Molecules are met by the nearest image of their centres, so that no list of atoms is needed.
    """

    @property
    def cutoff(self) -> float:
        """No list."""
        return 0.0

    def init(self, key: jax.Array, system: System) -> Params:
        """Nothing to learn."""
        del key, system
        return {}

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Equal shares, eV."""
        del params, neighbors
        centres, inner = split(system.positions)
        whole = within(inner) + between(nearest(centres, system.cell[0, 0]), inner)
        return jnp.broadcast_to(whole / len(system.positions), len(system.positions))


def split(positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Centres of mass (molecules, 3), and atoms relative to them (molecules, 3, 3)."""
    atoms = positions.reshape(-1, 3, 3)
    weights = jnp.asarray(MASSES / MASSES.sum(), positions.dtype)
    centres = jnp.einsum("a,max->mx", weights, atoms)
    return centres, atoms - centres[:, None]


def nearest(centres: jax.Array, edge: Any) -> jax.Array:
    """(3, molecules, molecules) from each centre to the nearest image of each other.

    Components come first: loops over the last axis are then long ones, four times as fast.
    """
    at = centres.T
    gaps = at[:, None] - at[:, :, None]
    return gaps - edge * jnp.round(jax.lax.stop_gradient(gaps) / edge)


def within(inner: jax.Array) -> jax.Array:
    """Bonds and angles, eV."""
    one, two = (inner[:, k] - inner[:, 0] for k in (1, 2))
    stretch = jnp.stack([safe_norm(one), safe_norm(two)]) - BOND
    sine, cosine = safe_norm(jnp.cross(one, two)), jnp.sum(one * two, axis=-1)
    bend = jnp.arctan2(sine, cosine) - ANGLE
    return STRETCH / 2 * jnp.sum(stretch**2) + BEND / 2 * jnp.sum(bend**2)


def between(gaps: jax.Array, inner: jax.Array) -> jax.Array:
    """Of all pairs of molecules, eV."""
    itself = jnp.eye(gaps.shape[-1], dtype=gaps.dtype)
    far = jnp.sqrt(jnp.sum(gaps**2, axis=0) + itself)
    x = jnp.clip((far - FIRST) / (LAST - FIRST), 0.0, 1.0)
    fade = (1 - x**3 * (10 - x * (15 - 6 * x))) * (1 - itself)
    arms = jnp.transpose(inner, (2, 1, 0))  # component, atom, molecule
    squared = itself
    for gap, arm in zip(gaps, arms, strict=True):
        squared = squared + (gap + arm[None, :, None] - arm[:, None, :, None]) ** 2
    charges = jnp.asarray(COULOMB * np.outer(CHARGES, CHARGES), gaps.dtype)[..., None, None]
    sixth = (SIGMA**2 / squared[0, 0]) ** 3
    pairs = jnp.sum(charges * jax.lax.rsqrt(squared), axis=(0, 1))
    return 0.5 * jnp.sum(fade * (pairs + 4 * EPSILON * (sixth**2 - sixth)))


def stress_of_centres(positions: jax.Array, edge: float = EDGE) -> jax.Array:
    """(3, 3) ``(1/V) dU/dstrain`` where molecules move as they are, eV/Angstrom^3.

    Its average at given centres is that of the potential of mean force: with the ideal gas of
    centres it makes the pressure of all atoms.
    """
    centres, inner = split(positions)
    gaps = nearest(centres, edge)

    def strained(strain: jax.Array) -> jax.Array:
        deformation = jnp.eye(3, dtype=strain.dtype) + (strain + strain.T) / 2
        return between(jnp.einsum("xij,xy->yij", gaps, deformation), inner)

    return jax.grad(strained)(jnp.zeros((3, 3), positions.dtype)) / edge**3


def beads(positions: np.ndarray | None = None) -> Atoms:
    """Centres, at the sites of a crystal or elsewhere, with the mass of a molecule."""
    made = bulk("O", "fcc", a=EDGE / 2, cubic=True) * (2, 2, 2)
    made.set_masses([MASSES.sum()] * MOLECULES)
    if positions is not None:
        made.positions = positions
    return made


def molecules() -> System:
    """On the sites of a crystal, each turned at random."""
    arms = BOND * np.array([[np.sin(s * ANGLE / 2), np.cos(ANGLE / 2), 0.0] for s in (-1, 1)])
    shape = np.concatenate([np.zeros((1, 3)), arms])
    shape -= MASSES @ shape / MASSES.sum()
    turns = Rotation.random(MOLECULES, np.random.default_rng(0)).as_matrix()
    atoms = beads().positions[:, None] + np.einsum("mxy,ay->max", turns, shape)
    return System.from_ase(
        Atoms(
            ["O", "H", "H"] * MOLECULES, atoms.reshape(-1, 3), cell=[EDGE] * 3, pbc=True,
            masses=np.tile(MASSES, MOLECULES),
        )
    )  # fmt: skip


BEADS = System.from_ase(beads())
CURVES: tuple[Observable, ...] = (
    RDF.of("g(r)", BEADS, 5.0, 25),  # as far as models have lists of neighbours
    ADF.of("ADF", BEADS, 3.4, 24, room=3.0),
)


@dataclasses.dataclass(frozen=True)
class Size:
    """Of the simulations.

    Attributes:
        steps, equilibration, replicas: of each temperature.
        frames: kept of each temperature, for training.
    """

    steps: int = 8000
    equilibration: int = 4000
    replicas: int = 4
    frames: int = 200


class Truth:
    """What all atoms say of their centres: curves, pressures, and frames with forces."""

    def __init__(self, size: Size, folder: Path) -> None:
        self.size, self.folder = size, folder

    @functools.cached_property
    def made(self) -> dict[str, Any]:
        """By name and temperature: value, error, and frames."""
        depends = (dataclasses.asdict(self.size), "2")
        stored = kept(self.folder / "polar_fluid.json", depends, self._simulated)
        return {k: np.asarray(v, float) if isinstance(v, list) else v for k, v in stored.items()}

    def _simulated(self) -> dict[str, Any]:
        size, count = self.size, self.size.replicas
        kelvin = [t for t in TEMPERATURES for _ in range(count)]
        length = Length(size.steps, equilibration=size.equilibration, stride=STRIDE, blocks=2)
        simulation = Simulation(
            PolarMolecules(), molecules(), NVT(kelvin, TIME_STEP, friction=0.005), length, keep=1,
            skin=4.0,  # nobody looks at the list: the less it is renewed the better
        )  # fmt: skip
        made = simulation.run(jax.random.key(0), {}, replicas=len(kelvin))
        assert (made.reason == 0).all(), "the truth is stable"
        assert made.frames is not None
        told: dict[str, Any] = {}
        for number, kelvin_here in enumerate(TEMPERATURES):
            mine = slice(number * count, (number + 1) * count)
            told |= self._seen(made.frames.positions[0, mine], f"{kelvin_here:g}", kelvin_here)
        return told

    def _seen(self, positions: np.ndarray, name: str, kelvin: float) -> dict[str, Any]:
        """Of (replicas, frames, atoms, 3)."""
        replicas, frames = positions.shape[:2]
        flat = positions.reshape(-1, *positions.shape[2:])
        centres = MAP.of_positions(flat)
        told: dict[str, Any] = {}
        seen = jax.lax.map(_snapshots, jnp.asarray(centres, jnp.float32), batch_size=50)
        for observable in CURVES:
            cells = {
                k: np.asarray(x, float).reshape(replicas, frames, -1).mean(axis=1)
                for k, x in seen[observable.name].items()
            }
            value, variance = jackknife(observable, cells, Context(kelvin, MOLECULES))
            told[f"{observable.name} {name}"] = value
            told[f"{observable.name} {name} error"] = np.sqrt(variance)
        forces, stress = jax.lax.map(_labels, jnp.asarray(flat, jnp.float32), batch_size=50)
        stress = np.asarray(stress, float)
        ideal = MOLECULES * BOLTZMANN * kelvin / EDGE**3
        pressure = (ideal - np.trace(stress, axis1=1, axis2=2) / 3) / GPA
        means = pressure.reshape(replicas, frames).mean(axis=1)
        told[f"pressure {name}"] = means.mean()
        told[f"pressure {name} error"] = means.std(ddof=1) / np.sqrt(replicas)
        # frames in a random order: neighbours in it are far apart in time
        chosen = np.random.default_rng(1).permutation(len(flat))[: self.size.frames]
        told[f"centres {name}"] = (centres % EDGE)[chosen]
        told[f"forces {name}"] = MAP.of_forces(np.asarray(forces))[chosen]
        told[f"stress {name}"] = stress[chosen]
        return told


def _labels(positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    system = molecules_at(positions)
    none = AllPairs(jnp.zeros((), bool))
    return energy_and_forces(PolarMolecules(), {}, system, none)[1], stress_of_centres(positions)


def molecules_at(positions: jax.Array) -> System:
    """The same molecules elsewhere."""
    return molecules().replace(positions=positions)


def _snapshots(centres: jax.Array) -> dict[str, dict[str, jax.Array]]:
    frame = Frame(BEADS.replace(positions=centres), jnp.zeros(()))
    return {o.name: o.snapshot(frame) for o in CURVES}
