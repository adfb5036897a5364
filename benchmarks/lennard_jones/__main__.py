"""``python -m benchmarks.lennard_jones --setting quick --out DIR``."""

from benchmarks.common import main
from benchmarks.lennard_jones import run, table

if __name__ == "__main__":
    main("lennard_jones", run, table)
