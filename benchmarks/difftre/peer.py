"""chemtrain on the same double well, in its own environment."""

import json
import subprocess
import tempfile
from pathlib import Path

from benchmarks.difftre.double_well import Work

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".peers" / "chemtrain" / "bin" / "python"


def run(work: Work, updates: int) -> dict:
    """What ``benchmarks/peer_chemtrain.py`` found, or why it did not."""
    if not PYTHON.exists():
        return {"failed": "not installed: benchmarks/peers.sh chemtrain"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [str(PYTHON), str(ROOT / "benchmarks" / "peer_chemtrain.py"), str(out)]
        given = {
            "updates": updates, "states": work.states, "skip": work.skip, "every": work.every,
            "batch": work.batch,
        }  # fmt: skip
        for name, value in given.items():
            command += [f"--{name}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1][:200]}
        return json.loads(out.read_text())
