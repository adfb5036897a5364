"""ASE calculator of a committee: its mean, or one member, with uncertainties and all members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase.calculators.calculator import all_changes

from bayespot.calculator.evaluate import Evaluated, Evaluator
from bayespot.calculator.outputs import PLAIN, WithUncertainties, ensemble, means
from bayespot.calculator.spread import Spread
from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase

    from bayespot.committee import Committee


class PosteriorCalculator(WithUncertainties):
    """Energy, forces and stress of a committee, with standard deviations and all members.

    Besides ASE's own properties it has ``energy_uncertainty`` (eV), ``forces_uncertainty``
    (atoms, 3) in eV/Angstrom and ``stress_uncertainty`` (6,) in eV/Angstrom^3, standard deviations
    over members (ddof=1), and ``energy_ensemble`` (K,), ``forces_ensemble`` (K, atoms, 3) and
    ``stress_ensemble`` (K, 3, 3), what each member says, never recalibrated:
    ``calculator.get_property("energy_uncertainty", atoms)``.  Where the committee knows how far to
    stretch its uncertainties, they are stretched.

    The first structure of a size compiles; after that, moving atoms compiles nothing.

    Args:
        committee: of draws or networks (``bayespot.committee.load``).
        member: energy, forces and stress of this one, counted from 0, and nothing else is
            evaluated until uncertainties are asked for; None takes the mean.
        noise: uncertainties include the learned noise of the labels: those of a new label, not
            of the mean.
        recalibrate: stretch uncertainties as the committee's recalibration says.
        skin: extra range of neighbour lists, Angstrom.

    Raises:
        UserError: no such member.
    """

    def __init__(
        self,
        committee: Committee,
        *,
        member: int | None = None,
        noise: bool = False,
        recalibrate: bool = True,
        skin: float = 0.5,
    ) -> None:
        if member is not None and not 0 <= member < committee.members:
            raise UserError(
                f"{committee.name} has no member {member}",
                f"Give one from 0 to {committee.members - 1}, or None for the mean",
            )
        variance = {name: float(np.mean(np.square(s))) for name, s in committee.noise.items()}
        recalibration = committee.recalibration if recalibrate else None
        super().__init__(Spread(variance, recalibration, noise))
        self.committee = committee
        self.member = member
        self._evaluate = Evaluator(committee, skin)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Called by ASE.

        Raises:
            UserError: elements that training lacked.
            PropertyNotImplementedError: stress of an open system, uncertainty of one member.
        """
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise UserError("there are no atoms", "Give the calculator a structure")
        if self.member is not None and set(properties) <= set(PLAIN):
            self.results.update(means(self._evaluate(self.atoms, self.member)))
        else:
            made = self._evaluate(self.atoms)
            self.results.update(ensemble(made, self._spread, self.atoms))
            self.results.update(means(made if self.member is None else _only(made, self.member)))
        self._must_have(properties)


def _only(made: Evaluated, member: int) -> Evaluated:
    one = slice(member, member + 1)
    return Evaluated(*(None if x is None else x[one] for x in made))  # type: ignore[arg-type]
