"""What watching a committee costs: steps of MD with and without uncertainties on the fly.

    python -m benchmarks.monitor --setting quick --out benchmarks/results

A SchNet of ethanol; members have random weights, which changes no time.
"""

from __future__ import annotations

import time
from pathlib import Path

import jax
import numpy as np
from ase.build import molecule

from bayespot.md import NVT, Length, Monitor, Simulation
from bayespot.potentials import CommitteeMean, HarmonicBonds, Potential, SchNet
from bayespot.system import System
from bayespot.topology import find_bonds
from benchmarks import common

MEMBERS = (8, 24)
REPLICAS = 4


def run(setting: common.Setting, out: Path) -> dict:
    del out
    steps, repeats = (200, 3) if setting == "quick" else (2000, 5)
    atoms = molecule("CH3CH2OH")
    system, bonds = System.from_ase(atoms), find_bonds(atoms)
    lengths = [atoms.get_distance(i, j) for i, j in bonds]
    stiff = HarmonicBonds(
        tuple(bonds), tuple(float(x) for x in lengths), tuple(20.0 for _ in bonds)
    )
    member = SchNet(species=(1, 6, 8), features=32, interactions=2, scale=1e-3) + stiff
    rows = [
        {"members": 1, "driving": 1, "every": 0, "ms": _time(member, 1, 0, system, steps, repeats)}
    ]
    for count in MEMBERS:
        for driving in (1, count):
            for every in (0, 20, 5, 1):
                potential = CommitteeMean(member, count, (0,) if driving == 1 else ())
                ms = _time(potential, count, every, system, steps, repeats)
                rows.append({"members": count, "driving": driving, "every": every, "ms": ms})
    return {"atoms": len(atoms), "replicas": REPLICAS, "steps": steps, "rows": rows}


def _time(
    potential: Potential, count: int, every: int, system: System, steps: int, repeats: int
) -> float:
    """ms of a step of all replicas; the median over repeats."""
    stride = every or 20
    monitor = Monitor(1e9) if every else None
    simulation = Simulation(
        potential, system, NVT(300.0, 0.5), Length(steps, stride=stride, blocks=1), monitor=monitor
    )
    params = jax.vmap(lambda k: potential.init(k, system))(jax.random.split(jax.random.key(0), 1))
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        made = simulation.run(jax.random.key(1), params, replicas=REPLICAS)
        assert (made.reason == 0).all(), count
        taken.append((time.perf_counter() - start) / steps * 1e3)
    return float(np.median(taken[1:]))  # the first compiles


def table(result: dict) -> str:
    rows = result["rows"]
    one = rows[0]["ms"]
    lines = [["members", "driving", "uncertainties every", "ms a step", "over one member's MD"]]
    for row in rows:
        every = f"{row['every']} steps" if row["every"] else "never"
        lines.append(
            [str(row["members"]), str(row["driving"]), every, f"{row['ms']:.2f}",
             f"{row['ms'] / one:.1f}"]
        )  # fmt: skip
    return common.markdown(lines[0], lines[1:])


if __name__ == "__main__":
    common.main("monitor", run, table)
