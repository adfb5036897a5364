"""Atomistic frames that OpenMM makes in an environment of its own; kept from call to call."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".peers" / "md" / "bin" / "python"


def kept(script: str, given: tuple[object, ...], where: Path) -> Path:
    """``where``, written by ``benchmarks/{script}`` with ``given`` unless it is there already.

    Raises:
        SystemExit: OpenMM is not there, or fails.
    """
    if where.exists():
        return where
    if not PYTHON.exists():
        raise SystemExit(f"{where} needs OpenMM: run benchmarks/peers.sh md first")
    print(f"OpenMM makes {where}", flush=True)
    where.parent.mkdir(parents=True, exist_ok=True)
    partial = where.with_name("partial.npz")
    command = [str(PYTHON), str(ROOT / "benchmarks" / script), *map(str, given), str(partial)]
    library = {"LD_LIBRARY_PATH": str(PYTHON.parents[1] / "lib")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | library
    )
    if done.returncode:
        raise SystemExit(f"OpenMM failed: {done.stderr.strip().splitlines()[-1]}")
    partial.replace(where)
    return where
