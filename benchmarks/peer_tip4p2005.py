"""TIP4P/2005 water by OpenMM: centres of mass at constant volume, for relative entropy.

Run in .peers/md:  python peer_tip4p2005.py MOLECULES EQUILIBRATION_PS FRAMES INTERVAL_PS OUT.npz
The density is that of the relative-entropy paper's box: 1000 molecules in (3.129 nm)^3.
"""

import sys
import time

import numpy as np
import openmm as mm
from openmm import app, unit

TEMPERATURE, TIME_STEP = 298.0, 2.0  # K, fs
OH, HOH = 0.09572, np.deg2rad(104.52)  # nm, of the rigid model


def lattice(count, side, rng):
    """(3 count, 3) nm: oxygens on a simple cubic lattice, molecules turned at random."""
    per_side = int(np.ceil(count ** (1 / 3) - 1e-9))
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    centres = (grid[rng.permutation(len(grid))[:count]] + 0.5) * side / per_side
    half = HOH / 2
    shape = OH * np.array(
        [[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]]
    )
    turned = []
    for centre in centres:
        q, r = np.linalg.qr(rng.normal(size=(3, 3)))
        turned.append(centre + shape @ (q * np.sign(np.diag(r))).T)
    return np.concatenate(turned)


def main():
    molecules, frames = int(sys.argv[1]), int(sys.argv[3])
    equilibration, interval = float(sys.argv[2]), float(sys.argv[4])
    side = 3.129 * (molecules / 1000) ** (1 / 3)
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(molecules):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, residue))
    start = lattice(molecules, side, np.random.default_rng(0))
    field = app.ForceField("charmm36/tip4p2005.xml")
    modeller = app.Modeller(topology, start * unit.nanometer)
    modeller.topology.setPeriodicBoxVectors(np.eye(3) * side * unit.nanometer)
    modeller.addExtraParticles(field)
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=min(0.9, 0.49 * side) * unit.nanometer,
        constraints=app.HBonds,
        rigidWater=True,
    )
    # a weak thermostat: the diffusion of its molecules is compared
    integrator = mm.LangevinMiddleIntegrator(TEMPERATURE, 0.5, TIME_STEP * 1e-3)
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(
        modeller.topology, system, integrator, mm.Platform.getPlatformByName("CPU")
    )
    simulation.context.setPositions(modeller.positions)
    simulation.minimizeEnergy(maxIterations=300)
    simulation.context.setVelocitiesToTemperature(TEMPERATURE, 2)
    steps = round(1000 * interval / TIME_STEP)
    simulation.step(round(1000 * equilibration / TIME_STEP))
    masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])
    masses = masses.reshape(molecules, -1)
    started, kept = time.perf_counter(), []
    for _ in range(frames):
        simulation.step(steps)
        state = simulation.context.getState(getPositions=True, enforcePeriodicBox=False)
        where = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        where = where.reshape(molecules, -1, 3)
        kept.append((where * masses[..., None]).sum(axis=1) / masses.sum(axis=1)[:, None])
    np.savez(
        sys.argv[5],
        positions=np.asarray(kept, np.float32),
        side=10 * side,
        interval_ps=interval,
        seconds=time.perf_counter() - started,
        openmm=mm.version.version,
    )


main()
