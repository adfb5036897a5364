from benchmarks.coarse_grained import run, table
from benchmarks.common import main

main("coarse_grained", run, table)
