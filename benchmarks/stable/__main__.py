from benchmarks.common import main
from benchmarks.stable import run, table

main("stable", run, table)
