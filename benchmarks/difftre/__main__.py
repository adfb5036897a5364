from benchmarks.common import main
from benchmarks.difftre.experiment import run, table

main("difftre", run, table)
