"""Harmonic phonons of every draw: finite displacements about a minimum, by phonopy.

The crystal is relaxed by FIRE in its cell; every atom of it is then moved by 0.01 Angstrom either
way in a supercell, and the changes of the forces are the force constants (Togo and Tanaka 2015,
Scripta Materialia 108, 1).  Space-group symmetry is not made use of: so all draws need the same
displacements, and one program serves them all.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md.ensembles import whole_number
from bayespot.md.minimize import minimize
from bayespot.neighbors import Lists, allocate
from bayespot.potentials import Potential, energy_and_forces
from bayespot.system import System

BATCH = 8
"""Displaced supercells at once."""


class PhononDOS(NamedTuple):
    """Phonon densities of states.

    Attributes:
        frequencies: (points,) THz; those below zero stand for imaginary ones.
        dos: (draws, points) states per THz; the integral is three times the number of atoms.
    """

    frequencies: np.ndarray
    dos: np.ndarray


def phonon_dos(
    potential: Potential,
    params: Any,
    system: System,
    supercell: Sequence[int],
    mesh: Sequence[int],
    *,
    points: int = 201,
    displacement: float = 0.01,
    force_tolerance: float = 1e-4,
) -> PhononDOS:
    """Phonon densities of states of all draws on one axis, by the tetrahedron method.

    Args:
        potential: shared by all draws.
        params: pytree with a leading draw axis.
        system: a cell of the crystal.
        supercell: copies of it along each lattice vector; forces should have died out over half
            of that.
        mesh: wave vectors along each reciprocal lattice vector.
        points: of the frequency axis.
        displacement: Angstrom.
        force_tolerance: eV/Angstrom, of the relaxation.

    Raises:
        UserError: see ``phonons``.
    """
    mesh = _counts("mesh", mesh)
    points = whole_number("points", points, 2)
    made = phonons(
        potential, params, system, supercell,
        displacement=displacement, force_tolerance=force_tolerance,
    )  # fmt: skip
    for one in made:
        one.run_mesh(mesh, is_mesh_symmetry=False)
    low = min(float(one.mesh.frequencies.min()) for one in made)
    high = max(float(one.mesh.frequencies.max()) for one in made)
    margin = 0.02 * (high - low)
    low, high = min(low, 0.0) - margin, high + margin
    pitch = (high - low) / (points - 1)
    for one in made:
        # half a step beyond, lest rounding drop the last point
        one.run_total_dos(freq_min=low, freq_max=high + pitch / 2, freq_pitch=pitch)
    frequencies = np.asarray(made[0].total_dos.frequency_points)[:points]
    return PhononDOS(frequencies, np.stack([one.total_dos.dos[:points] for one in made]))


def phonons(
    potential: Potential,
    params: Any,
    system: System,
    supercell: Sequence[int],
    *,
    displacement: float = 0.01,
    force_tolerance: float = 1e-4,
) -> list[Any]:
    """``phonopy.Phonopy`` of each draw, with force constants that obey the acoustic sum rule.

    Their primitive cell is the whole of ``system``.  Arguments as for ``phonon_dos``.

    Raises:
        UserError: phonopy is missing, an open system, numbers that make no sense, or a draw that
            finds no minimum.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError as error:
        raise UserError(
            "phonons need phonopy, which is not installed", 'Run: pip install "bayespot[phonons]"'
        ) from error
    supercell = _counts("supercell", supercell)
    if not all(system.pbc):
        raise UserError(
            "phonons need a crystal, and the system is open",
            "Give it a cell that is periodic in all three directions",
        )
    if not 0 < displacement < 0.5:
        raise UserError(
            f"displacement is {displacement}", "Give a positive number of Å below 0.5, like 0.01"
        )
    relaxed = minimize(potential, params, system, force_tolerance=force_tolerance, max_steps=5000)
    if not relaxed.converged.all():
        draw = int(np.flatnonzero(~relaxed.converged[:, 0])[0])
        raise UserError(
            f"draw {draw} has a force of {relaxed.largest_force[draw, 0]:.2g} eV/Å left after"
            f" {relaxed.steps} steps of relaxation",
            "Start from another structure, or raise force_tolerance",
        )
    exists = np.asarray(system.mask)
    made, lists = [], None
    for draw, positions in enumerate(relaxed.positions[:, 0]):
        cell = PhonopyAtoms(
            numbers=np.asarray(system.species)[exists],
            masses=np.asarray(system.masses, float)[exists],
            positions=np.asarray(positions, float)[exists],
            cell=np.asarray(system.cell, float),
        )
        one = Phonopy(cell, np.diag(supercell), primitive_matrix="P", is_symmetry=False)
        one.generate_displacements(displacement, is_plusminus=True, is_diagonal=False)
        moved = [s.positions for s in one.supercells_with_displacements or () if s is not None]
        mine = jax.tree.map(lambda x, draw=draw: x[draw], params)
        forces, lists = _forces(
            potential, mine, _large(one.supercell, system), np.stack(moved), displacement, lists
        )
        one.forces = forces
        one.produce_force_constants(fc_calculator="traditional", show_drift=False)
        one.symmetrize_force_constants(show_drift=False)
        made.append(one)
    return made


def _counts(name: str, value: Sequence[int]) -> list[int]:
    if len(value) != 3:
        raise UserError(f"{name} has {len(value)} numbers", "Give one for each lattice vector")
    return [whole_number(name, n, 1) for n in value]


def _large(supercell: Any, like: System) -> System:
    """phonopy's supercell in the precision of ``like``."""
    dtype = like.positions.dtype
    return System(
        jnp.asarray(supercell.positions, dtype),
        jnp.asarray(supercell.numbers, jnp.int32),
        jnp.asarray(supercell.masses, dtype),
        jnp.asarray(supercell.cell, dtype),
        like.pbc,
    )


def _forces(
    potential: Potential,
    params: Any,
    system: System,
    moved: np.ndarray,
    displacement: float,
    lists: Lists | None,
) -> tuple[np.ndarray, Lists]:
    """Forces (displacements, atoms, 3) in eV/Angstrom, and lists for the next draw to start from.

    Args:
        potential, params: of one draw.
        system: the supercell at rest.
        moved: (displacements, atoms, 3) Angstrom.
        displacement: Angstrom that an atom of those has moved.
        lists: of another draw; None allocates.
    """
    positions = jnp.asarray(moved, system.positions.dtype)
    if lists is None:
        lists = allocate(system, potential.cutoff, 2.5 * displacement)
    forces, crowded = _evaluate(potential, params, system, positions, lists)
    if bool(crowded):
        lists = allocate(system, potential.cutoff, 2.5 * displacement)
        forces, _ = _evaluate(potential, params, system, positions, lists)
    return np.asarray(forces, float), lists


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    potential: Potential, params: Any, system: System, positions: jax.Array, lists: Lists
) -> tuple[jax.Array, jax.Array]:
    built = lists.update(system)

    def one(x: jax.Array) -> jax.Array:
        return energy_and_forces(potential, params, system.replace(positions=x), built)[1]

    return jax.lax.map(one, positions, batch_size=BATCH), built.overflow
