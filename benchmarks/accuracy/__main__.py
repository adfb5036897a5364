from pathlib import Path

from benchmarks.accuracy import run, table
from benchmarks.common import main

main("accuracy", run, table, Path(__file__).parents[2] / "docs/potentials.md")
