"""Alanine dipeptide by OpenMM: AMBER03 with OBC implicit solvent, its heavy atoms and their forces.

Run in .peers/md:  python peer_alanine.py HEAVY.gro NANOSECONDS INTERVAL_PS SEED OUT.npz [PLATFORM]

A coarse bead is a heavy atom, and its force that of the atom and its hydrogens: moving them
together leaves the constrained bonds alone, so that what constraints do cancels in the sum, as the
force of a potential of mean force asks for (Ciccotti, Kapral & Vanden-Eijnden 2005).
"""

import sys
import time
from pathlib import Path

import numpy as np
import openmm as mm
from openmm import app, unit

TEMPERATURE, TIME_STEP, FRICTION = 300.0, 4.0, 1.0  # K, fs, 1/ps
HYDROGEN = 3.0  # u, taken from the atom it is bound to: slower vibrations, longer steps
EQUILIBRATION = 100.0  # ps
RENAMED = {("NME", "CH3"): "C"}  # as OpenMM's residues call it
EV = 96.48533212331  # kJ/mol


def start(path):
    """The heavy atoms of a .gro file, hydrogens added: (topology, positions, heavy atoms)."""
    lines = Path(path).read_text().splitlines()
    topology, positions, residue = app.Topology(), [], None
    chain = topology.addChain()
    for line in lines[2 : 2 + int(lines[1])]:
        kind, name = line[5:10].strip(), line[10:15].strip()
        if residue is None or residue.name != kind:
            residue = topology.addResidue(kind, chain)
        name = RENAMED.get((kind, name), name)
        topology.addAtom(name, app.element.Element.getBySymbol(name[0]), residue)
        positions.append([float(x) for x in line[20:44].split()])
    topology.createStandardBonds()
    field = app.ForceField("amber03.xml", "amber03_obc.xml")
    modeller = app.Modeller(topology, np.array(positions) * unit.nanometer)
    modeller.addHydrogens(field, platform=mm.Platform.getPlatformByName("Reference"))
    return field, modeller


def beads(topology):
    """(heavy atoms, atoms): 1 where an atom belongs to a bead."""
    atoms = list(topology.atoms())
    heavy = [a.index for a in atoms if a.element.symbol != "H"]
    member = np.zeros((len(heavy), len(atoms)))
    for row, index in enumerate(heavy):
        member[row, index] = 1
    for one, two in topology.bonds():
        for a, b in ((one, two), (two, one)):
            if a.element.symbol == "H":
                member[heavy.index(b.index), a.index] = 1
    assert np.all(member.sum(axis=0) == 1)
    return np.array(heavy), member


def main():
    path, nanoseconds, interval, seed, out = sys.argv[1:6]
    platform = sys.argv[6] if len(sys.argv) > 6 else "Reference"
    field, modeller = start(path)
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.NoCutoff,
        constraints=app.HBonds,
        hydrogenMass=HYDROGEN,
    )
    integrator = mm.LangevinMiddleIntegrator(TEMPERATURE, FRICTION, TIME_STEP * 1e-3)
    integrator.setRandomNumberSeed(int(seed))
    simulation = app.Simulation(
        modeller.topology, system, integrator, mm.Platform.getPlatformByName(platform)
    )
    simulation.context.setPositions(modeller.positions)
    simulation.minimizeEnergy(maxIterations=200)
    simulation.context.setVelocitiesToTemperature(TEMPERATURE, int(seed))
    simulation.step(round(1000 * EQUILIBRATION / TIME_STEP))
    heavy, member = beads(modeller.topology)
    every = round(1000 * float(interval) / TIME_STEP)
    frames = round(1000 * float(nanoseconds) / float(interval))
    positions = np.empty((frames, len(heavy), 3), np.float32)
    forces = np.empty_like(positions)
    started = time.perf_counter()
    for i in range(frames):
        integrator.step(every)
        state = simulation.context.getState(getPositions=True, getForces=True)
        positions[i] = state.getPositions(asNumpy=True)._value[heavy] * 10
        forces[i] = member @ state.getForces(asNumpy=True)._value / (10 * EV)
    np.savez(
        out,
        positions=positions - positions.mean(axis=1, keepdims=True),
        forces=forces,
        names=[a.name for a in modeller.topology.atoms() if a.element.symbol != "H"],
        interval_ps=float(interval),
        seconds=time.perf_counter() - started,
        openmm=mm.version.version,
    )


main()
