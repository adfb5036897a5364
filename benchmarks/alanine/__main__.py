from benchmarks.alanine import run, table
from benchmarks.common import main

main("alanine", run, table)
