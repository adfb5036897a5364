"""One Lennard-Jones melt from 256 to 32 000 atoms, beside LAMMPS and OpenMM."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from benchmarks.common import markdown
from benchmarks.md import timing

ROOT = Path(__file__).parents[2]
REPEATS = {"quick": (4, 8, 13, 20), "full": (4, 6, 8, 13, 16, 20)}
STEPS = 80  # of a block: several renewals of the lists, so that none misses its share of them
SKIN = 1.8  # 0.53 sigma: lists of liquids are renewed often, and cost as much as many forces


def peers(sizes: list[int], steps: int) -> dict:
    """Microseconds per atom and step, or why not."""
    python = ROOT / ".peers/md/bin/python"
    if not python.exists():
        return {"missing": "run benchmarks/peers.sh md first"}
    done = subprocess.run(
        [str(python), str(ROOT / "benchmarks/peer_md.py"), json.dumps(sizes), str(steps)],
        capture_output=True, text=True, check=False,
        env=os.environ | {"LD_LIBRARY_PATH": str(python.parents[1] / "lib")},  # mpich's
    )  # fmt: skip
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or ["it failed"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(quick: bool) -> dict:
    """Seconds per step of each size, the exponent, and the peers' on the same machine."""
    repeats = REPEATS["quick" if quick else "full"]
    rows = []
    for repeat in repeats:
        system = timing.fluid(repeat)
        atoms = len(system.positions)
        skin = SKIN
        rows.append(
            {
                "atoms": atoms,
                "steps": STEPS,
                "force_seconds": timing.bare_force(timing.ARGON, {}, system, 1, skin, 10, 3),
                "step_seconds": timing.engine(
                    timing.ARGON, {}, system, 1, skin, STEPS, 3, timing.MELT
                ),
            }
        )
    exponent = np.polyfit(
        np.log([r["atoms"] for r in rows]), np.log([r["step_seconds"] for r in rows]), 1
    )[0]
    return {
        "rows": rows,
        "skin_angstrom": SKIN,
        "exponent": float(exponent),
        "peers": peers([int(r) for r in repeats], 100 if quick else 500),
    }


def table(made: dict) -> str:
    found = made["peers"]
    names = [] if "missing" in found else list(found["seconds"])
    rows = []
    for i, row in enumerate(made["rows"]):
        own = row["step_seconds"]
        cells = [f"{1e6 * own / row['atoms']:.2f}", f"{own / row['force_seconds']:.2f}"]
        for name in names:
            theirs = found["seconds"][name][i]
            cells.append("–" if theirs is None else f"{1e6 * theirs / row['atoms']:.2f}")
            cells.append("–" if theirs is None else f"{own / theirs:.1f}")
        rows.append((row["atoms"], *cells))
    head = ["atoms", "engine / µs per atom and step", "over its force call"]
    for name in names:
        head += [f"{name} / µs", f"engine over {name}"]
    text = markdown(head, rows)
    text += f"\n\nThe engine's cost grows with atoms to the power {made['exponent']:.2f}."
    return text if names else f"{text} Peers: {found['missing']}."
