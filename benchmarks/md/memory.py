"""What a replica needs in memory, and whether a budget is kept."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.common import markdown

ROOT = Path(__file__).parents[2]

CODE = """
import json, pathlib, sys
import jax
from bayespot.md import batch
from benchmarks.md import timing

def peak():
    # getrusage's peak starts at that of the process which started this one
    text = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(text.split("VmHWM:")[1].split()[0])

batch.CACHE = 1e18  # the budget alone decides
draws, memory = int(sys.argv[1]), float(sys.argv[2])
system = timing.silicon(3)
params = timing.draws(timing.SILICON, system, draws)
jax.block_until_ready(params)
before = peak()
seconds = timing.engine(timing.SILICON, params, system, 1, 0.5, 2, 1, memory=memory)
print(json.dumps({"draws": draws, "budget": memory, "before": before, "peak": peak(),
                  "seconds": seconds}))
"""


def run() -> list[dict]:
    """Peak of fresh processes: SchNet on 216 atoms."""
    rows = []
    for draws, memory in ((16, 1e12), (384, 1e12), (384, 4e9), (384, 1e9)):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CODE, str(draws), str(memory)],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return rows


def table(rows: list[dict]) -> str:
    return markdown(
        ("SchNet, 216 atoms: draws", "budget / GB", "peak over the process's start / GB",
         "MB a draw", "step / ms"),
        [
            (
                r["draws"],
                "none" if r["budget"] > 1e11 else f"{r['budget'] / 1e9:.0f}",
                f"{(r['peak'] - r['before']) / 1e9:.2f}",
                f"{(r['peak'] - r['before']) / 1e6 / r['draws']:.0f}",
                f"{1e3 * r['seconds']:.0f}",
            )
            for r in rows
        ],
    )  # fmt: skip
