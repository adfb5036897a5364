"""A committee of any ASE calculators, with the same keys as the calculator of a posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import voigt_6_to_full_3x3_stress

from bayespot.calculator.evaluate import Evaluated
from bayespot.calculator.outputs import WithUncertainties, ensemble, means
from bayespot.calculator.spread import Spread
from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase
    from ase.calculators.calculator import BaseCalculator

    from bayespot.calibration import Recalibration


class CommitteeCalculator(WithUncertainties):
    """The mean of several calculators, their standard deviation (ddof=1) and what each says.

    Stress and energies per atom are there where all calculators give them.

    Args:
        calculators: one object each, of any kind; two or more have uncertainties.
        recalibration: stretches uncertainties; None hands out the plain spread.

    Raises:
        UserError: no calculators, or one object given twice.
    """

    def __init__(
        self,
        calculators: Sequence[BaseCalculator],
        *,
        recalibration: Recalibration | None = None,
    ) -> None:
        if not calculators or len({id(c) for c in calculators}) < len(calculators):
            raise UserError(
                f"a committee of {len(calculators)} calculators that are not different objects",
                "Give one calculator or more, each made on its own",
            )
        super().__init__(Spread(recalibration=recalibration))
        self.calculators = tuple(calculators)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Called by ASE.

        Raises:
            PropertyNotImplementedError: what one of the calculators does not give.
        """
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise UserError("there are no atoms", "Give the calculator a structure")
        energy, forces = self._all("energy"), self._all("forces")
        if energy is None or forces is None:
            raise PropertyNotImplementedError("a calculator gives no energy or no forces")
        energies, free = self._all("energies"), self._all("free_energy")
        voigt = self._all("stress") if self.atoms.cell.rank == 3 else None
        stress = None if voigt is None else np.array([voigt_6_to_full_3x3_stress(s) for s in voigt])
        nobody = np.zeros((len(energy), 0))
        made = Evaluated(energy, nobody if energies is None else energies, forces, stress)
        self.results.update(ensemble(made, self._spread, self.atoms) | means(made))
        if energies is None:
            del self.results["energies"]
        if free is not None:
            self.results["free_energy"] = float(free.mean())
        self._must_have(properties)

    def _all(self, name: str) -> np.ndarray | None:
        """(K, ...) of all calculators; None where one does not give it."""
        found = []
        for calculator in self.calculators:
            try:
                found.append(calculator.get_property(name, self.atoms))
            except (PropertyNotImplementedError, NotImplementedError):
                return None
        return None if any(x is None for x in found) else np.array(found, float)
