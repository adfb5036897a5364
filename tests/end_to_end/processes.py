"""Commands as a user runs them, in processes of their own, and killed where a test says so."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 900.0
"""Seconds; on a machine with much else to do a small run takes minutes."""


def command(name: str, config: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "bayespot.cli", name, str(config), "-o", str(output)]


FAST = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
"""For programs that compile for longer than they run."""


def environment(folder: Path) -> dict[str, str]:
    """Later processes find the first one's programs: compiling them is most of a small run."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    return {**os.environ, **cache}


def run(arguments: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """To its end; ``folder`` keeps its programs, and ``more`` are variables of its environment."""
    return subprocess.run(
        arguments,
        env={**environment(folder), **more},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def kill_when(there: Callable[[], bool], arguments: list[str], folder: Path, **more: str) -> None:
    """SIGKILL as soon as something is there, which it must be before the process ends."""
    process = subprocess.Popen(
        ["nice", "-n", "19", *arguments],  # on a busy machine who looks must come before who runs
        env={**environment(folder), **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE
    while not there() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert there()
