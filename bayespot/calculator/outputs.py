"""Results of a committee by ASE's names: mean, uncertainties, and what each member says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.outputs import Properties, all_outputs
from ase.stress import full_3x3_to_voigt_6_stress

from bayespot.calculator.evaluate import Evaluated
from bayespot.calculator.spread import QUANTITIES, Spread

if TYPE_CHECKING:
    import ase

PLAIN = ["energy", "forces", "stress", "energies", "free_energy"]
UNCERTAINTIES = [f"{name}_uncertainty" for name in QUANTITIES]
ENSEMBLES = [f"{name}_ensemble" for name in QUANTITIES]


class WithUncertainties(Calculator):
    """What both calculators share: names of their results, and how they are stretched.

    Args:
        spread: makes uncertainties of members.
    """

    # ASE declares a list of the instance's; each instance here gets its own
    implemented_properties: ClassVar[list[str]] = [*PLAIN, *UNCERTAINTIES, *ENSEMBLES]

    def __init__(self, spread: Spread) -> None:
        super().__init__()
        self._spread = spread

    @property
    def recalibrated(self) -> bool:
        """Whether uncertainties are stretched by what a calibration found."""
        return self._spread.recalibration is not None

    def export_properties(self) -> Properties:
        """Those results that ASE has a shape for."""
        return Properties({k: v for k, v in self.results.items() if k in all_outputs})

    def _must_have(self, properties: Any) -> None:
        """Say why a property is missing."""
        for name in properties:
            if name in self.results:
                continue
            if name.startswith("stress"):
                raise PropertyNotImplementedError(
                    f"there is no {name}: only structures that are periodic in all directions have"
                    " a stress, and of several calculators all must give it"
                )
            raise PropertyNotImplementedError(f"there is no {name} of a single member")


def ensemble(made: Evaluated, spread: Spread, atoms: ase.Atoms) -> dict[str, Any]:
    """``*_ensemble`` and ``*_uncertainty``; the latter where there are two members or more."""
    results: dict[str, Any] = {
        "energy_ensemble": made.energy,
        "forces_ensemble": made.forces,
    }
    if made.stress is not None:
        results["stress_ensemble"] = made.stress
    if len(made.energy) > 1:
        symbols = np.array(atoms.get_chemical_symbols())
        kind = str(atoms.info.get("config_type", ""))
        for name in QUANTITIES:
            if f"{name}_ensemble" in results:
                samples = results[f"{name}_ensemble"]
                if name == "stress":
                    samples = full_3x3_to_voigt_6_stress(samples)
                sigma = spread.of(name, samples, symbols, kind)
                results[f"{name}_uncertainty"] = float(sigma) if name == "energy" else sigma
    return results


def means(made: Evaluated) -> dict[str, Any]:
    """The mean over members, by ASE's names."""
    energy = float(made.energy.mean())
    results = {
        "energy": energy,
        "free_energy": energy,
        "energies": made.energies.mean(axis=0),
        "forces": made.forces.mean(axis=0),
    }
    if made.stress is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(made.stress.mean(axis=0))
    return results
