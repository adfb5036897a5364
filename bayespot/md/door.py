"""What is refused before any MD is run."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md.ensembles import Ensemble, Length, whole_number
from bayespot.observables import TimeCorrelation
from bayespot.potentials import Potential
from bayespot.system import System

SMALLEST_VOLUME = 0.5
"""Angstrom^3 per atom; metallic hydrogen has three times that."""

SMALLEST_DISTANCE = 0.3
"""Angstrom; a hydrogen molecule is 0.74 long."""


def check(potential: Potential, system: System, ensemble: Ensemble) -> None:
    """Refuse what no simulation can make sense of.

    Raises:
        UserError: numbers that are not finite, unknown elements, an impossible density, constant
            pressure without a cell.
    """
    _check_numbers(system)
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


def _check_numbers(system: System) -> None:
    mask = np.asarray(system.mask)
    if not mask.any():
        raise UserError("the system holds no atoms", "Give at least one")
    lost = ~np.isfinite(np.asarray(system.positions)).all(axis=-1)
    if lost.any():
        raise UserError(
            f"the position of atom {np.argmax(lost)} is not finite",
            "Check the positions of the system",
        )
    if not np.isfinite(np.asarray(system.cell)).all():
        raise UserError("the cell is not finite", "Check the cell of the system")
    masses = np.asarray(system.masses)
    wrong = mask & ~(np.isfinite(masses) & (masses > 0))
    if wrong.any():
        atom = np.argmax(wrong)
        raise UserError(
            f"the mass of atom {atom} is {masses[atom]} u", "Give every atom a positive mass in u"
        )


def check_settings(
    *, skin: Any = 0.0, memory: Any = 1.0, replicas: Any = 1, trajectory_stride: Any = 1
) -> None:
    """Refuse numbers the engine cannot run with.

    Args:
        skin: of neighbour lists, Angstrom.
        memory: bytes a program may need.
        replicas: trajectories per draw.
        trajectory_stride: frames between two that are written.

    Raises:
        UserError: naming the setting.
    """
    if not (_is_number(skin) and 0 <= skin < np.inf):
        raise UserError(f"MD skin is {skin!r}", "Give a finite number of Å, at least zero")
    if not (_is_number(memory) and memory > 0):
        raise UserError(f"MD memory is {memory!r}", "Give a number of bytes greater than zero")
    whole_number("replicas", replicas, 1)
    whole_number("trajectory_stride", trajectory_stride, 1)


def _is_number(value: object) -> bool:
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"  # type: ignore[arg-type]


def check_key(key: Any) -> None:
    """Refuse what is not one key of the kind that jax-md, which keeps raw keys, will split.

    Raises:
        UserError: no key, several, or one of another implementation than JAX's default.
    """
    fix = "Give one key from jax.random.key(seed), of JAX's default implementation"
    try:
        found, impl = jax.random.key_data(key).shape, jax.random.key_impl(key)
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{key!r} is no random key", fix) from error
    if found != jax.random.key_data(jax.random.key(0)).shape:
        raise UserError(f"the random key has implementation {impl} and shape {found}", fix)


def number_of_draws(params: Any, starts: Any = None) -> int:
    """Length of the leading axis that all leaves of ``params`` share.

    A potential with nothing to learn has no leaves: as many draws as ``starts``, or one.

    Raises:
        UserError: naming a leaf without that axis, or of another length than the first leaf.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not leaves:
        return 1 if starts is None else len(starts)
    first, draws = "", -1
    for path, leaf in leaves:
        name = f"params{jax.tree_util.keystr(path)}"
        if np.ndim(leaf) == 0:
            raise UserError(
                f"{name} is a single number", "Give every parameter a leading axis, one for a draw"
            )
        if draws < 0:
            first, draws = name, len(leaf)
        if len(leaf) != draws:
            raise UserError(
                f"{name} holds {len(leaf)} draws, {first} holds {draws}",
                "Give all parameters the same leading axis of draws",
            )
    if draws == 0:
        raise UserError(f"{first} holds no draws", "Give at least one")
    return draws


