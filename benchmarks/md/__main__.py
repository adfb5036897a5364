from pathlib import Path

from benchmarks.common import main
from benchmarks.md import run, table

main("md", run, table, Path(__file__).parents[2] / "docs/simulating.md")
