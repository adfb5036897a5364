"""Frames with energies, forces, stresses, their uncertainties and what each member says: extxyz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayespot.calculator.spread import Spread

if TYPE_CHECKING:
    import ase

    from bayespot.calibration import Predicted, Recalibration

LABELS = ("energy", "forces", "stress")


def annotate(
    frames: Sequence[ase.Atoms],
    predicted: Predicted,
    *,
    recalibration: Recalibration | None = None,
    noise: bool = False,
    ensembles: bool = True,
) -> list[ase.Atoms]:
    """Copies of ``frames`` with the mean over members and their standard deviations.

    Energy (eV), forces (eV/Angstrom) and stress (6,) (eV/Angstrom^3) are where ASE looks for them
    (``get_potential_energy()``).  ``info`` has ``energy_uncertainty``, ``stress_uncertainty`` (6,),
    ``energy_ensemble`` (K,), ``stress_ensemble`` (9 K,) and ``recalibrated``; ``arrays`` have
    ``forces_uncertainty`` (atoms, 3) and ``forces_ensemble`` (atoms, 3 K), whose columns are x, y
    and z of one member after another (``forces_of``).  Labels that the frames came with are kept
    as ``REF_energy``, ``REF_forces`` and ``REF_stress``.

    Args:
        frames: structures, in the order of ``predicted``.
        predicted: of K members.
        recalibration: stretches standard deviations; None leaves the plain spread.
        noise: standard deviations include the learned noise of the labels.
        ensembles: keep what each member says.
    """
    variance = {name: float(np.mean(v)) for name, v in predicted.noise.items()}
    spread = Spread(variance, recalibration, noise)
    return [_one(atoms, predicted, place, spread, ensembles) for place, atoms in enumerate(frames)]


def _one(
    given: ase.Atoms, predicted: Predicted, place: int, spread: Spread, ensembles: bool
) -> ase.Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    atoms = _with_labels_apart(given)
    symbols = np.array(atoms.get_chemical_symbols())
    kind = str(atoms.info.get("config_type", ""))
    energy = np.asarray(predicted.energy[:, place], float)
    forces = np.asarray(predicted.forces[place], float)
    results: dict[str, Any] = {"energy": float(energy.mean()), "forces": forces.mean(axis=0)}
    stress = None
    if predicted.stress is not None and np.isfinite(predicted.stress[:, place]).all():
        stress = full_3x3_to_voigt_6_stress(predicted.stress[:, place])
        results["stress"] = stress.mean(axis=0)
    if predicted.members > 1:
        atoms.info["energy_uncertainty"] = float(spread.of("energy", energy, symbols, kind))
        atoms.arrays["forces_uncertainty"] = spread.of("forces", forces, symbols, kind)
        if stress is not None:
            atoms.info["stress_uncertainty"] = spread.of("stress", stress, symbols, kind)
        atoms.info["recalibrated"] = spread.recalibration is not None
    if ensembles:
        atoms.info["energy_ensemble"] = energy
        columns = np.moveaxis(forces, 0, 1).reshape(len(atoms), -1)
        atoms.arrays["forces_ensemble"] = columns
        if stress is not None and predicted.stress is not None:
            atoms.info["stress_ensemble"] = np.asarray(predicted.stress[:, place], float).ravel()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _with_labels_apart(given: ase.Atoms) -> ase.Atoms:
    """A copy whose labels go by ``REF_`` names."""
    atoms = given.copy()
    labels = {} if given.calc is None else dict(given.calc.results)
    for name in LABELS:
        place = atoms.arrays if name == "forces" else atoms.info
        value = place.pop(name, labels.get(name))
        if value is not None:
            place.setdefault(f"REF_{name}", value)
    atoms.info.pop("free_energy", None)
    return atoms


def forces_of(atoms: ase.Atoms) -> np.ndarray:
    """(K, atoms, 3) forces of each member from ``arrays["forces_ensemble"]`` of one frame."""
    columns = atoms.arrays["forces_ensemble"]
    return np.moveaxis(columns.reshape(len(atoms), -1, 3), 1, 0)


def write_frames(path: Path, frames: Sequence[ase.Atoms]) -> None:
    """Write frames of ``annotate`` as extxyz."""
    import ase.io

    path.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, list(frames), format="extxyz")
