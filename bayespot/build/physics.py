"""Potentials with fixed formulas."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np

from bayespot import config as cfg
from bayespot.build.symbols import atomic_number
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.potentials import (
    ZBL,
    HarmonicAngles,
    HarmonicBonds,
    LennardJones,
    Potential,
    StillingerWeber,
    Tabulated,
    read_force_field,
)
from bayespot.topology import Bonds, find_bonds


@functools.singledispatch
def term(config: Any, frames: list[Frame]) -> Potential:
    """The potential of a section of ``cfg.PriorTerm``; ``frames`` are those of training."""
    raise TypeError(f"{type(config).__name__} is no section of a potential")


@term.register
def _(config: cfg.HarmonicBondsTerm, frames: list[Frame]) -> Potential:
    bonds, positions = _molecule(frames)
    return HarmonicBonds.from_fluctuations(bonds, positions, config.temperature)


@term.register
def _(config: cfg.HarmonicAnglesTerm, frames: list[Frame]) -> Potential:
    bonds, positions = _molecule(frames)
    angles = _angles(bonds)
    if not angles:
        raise UserError(f"no angles were found in {frames[0].where}", "Remove harmonic_angles")
    return HarmonicAngles.from_fluctuations(angles, positions, config.temperature)


@term.register
def _(config: cfg.RepulsionTerm, frames: list[Frame]) -> Potential:
    return LennardJones(config.sigma, config.epsilon, config.cutoff, repulsion_only=True)


@term.register
def _(config: cfg.LennardJonesTerm, frames: list[Frame]) -> Potential:
    if config.sigma is not None and config.epsilon is not None:
        return LennardJones(config.sigma, config.epsilon, config.cutoff, trainable=config.trainable)
    table = {atomic_number(s, "elements in [potential]"): p for s, p in config.elements.items()}
    return LennardJones(
        tuple(p.sigma for p in table.values()),
        tuple(p.epsilon for p in table.values()),
        config.cutoff,
        trainable=config.trainable,
        species=tuple(table),
    )


@term.register
def _(config: cfg.StillingerWeberTerm, frames: list[Frame]) -> Potential:
    numbers: dict[str, Any] = dict(config.numbers)
    if "cutoff" in numbers:
        numbers["range"] = numbers.pop("cutoff")
    else:
        numbers["species"] = (14,)  # the defaults of the class are silicon's
    return StillingerWeber(**numbers, trainable=config.trainable)


@term.register
def _(config: cfg.ZBLTerm, frames: list[Frame]) -> Potential:
    return ZBL(config.inner, config.cutoff)


@term.register
def _(config: cfg.TabulatedTerm, frames: list[Frame]) -> Potential:
    pair = None
    if config.pair is not None:
        one, two = (atomic_number(s, "pair in [potential]") for s in config.pair)
        pair = (one, two)
    return Tabulated.from_file(config.file, config.fade, pair)


@term.register
def _(config: cfg.ForceFieldTerm, frames: list[Frame]) -> Potential:
    _one_molecule(frames)
    return read_force_field(config.file, len(frames[0].atoms))


def _one_molecule(frames: list[Frame]) -> None:
    first = frames[0]
    for frame in frames:
        if not np.array_equal(frame.atoms.numbers, first.atoms.numbers):
            raise UserError(
                f"{frame.where} is not the molecule of {first.where}, atom by atom",
                "Bonded terms and bond criteria need one molecule with one order of atoms",
            )
        if any(frame.atoms.pbc):
            raise UserError(
                f"{frame.where} is periodic, and bonded terms know no images",
                "Remove the bonded terms, or use open-boundary frames",
            )


def _molecule(frames: list[Frame]) -> tuple[Bonds, np.ndarray]:
    """Bonds and positions (frames, atoms, 3) of the one molecule that all frames show."""
    _one_molecule(frames)
    bonds = find_bonds(frames[0].atoms)
    if not bonds:
        raise UserError(f"no bonds were found in {frames[0].where}", "Remove the bonded prior")
    return bonds, np.stack([f.atoms.positions for f in frames])


def _angles(bonds: Bonds) -> tuple[tuple[int, int, int], ...]:
    """Every two bonds that share an atom, which comes in the middle."""
    ends: dict[int, list[int]] = {}
    for i, j in bonds:
        ends.setdefault(i, []).append(j)
        ends.setdefault(j, []).append(i)
    return tuple(
        (a, corner, b)
        for corner, others in sorted(ends.items())
        for a, b in itertools.combinations(sorted(others), 2)
    )
