"""ASE calculator of a committee: its mean, or one member, with uncertainties and all members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.outputs import Properties, all_outputs
from ase.stress import full_3x3_to_voigt_6_stress

from bayespot.calculator.evaluate import Evaluated, Evaluator
from bayespot.calculator.spread import QUANTITIES, Spread
from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase

    from bayespot.committee import Committee

PLAIN = ["energy", "forces", "stress", "energies", "free_energy"]
UNCERTAINTIES = [f"{name}_uncertainty" for name in QUANTITIES]
ENSEMBLES = [f"{name}_ensemble" for name in QUANTITIES]


class WithUncertainties(Calculator):
    """What both calculators share: names of their results, and results of members' predictions."""

    # ASE declares a list of the instance's; each instance here gets its own
    implemented_properties: ClassVar[list[str]] = [*PLAIN, *UNCERTAINTIES, *ENSEMBLES]

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
        super().__init__()
        if member is not None and not 0 <= member < committee.members:
            raise UserError(
                f"{committee.name} has no member {member}",
                f"Give one from 0 to {committee.members - 1}, or None for the mean",
            )
        self.committee = committee
        self.member = member
        self._evaluate = Evaluator(committee, skin)
        variance = {name: float(np.mean(np.square(s))) for name, s in committee.noise.items()}
        recalibration = committee.recalibration if recalibrate else None
        self._spread = Spread(variance, recalibration, noise)

    @property
    def recalibrated(self) -> bool:
        """Whether uncertainties are stretched by what a calibration found."""
        return self._spread.recalibration is not None

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
