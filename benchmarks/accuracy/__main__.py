from benchmarks.accuracy import run, table
from benchmarks.common import main

main("accuracy", run, table)