def starts_of(system: System, params: Any, starts: Any, replicas: int = 1) -> jax.Array:
    """Where every trajectory starts, (draws, replicas, atoms, 3) Angstrom.

    Args:
        system: its positions are taken where ``starts`` is None.
        params: pytree with a leading draw axis.
        starts: (draws, replicas, atoms, 3) Angstrom, or None.
        replicas: per draw where ``starts`` is None.

    Raises:
        UserError: uneven parameters, or starts of another shape or not finite.
    """
    if starts is None:
        draws = number_of_draws(params)
        return jnp.broadcast_to(system.positions, (draws, replicas, *system.positions.shape))
    shape = np.shape(starts)
    expected = tuple(system.positions.shape)
    if len(shape) != 4 or shape[2:] != expected or 0 in shape:
        raise UserError(
            f"starts must be (draws, replicas, atoms, 3), not {shape}",
            f"Give positions of {expected[0]} atoms for every draw and replica",
        )
    draws = number_of_draws(params, starts)
    if len(starts) != draws:
        raise UserError(
            f"starts must be (draws, replicas, atoms, 3), not {shape}: the parameters hold"
            f" {draws} draws",
            "Give starts for every draw",
        )
    lost = ~np.isfinite(np.asarray(starts)).all(axis=-1)
    if lost.any():
        draw, replica, atom = np.argwhere(lost)[0]
        raise UserError(
            f"the start of draw {draw}, replica {replica} has atom {atom} at a position that is"
            " not finite",
            "Check the starts",
        )
    return jnp.asarray(starts, system.positions.dtype)


def cells_of(system: System, cells: Any, draws: int, replicas: int) -> jax.Array:
    """Cell every trajectory starts in, (draws, replicas, 3, 3) Angstrom.

    Raises:
        UserError: cells of another shape, not finite, or denser than matter.
    """
    shape = (draws, replicas, 3, 3)
    if cells is None:
        return jnp.broadcast_to(system.cell, shape)
    if np.shape(cells) != shape:
        raise UserError(
            f"cells must be (draws, replicas, 3, 3), not {np.shape(cells)}",
            f"Give a cell for each of {draws} draws and {replicas} replicas",
        )
    found = np.asarray(cells, float)
    atoms = int(np.sum(np.asarray(system.mask)))
    if not np.isfinite(found).all():
        raise UserError("a cell is not finite", "Check the cells")
    volume = np.abs(np.linalg.det(found)) / max(atoms, 1)
    if all(system.pbc) and (volume < SMALLEST_VOLUME).any():
        draw, replica = np.argwhere(volume < SMALLEST_VOLUME)[0]
        raise UserError(
            f"the cell of draw {draw}, replica {replica} leaves {volume.min():.3g} Å^3 to each of"
            f" {atoms} atoms",
            "Check the cells and their unit (Angstrom)",
        )
    return jnp.asarray(found, system.cell.dtype)


def check_history(system: System, ensemble: Ensemble, length: Length, observables: Any) -> None:
    """Refuse observables that would look back beyond the start or in vain, or share a name.

    Raises:
        UserError: naming the observable.
    """
    names = [observable.name for observable in observables]
    if "uncertainty" in names:
        raise UserError("an observable is called uncertainty, as what a monitor sees", "Rename it")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{names.count(twice[0])} observables are called {twice[0]}", "Rename one")
    between = length.stride * np.atleast_1d(np.asarray(ensemble.time_step, float))
    for observable in observables:
        back = (observable.window - 1) * length.stride
        if back > length.equilibration:
            raise UserError(
                f"observable {observable.name} looks back {back} steps, and only"
                f" {length.equilibration} come before the production",
                "Equilibrate for as long, or shorten its window",
            )
        if isinstance(observable, TimeCorrelation):
            observable.check(system, between, ensemble.varies_cell)


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
