"""Observables: objects of their sections, or why a simulation cannot give them."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
from ase.neighborlist import neighbor_list

from bayespot import config as cfg
from bayespot.build import simulation
from bayespot.build.symbols import atomic_number
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.md import door
from bayespot.observables import (
    ADF,
    MSD,
    RDF,
    TCF,
    VACF,
    VDOS,
    BondAngleDistribution,
    BondDistribution,
    BulkModulus,
    Compressibility,
    Density,
    DihedralDistribution,
    DihedralSurface,
    DistanceDistribution,
    EinsteinDiffusion,
    FreeEnergy,
    GreenKuboDiffusion,
    HeatCapacity,
    IsobaricHeatCapacity,
    LatticeConstant,
    MeanEnergy,
    Observable,
    Pressure,
    Stiffness,
    Stress,
    TetrahedralOrder,
    TetrahedralOrderDistribution,
    ThermalExpansion,
)
from bayespot.system import System

CLASSES: dict[str, Any] = {
    "distances": DistanceDistribution,
    "bond_lengths": BondDistribution,
    "bond_angles": BondAngleDistribution,
    "dihedral": DihedralDistribution,
    "dihedral_surface": DihedralSurface,
    "free_energy": FreeEnergy,
    "rdf": RDF,
    "adf": ADF,
    "tcf": TCF,
    "tetrahedral_order": TetrahedralOrder,
    "tetrahedral_order_distribution": TetrahedralOrderDistribution,
    "mean_energy": MeanEnergy,
    "heat_capacity": HeatCapacity,
    "isobaric_heat_capacity": IsobaricHeatCapacity,
    "thermal_expansion": ThermalExpansion,
    "density": Density,
    "lattice_constant": LatticeConstant,
    "bulk_modulus": BulkModulus,
    "compressibility": Compressibility,
    "pressure": Pressure,
    "stress": Stress,
    "stiffness": Stiffness,
    "vacf": VACF,
    "vdos": VDOS,
    "msd": MSD,
    "einstein_diffusion": EinsteinDiffusion,
    "green_kubo_diffusion": GreenKuboDiffusion,
}
"""Of every kind."""

ELEMENTS = {"rdf": "pair", "adf": "triple"}
"""What classes call ``elements``."""

ISOBARIC = ("isobaric_heat_capacity", "thermal_expansion")
VOLUME = ("bulk_modulus", "compressibility")
PERIODIC = ("rdf", "tcf", "density", "lattice_constant", "pressure", "stress", "stiffness",
            *ISOBARIC, *VOLUME)  # fmt: skip
ISOCHORIC = ("heat_capacity", "stiffness")
AT_TEMPERATURE = ("free_energy", "pressure", "stress", *ISOCHORIC)
"""Kinds whose value takes the temperature of [md] for that of the trajectory."""


def observables(config: cfg.Config, frames: list[Frame]) -> list[Observable]:
    """One object for each ``[[observables]]``; ``frames`` are what is simulated.

    Raises:
        UserError: naming the observable that the simulation cannot give.
    """
    atoms, md = frames[0].atoms, config.md
    made = [observable(o, atoms, md, md.pressure) for o in config.observables]
    for section in config.observables:
        if isinstance(section, cfg.InTime):
            _check_lags(section, md)
    door.check_history(System.from_ase(atoms), *simulation.md(md), made)
    return made


def observable(
    config: cfg.ObservableConfig, atoms: ase.Atoms, md: cfg.Dynamics, pressure: float
) -> Observable:
    """The object of one section.

    Args:
        config: the section.
        atoms: what is simulated.
        md: how.
        pressure: GPa.

    Raises:
        UserError: the simulation cannot give it.
    """
    kind, name = config.kind, config.name
    _check_ensemble(kind, name, atoms, md)
    _check_atoms(config, len(atoms))
    given = {key: value for key, value in config if key != "kind"}
    if kind == "free_energy":
        given["density"] = observable(given["density"], atoms, md, pressure)
    if "elements" in given:
        numbers = [atomic_number(s, f"elements of {name}") for s in given.pop("elements") or ()]
        given[ELEMENTS[kind]] = tuple(numbers) or None
    if "element" in given:
        element = given.pop("element")
        number = None if element is None else atomic_number(element, f"element of {name}")
        given["species" if isinstance(config, cfg.InTime) else "element"] = number
    if isinstance(config, cfg.InTime):
        given["interval"] = md.stride * md.time_step
    if kind in ISOBARIC:
        given |= {"pressure": pressure, "volume": float(atoms.get_volume())}
    if kind in VOLUME:
        given["scale"] = float(atoms.get_volume())
    if kind == "lattice_constant":
        per_cell = given.pop("atoms_per_cell")
        if len(atoms) % per_cell:
            raise UserError(
                f"{len(atoms)} atoms are no whole number of cells of {per_cell}",
                f"Change atoms_per_cell of {name}",
            )
        given["cells"] = len(atoms) // per_cell
    if kind.startswith("tetrahedral_order"):
        _check_neighbors(name, atoms, given["cutoff"], given["element"])
    if hasattr(CLASSES[kind], "of"):
        return CLASSES[kind].of(system=System.from_ase(atoms), **given)
    return CLASSES[kind](**given)


def _check_ensemble(kind: str, name: str, atoms: ase.Atoms, md: cfg.Dynamics) -> None:
    if kind in PERIODIC and not all(atoms.pbc):
        raise UserError(
            f"observable {name} ({kind}) needs a cell periodic in all three directions",
            "Remove it, or simulate a periodic system",
        )
    if kind in (*ISOBARIC, *VOLUME) and md.ensemble != "npt":
        raise UserError(
            f"observable {name} ({kind}) reads volume fluctuations, and the volume is constant",
            'Use ensemble = "npt" in [md]',
        )
    if kind in ISOCHORIC and md.ensemble == "npt":
        other = 'kind = "isobaric_heat_capacity"' if kind == "heat_capacity" else "remove it"
        raise UserError(
            f"observable {name} ({kind}) is one of constant volume, and the volume varies",
            f'Use ensemble = "nvt" in [md], or {other}',
        )
    if kind in AT_TEMPERATURE and md.ensemble == "nve":
        raise UserError(
            f"observable {name} ({kind}) takes temperature of [md], which no trajectory of"
            ' ensemble = "nve" keeps to',
            'Use ensemble = "nvt" in [md]',
        )


def _check_atoms(config: cfg.ObservableConfig, number: int) -> None:
    if config.kind == "distances" and number < 2:
        raise UserError(f"observable {config.name} is of a single atom", "Remove it")
    for key in ("atoms", "first", "second"):
        groups = getattr(config, key, ())
        for group in groups if groups and isinstance(groups[0], tuple) else (groups,):
            if group and (max(group) >= number or len(set(group)) < len(group)):
                raise UserError(
                    f"observable {config.name} has {key} {list(group)} in a molecule of {number}",
                    f"Give {len(group)} different indices from 0 to {number - 1}",
                )


def _check_lags(config: cfg.InTime, md: cfg.Dynamics) -> None:
    back = (config.lags - 1) * md.stride
    if back > md.equilibration:
        raise UserError(
            f"observable {config.name} has lags = {config.lags}, which reach back {back} steps"  # type: ignore[attr-defined]
            f" (stride = {md.stride}), and equilibration is {md.equilibration} steps",
            f"Set equilibration in [md] to at least {back}, or lower lags",
        )


def _check_neighbors(name: str, atoms: ase.Atoms, cutoff: float, element: int | None) -> None:
    counted = np.full(len(atoms), True) if element is None else atoms.numbers == element
    i, j = neighbor_list("ij", atoms, cutoff)
    number = np.bincount(i[counted[j]], minlength=len(atoms))[counted]
    if counted.any() and number.min() < 4:
        raise UserError(
            f"observable {name} needs four neighbours of every atom within cutoff = {cutoff:g}"
            f" Angstrom, and one has {number.min()}",
            f"Raise cutoff of {name}, or name an element",
        )
