from benchmarks.common import main
from benchmarks.md import run, table

main("md", run, table)
