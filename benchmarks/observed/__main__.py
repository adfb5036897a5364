from benchmarks.common import main
from benchmarks.observed.experiment import run, table

main("observed", run, table)
