"""A committee as a force field of i-PI, through ASE's socket client.

What each member says goes along as the extras i-PI's ``<ffcommittee parse_json="true">`` reads:
JSON with ``committee_pot``, ``committee_force`` and ``committee_virial`` in atomic units, which
i-PI does not convert, and ``energy_uncertainty``, recalibrated as the calculator's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.socketio import IPIProtocol, SocketClient

if TYPE_CHECKING:
    import ase


class CommitteeClient(SocketClient):
    """ASE's ``SocketClient`` that also sends the committee.

    The structure's calculator is a ``PosteriorCalculator`` or a ``CommitteeCalculator``; energies,
    forces and virials are its mean.  i-PI stretches members itself (``alpha``), so they are sent
    as they are.

    Args:
        host, port: of an internet socket.
        unixsocket: name of a Unix socket (``/tmp/ipi_NAME``), in place of them.
        timeout: seconds to wait for the server; None waits for ever.

    Example::

        atoms.calc = PosteriorCalculator(load("runs/water"))
        CommitteeClient(unixsocket="water").run(atoms, use_stress=True)
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = None,
        unixsocket: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(host, port, unixsocket, timeout)
        self.protocol: Any = _WithExtras(self.protocol.socket)

    def calculate(self, atoms: ase.Atoms, use_stress: bool) -> tuple[float, np.ndarray, np.ndarray]:
        """Energy, forces and virial in ASE's units; keeps the extras for the answer."""
        made = super().calculate(atoms, use_stress)
        self.protocol.extras = json.dumps(extras(atoms, use_stress)).encode("ascii")
        return made


class _WithExtras(IPIProtocol):
    """Sends ``extras`` where ASE sends a single zero."""

    extras = b""

    def sendforce(self, energy: Any, forces: Any, virial: Any, morebytes: Any = None) -> None:
        del morebytes
        super().sendforce(energy, forces, virial, np.frombuffer(self.extras, np.byte))


def extras(atoms: ase.Atoms, use_stress: bool) -> dict[str, Any]:
    """What goes along: lists over members in Hartree, Hartree/Bohr and Hartree."""
    calculator: Any = atoms.calc
    energy = calculator.get_property("energy_ensemble", atoms)
    forces = calculator.get_property("forces_ensemble", atoms)
    made: dict[str, Any] = {
        "committee_pot": (energy / units.Ha).tolist(),
        "committee_force": (forces * units.Bohr / units.Ha).tolist(),
    }
    virials = np.zeros((len(energy), 3, 3))
    if use_stress:
        stress = calculator.get_property("stress_ensemble", atoms)
        virials = -atoms.get_volume() * stress / units.Ha
    made["committee_virial"] = virials.tolist()
    try:
        sigma = calculator.get_property("energy_uncertainty", atoms)
        made["energy_uncertainty"] = sigma / units.Ha
    except PropertyNotImplementedError:
        pass  # a single member has none
    return made
