"""Committees of ASE calculators, and calculators that are committees themselves."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from bayespot.assessment.sources import Report, Source
from bayespot.calculators import load_module, named
from bayespot.calibration import Predicted
from bayespot.data import Frame
from bayespot.errors import UserError

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Values = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Energies (K,), forces (K, atoms, 3) and stresses (K, 3, 3) of one frame."""


def from_names(text: str) -> Source:
    """Calculators by name: ``module:callable?sigma=3.4&epsilon=0.01,module:callable,gfn2-xtb``.

    Raises:
        UserError: no such callable, or one that fails on its arguments.
    """
    made: list[Any] = []
    labels: list[str] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        found = _made(name)
        made += found if isinstance(found, list) else [found]
        labels.append(name.partition("?")[0].rpartition(":")[2])
    label = " + ".join(dict.fromkeys(labels))
    return _committee(made, f"{label} × {len(made)}" if len(made) > 1 else label)


def from_python(path: Path) -> Source:
    """The list ``calculators`` of a Python file, or what a function of that name gives.

    Raises:
        UserError: a file that fails, or defines no such list.
    """
    try:
        module = load_module(str(path), str(path))
    except UserError as error:
        cause = error.__cause__
        raise UserError(
            f"{path} cannot be run ({type(cause).__name__}: {cause})",
            "Mend it: it must define calculators = [...]",
        ) from cause
    found = getattr(module, "calculators", None)
    if callable(found):
        try:
            found = found()
        except Exception as error:  # of whatever library
            raise UserError(
                f"calculators() of {path} fails ({type(error).__name__}: {error})",
                "Mend it: it must give a list of ASE calculators",
            ) from error
    if not isinstance(found, list | tuple) or not found:
        raise UserError(f"{path} defines no list calculators", "Write calculators = [...] in it")
    return _committee(list(found), path.stem)


def _made(name: str) -> Any:
    """A calculator, or the list of them that a callable gives."""
    where, _, arguments = name.partition("?")
    if not arguments:
        try:
            return named(where)()
        except UserError as error:
            if "which is no ASE calculator" not in error.problem:
                raise
    module, _, what = where.rpartition(":")
    found: Any = load_module(module, where) if module else None
    for part in what.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UserError(f"{module or where} has no callable {what}", "Give module:callable")
    try:
        made = found(**{k: _value(v) for k, v in parse_qsl(arguments, strict_parsing=True)})
    except Exception as error:
        raise UserError(
            f"{where} cannot be made with {arguments} ({type(error).__name__}: {error})",
            "Write arguments as key=value with & between, or calculators = [...] in a Python file",
        ) from error
    return list(made) if isinstance(made, tuple) else made


def _value(text: str) -> Any:
    """A Python literal where it is one, else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text, text)


def _committee(calculators: list[Any], name: str) -> Source:
    for calculator in calculators:
        if not hasattr(calculator, "get_potential_energy"):
            raise UserError(
                f"{name} holds a {type(calculator).__name__}, which is no ASE calculator",
                "Give calculators, or a function that returns one or a list of them",
            )

    def predict(frames: Sequence[Frame], stress: bool, report: Report) -> Predicted:
        values = []
        for done, frame in enumerate(frames):
            each = [_of_one(c, frame, stress, len(calculators) == 1, name) for c in calculators]
            values.append(tuple(np.concatenate(x) for x in zip(*each, strict=True)))
            report(done + 1, len(frames))
        energies, forces, stresses = zip(*values, strict=True)
        if len(energies[0]) < 2:
            raise UserError(
                f"{name} is one calculator without energy_ensemble and forces_ensemble",
                "Give two or more calculators with commas between: one has no spread",
            )
        tensors = np.stack(stresses, axis=1)
        labelled = [i for i, frame in enumerate(frames) if frame.stress is not None]
        # calculators without stress are judged without it
        known = stress and bool(np.isfinite(tensors[:, labelled]).all())
        return Predicted(
            np.stack(energies, axis=1), list(forces), tensors if known else None, {}, name
        )

    return Source(name, predict)


def _of_one(calculator: Calculator, frame: Frame, stress: bool, alone: bool, name: str) -> Values:
    """Of one calculator, or of the ensemble in its results where it is the only one."""
    atoms = frame.atoms.copy()
    atoms.calc = calculator
    try:
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        tensor = _stress(atoms) if stress and frame.stress is not None else np.full((3, 3), np.nan)
    except Exception as error:  # of whatever library
        raise UserError(
            f"{name} fails on {frame.where} ({type(error).__name__}: {error})",
            "Leave such frames out, or give a calculator that knows their elements",
        ) from error
    more = getattr(calculator, "results", {})
    if alone and "energy_ensemble" in more and "forces_ensemble" in more:
        energies = np.asarray(more["energy_ensemble"], float).reshape(-1)
        tensors = np.asarray(more.get("stress_ensemble", np.nan), float)
        if tensors.shape != (len(energies), 3, 3):
            tensors = np.full((len(energies), 3, 3), np.nan)
        return energies, np.asarray(more["forces_ensemble"], float), tensors
    return np.array([energy], float), np.asarray(forces, float)[None], tensor[None]


def _stress(atoms: Atoms) -> np.ndarray:
    from ase.calculators.calculator import PropertyNotImplementedError

    try:
        return np.asarray(atoms.get_stress(voigt=False), float)
    except (PropertyNotImplementedError, NotImplementedError):
        return np.full((3, 3), np.nan)
