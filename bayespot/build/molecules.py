"""Molecules of a system that are samples of their own, and what counts as stable."""

from __future__ import annotations

import numpy as np
from ase.geometry import find_mic

from bayespot import config as cfg
from bayespot.build import simulation
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.md import Stability
from bayespot.trainers import Neighborhoods


def molecules(config: cfg.StABlEPart | None, starts: list[Frame]) -> Neighborhoods | None:
    """Those of ``[trainer.neighborhoods]``; None without it.

    Args:
        config: of the trainer.
        starts: where simulations start, whose bonds have the lengths that are not given.

    Raises:
        UserError: atoms that are no such molecules.
    """
    section = None if config is None else config.neighborhoods
    if section is None:
        return None
    each, rest = divmod(len(starts[0].atoms), section.molecules)
    if rest or max(section.atoms) >= each:
        raise UserError(
            f"{starts[0].where} has {len(starts[0].atoms)} atoms, which are no {section.molecules}"
            f" molecules with atoms {min(section.atoms)} to {max(section.atoms)}",
            "Change atoms or molecules of neighborhoods in [trainer]",
        )
    first = np.arange(section.molecules)[:, None] * each
    groups = tuple(tuple(int(i) for i in group) for group in first + np.asarray(section.atoms))
    numbers = starts[0].atoms.numbers[np.asarray(groups)]
    odd = np.any(numbers != numbers[0], axis=1)
    if odd.any():
        raise UserError(
            f"molecule {np.argmax(odd)} of {starts[0].where} has other atoms than the first",
            "Sort molecules alike",
        )
    lengths = section.lengths
    if lengths is None:
        inside = np.asarray(section.bonds, int).reshape(-1, 2)
        lengths = _mean_lengths(np.asarray(groups), inside, starts)
    return Neighborhoods(groups, section.bonds, lengths, section.bins, section.per_bin or None)


def _mean_lengths(groups: np.ndarray, bonds: np.ndarray, starts: list[Frame]) -> tuple[float, ...]:
    """Of each bond, over all molecules and frames."""
    total = np.zeros(len(bonds))
    for frame in starts:
        atoms = frame.atoms
        i, j = groups[:, bonds[:, 0]].ravel(), groups[:, bonds[:, 1]].ravel()
        gaps = atoms.positions[j] - atoms.positions[i]
        cell = atoms.cell.complete().array
        far = find_mic(gaps, cell, atoms.pbc)[1]  # type: ignore[arg-type]
        total += far.reshape(len(groups), -1).mean(axis=0)
    return tuple(float(x) for x in total / len(starts))


def stability(
    md: cfg.Dynamics, starts: list[Frame], parts: Neighborhoods | None = None
) -> Stability:
    """Criteria of a simulation; the bonds of ``parts``, where they have some.

    Molecules in a periodic cell tell which atoms are bonded only so.
    """
    if parts is None or not parts.bonds:
        return simulation.stability(md, starts)
    bonds = tuple((group[i], group[j]) for group in parts.groups for i, j in parts.bonds)
    return Stability(
        bonds, parts.lengths * len(parts.groups), md.max_bond_deviation, md.min_distance
    )
