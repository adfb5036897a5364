"""Beads for molecules of water: their potential, box, observables and the curves to match."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ase
import numpy as np

from bayespot.md import NVT
from bayespot.observables import (
    ADF,
    RDF,
    TCF,
    EinsteinDiffusion,
    Observable,
    Pressure,
    TetrahedralOrder,
)
from bayespot.potentials import CubicSpline, Potential, StillingerWeber
from bayespot.system import System

DATA = Path(__file__).parents[3] / "shared" / "data"
MASS = 18.015  # u
TIME_STEP, STRIDE = 5.0, 20  # fs, and steps between two frames
LAGS = 2000.0  # fs, of diffusion
APART = 2.75  # Angstrom, of the beads that a small box starts from

# mW water (Molinero and Moore 2009) with half of its three-body term on a shorter range, and a
# curve of the distance to correct it: between the shells water has neighbours that mW has not
SIGMA, EPSILON, RANGE = 2.3925, 0.268375, 5.0
LONG = StillingerWeber(SIGMA, EPSILON, 1.8 * SIGMA, 12.0, trainable=True)
SHORT = StillingerWeber(SIGMA, EPSILON, 3.7, 7.0, gamma=0.6, A=0.0, trainable=True)


def potential() -> Potential:
    """About as dear as a classical one: eight products and two tensors a pair."""
    return LONG + SHORT + CubicSpline(2.4, RANGE, 14, scale=0.0)


@dataclasses.dataclass(frozen=True)
class Curves:
    """What a row compares with, in Angstrom and rad.

    Attributes:
        temperature: K.
        rdf, adf, tcf: (points, 2) abscissa and value; None where there is none.
        pressure: GPa.
    """

    temperature: float
    rdf: np.ndarray
    adf: np.ndarray
    tcf: np.ndarray | None
    pressure: float


def experiment() -> Curves:
    """Oxygens of water at 296.15 K (Soper and Benmore 2008) in the DiffTRe paper's box."""
    rdf = np.loadtxt(DATA / "water_experiment" / "rdf_OO.csv")
    adf = np.loadtxt(DATA / "water_experiment" / "adf_OOO.csv")
    return Curves(296.15, rdf * [10.0, 1.0], _normal(adf), None, 1e-4)


def tip4p2005() -> Curves:
    """Centres of mass of TIP4P/2005 at 298 K."""
    where = DATA / "water_tip4p2005"
    rdf, adf = np.loadtxt(where / "rdf_com.csv"), np.loadtxt(where / "adf_com.csv")
    cube = np.load(where / "tcf_com_cut05.npy")
    side = 2.0 + (np.arange(50) + 0.5) * 3.0 / 50
    tcf = np.stack([side, np.einsum("iii->i", cube)], axis=1)
    return Curves(298.0, rdf * [10.0, 1.0], _normal(adf), tcf, -6.2e-3)


def _normal(adf: np.ndarray) -> np.ndarray:
    return np.stack([adf[:, 0], adf[:, 1] / np.trapezoid(adf[:, 1], adf[:, 0])], axis=1)


def box() -> System:
    """The 901 beads that the DiffTRe paper starts from."""
    lines = (DATA / "water_experiment" / "box_901.gro").read_text().splitlines()
    rows = lines[2 : 2 + int(lines[1])]
    positions = 10 * np.array([[float(x) for x in row[20:44].split()] for row in rows])
    return system_of(positions, 10 * float(lines[-1].split()[0]))


def packed(beads: int) -> System:
    """A smaller box of the same density, for the quick setting: beads at random, pushed apart."""
    side = 30.0 * (beads / 901) ** (1 / 3)
    at = np.random.default_rng(0).random((beads, 3)) * side
    for _ in range(1000):
        apart = at[:, None] - at
        apart -= side * np.round(apart / side)
        length = np.linalg.norm(apart, axis=-1) + 1e9 * np.eye(beads)
        push = np.maximum(APART - length, 0.0) / 2
        if push.max() < 0.05:
            break
        at = (at + 0.8 * np.sum(apart * (push / length)[..., None], axis=1)) % side
    return system_of(at, side)


def system_of(positions: np.ndarray, side: float) -> System:
    """Beads of a frame, of the mass of water."""
    masses = [MASS] * len(positions)
    atoms = ase.Atoms(["O"] * len(positions), positions, masses=masses, cell=[side] * 3, pbc=True)
    return System.from_ase(atoms)


def ensemble(temperature: float) -> NVT:
    """Nose-Hoover chains, which leave diffusion alone."""
    return NVT(temperature, TIME_STEP, thermostat="nose_hoover", relaxation_time=200.0)


def structure(system: System, tcf: bool) -> list[Observable]:
    """Curves that are trained on or compared with."""
    found: list[Observable] = [
        RDF.of("rdf", system, 8.4, 300, smooth=True),
        ADF.of("adf", system, 3.18, 150, smooth=True),
        Pressure("pressure"),
    ]
    return [*found, TCF.of("tcf", system, 2.0, 5.0, 50, smooth=True)] if tcf else found


def held_out(system: System) -> list[Observable]:
    """What no training sees."""
    between = 2 * STRIDE * TIME_STEP
    lags = round(LAGS / between) + 1
    return [TetrahedralOrder.of("q", system), EinsteinDiffusion("diffusion", lags, between)]


def on(curve: np.ndarray, observable: Observable) -> np.ndarray:
    """A measured curve at the observable's bins."""
    assert observable.axis is not None
    return np.interp(observable.axis, curve[:, 0], curve[:, 1])
