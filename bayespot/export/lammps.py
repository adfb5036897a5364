"""A committee as the force field of LAMMPS: ``fix external`` with a Python callback.

LAMMPS's ``pair_style python`` takes pair functions of a distance only, so forces come from
``fix external pf/callback``, in the process that holds both LAMMPS and JAX, on one MPI rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayespot.calculator import PosteriorCalculator
from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase

    from bayespot.committee import Committee

VECTOR = ("energy_uncertainty", "max_forces_uncertainty", "mean_forces_uncertainty")
"""What ``f_NAME[1]``, ``f_NAME[2]`` and ``f_NAME[3]`` are in LAMMPS: eV, eV/Angstrom twice."""


class Attached:
    """A committee at work in a LAMMPS instance.

    Attributes:
        calculator: that evaluates; its ``results`` are those of the last step, atoms by id.
        error: the exception that ended a run, or None.
    """

    def __init__(
        self, lmp: Any, calculator: PosteriorCalculator, symbols: Sequence[str], name: str
    ):
        from ase.data import atomic_numbers

        self.calculator = calculator
        self.error: BaseException | None = None
        self._lmp = lmp
        self._numbers = np.array([0, *(atomic_numbers[s] for s in symbols)])
        self._name = name

    def __call__(
        self, caller: Any, step: int, count: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray
    ) -> None:
        """LAMMPS calls this for the forces of its ``count`` atoms."""
        del caller, step
        # ctypes drops exceptions, and LAMMPS's own errors end the process when raised from here
        try:
            self._compute(count, tag, x, f)
        except BaseException as error:
            self.error = error
            f[:count] = np.nan  # not the forces of the step before
            self._lmp.force_timeout()

    def command(self, text: str) -> None:
        """A LAMMPS command such as ``run 1000`` that raises what went wrong in the forces.

        ``lmp.command`` only ends the run early, with forces that are not numbers.
        """
        self.error = None
        try:
            self._lmp.command(text)
        finally:
            if self.error is not None:
                raise self.error

    def _compute(self, count: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        lmp = self._lmp
        order = np.argsort(tag[:count])
        types = np.asarray(lmp.numpy.extract_atom("type"))[:count]
        atoms = structure(lmp, self._numbers[types][order], np.array(x[:count])[order])
        self.calculator.get_property("forces", atoms)
        made = self.calculator.results
        f[order] = made["forces"]
        lmp.fix_external_set_energy_global(self._name, made["energy"])
        if atoms.pbc.all():
            xx, yy, zz, yz, xz, xy = -atoms.get_volume() * made["stress"]
            lmp.fix_external_set_virial_global(self._name, [xx, yy, zz, xy, xz, yz])
        if "energy_uncertainty" in made:
            of_atoms = np.linalg.norm(made["forces_uncertainty"], axis=1)
            sigma = made["energy_uncertainty"]
            for place, value in enumerate((sigma, of_atoms.max(), of_atoms.mean()), start=1):
                lmp.fix_external_set_vector(self._name, place, float(value))


def attach(
    lmp: Any,
    committee: Committee,
    symbols: Sequence[str],
    *,
    name: str = "bayespot",
    recalibrate: bool = True,
) -> Attached:
    """Let ``committee`` give all forces of a LAMMPS instance, the mean of its members.

    Call it when the box and the atoms exist.  Thermodynamic output counts its energy and virial;
    ``f_NAME[1]`` to ``f_NAME[3]`` are uncertainties (``VECTOR``), for ``thermo_style custom``,
    variables and ``fix halt``.

    Args:
        lmp: ``lammps.lammps()`` with ``units metal``, on one MPI rank, with ``atom_modify map
            yes`` or not, and a pair style (``zero`` will do).
        committee: whose forces.
        symbols: elements of the atom types, in their order.
        name: of the fix.
        recalibrate: stretch uncertainties as the committee's recalibration says.

    Raises:
        UserError: other units, several ranks, no atoms, or a number of symbols that is not that
            of the atom types.
    """
    if lmp.extract_global("units") != "metal":
        raise UserError(
            f"LAMMPS runs in units {lmp.extract_global('units')}", "Set units metal: eV, Angstrom"
        )
    if lmp.extract_setting("world_size") > 1:
        raise UserError("LAMMPS runs on several MPI ranks", "Run it on one: JAX uses all cores")
    types = lmp.extract_setting("ntypes")
    if types != len(symbols):
        raise UserError(
            f"LAMMPS has {types} atom types, there are {len(symbols)} symbols",
            "Give one symbol for each atom type",
        )
    if not lmp.get_natoms():
        raise UserError("LAMMPS has no atoms", "Create or read them before attach")
    attached = Attached(lmp, PosteriorCalculator(committee, recalibrate=recalibrate), symbols, name)
    lmp.command(f"fix {name} all external pf/callback 1 1")
    lmp.command(f"fix_modify {name} energy yes virial yes")
    lmp.fix_external_set_vector_length(name, len(VECTOR))
    lmp.set_fix_external_callback(name, attached, lmp)
    return attached


def structure(lmp: Any, numbers: np.ndarray, positions: np.ndarray) -> ase.Atoms:
    """ASE structure in the present box of ``lmp``."""
    from ase import Atoms

    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    a, b, c = np.subtract(high, low)
    cell = [[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]]
    return Atoms(numbers, positions - np.array(low), cell=cell, pbc=[bool(p) for p in periodic])
