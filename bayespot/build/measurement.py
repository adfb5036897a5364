"""Observables, and the reference they are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bayespot import config as cfg
from bayespot.build.symbols import atomic_number
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.observables import (
    RDF,
    BulkModulus,
    Density,
    DihedralDistribution,
    DistanceDistribution,
    HeatCapacity,
    LatticeConstant,
    MeanEnergy,
    Observable,
)
from bayespot.system import System

CRYSTALLINE = (
    cfg.RDFObservable,
    cfg.DensityObservable,
    cfg.LatticeConstantObservable,
    cfg.BulkModulusObservable,
)


def observables(config: cfg.Config, frames: list[Frame]) -> list[Observable]:
    """One object for each ``[[observables]]``; ``frames`` are what is simulated."""
    num_atoms, periodic = len(frames[0].atoms), any(frames[0].atoms.pbc)
    system = System.from_ase(frames[0].atoms)
    made: list[Observable] = []
    for o in config.observables:
        if not all(frames[0].atoms.pbc) and isinstance(o, CRYSTALLINE):
            raise UserError(
                f"observable {o.name} ({o.kind}) needs a cell periodic in all three directions",
                "Remove it, or simulate a periodic system",
            )
        if isinstance(o, cfg.BulkModulusObservable) and config.md.ensemble != "npt":
            raise UserError(
                f"observable {o.name} reads volume fluctuations, and the volume is constant",
                'Use ensemble = "npt"',
            )
        if periodic and isinstance(o, cfg.DistanceObservable | cfg.DihedralObservable):
            raise UserError(
                f"observable {o.name} ({o.kind}) knows no images, and the data are periodic",
                "Remove it, or use open-boundary frames",
            )
        if isinstance(o, cfg.DistanceObservable):
            made.append(DistanceDistribution(o.name, o.low, o.high, o.bins))
        elif isinstance(o, cfg.DihedralObservable):
            if max(o.atoms) >= num_atoms or min(o.atoms) < 0 or len(set(o.atoms)) < 4:
                raise UserError(
                    f"observable {o.name} has atoms {list(o.atoms)} in a molecule of {num_atoms}",
                    f"Give four different indices from 0 to {num_atoms - 1}",
                )
            made.append(DihedralDistribution(o.name, o.atoms, o.bins))
        elif isinstance(o, cfg.EnergyObservable):
            made.append(MeanEnergy(o.name))
        elif isinstance(o, cfg.RDFObservable):
            made.append(RDF.of(o.name, system, o.high, o.bins, _elements(o)))
        elif isinstance(o, cfg.DensityObservable):
            made.append(Density(o.name))
        elif isinstance(o, cfg.LatticeConstantObservable):
            if num_atoms % o.atoms_per_cell:
                raise UserError(
                    f"{num_atoms} atoms are no whole number of cells of {o.atoms_per_cell}",
                    f"Change atoms_per_cell of {o.name}",
                )
            made.append(LatticeConstant(o.name, num_atoms // o.atoms_per_cell))
        elif isinstance(o, cfg.BulkModulusObservable):
            made.append(BulkModulus(o.name, float(frames[0].atoms.get_volume())))
        else:
            made.append(HeatCapacity(o.name))
    return made


def _elements(config: cfg.RDFObservable) -> tuple[int, int] | None:
    if config.elements is None:
        return None
    first, second = (atomic_number(s, f"elements of {config.name}") for s in config.elements)
    return first, second


def reference(
    config: cfg.Reference | None, made: list[Observable]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Value and standard error of every observable the reference file knows."""
    if config is None:
        return {}
    path = Path(config.file)
    if not path.is_file():
        raise UserError(f"there is no reference file {path}", "Check the path in [reference]")
    found = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (ValueError, OSError, TypeError) as error:
        raise UserError(
            f"{path} is no npz file of plain arrays", "Write the reference with numpy.savez"
        ) from error
    for o in made:
        if o.name not in arrays:
            continue
        value = np.asarray(arrays[o.name], float)
        shape = () if o.axis is None else o.axis.shape
        if value.shape != shape:
            raise UserError(
                f"{path} has {o.name} of shape {value.shape}, the observable has {shape}",
                "Use the reference's number of bins",
            )
        axis = f"{o.name}_axis"
        if (
            o.axis is not None
            and axis in arrays
            and not np.allclose(arrays[axis], o.axis, atol=1e-6)
        ):
            raise UserError(
                f"{path} has {o.name} on another axis than the observable",
                "Use the reference's range and number of bins",
            )
        spread = np.asarray(arrays.get(f"{o.name}_error", np.zeros(shape)), float)
        if spread.shape != shape or not np.all(np.isfinite(value) & np.isfinite(spread)):
            raise UserError(
                f"{path} has {o.name} or {o.name}_error with NaN or of another shape than {shape}",
                "Give finite numbers, one error for each value",
            )
        found[o.name] = value, spread
    if not found:
        raise UserError(
            f"{path} knows none of the observables {', '.join(o.name for o in made)}",
            f"It holds {', '.join(sorted(arrays))}: name the observables alike",
        )
    return found
