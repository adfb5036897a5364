"""What batched MD costs: the engine over its force call, over other ways to run many draws, against
LAMMPS and OpenMM on one Lennard-Jones fluid, and what it needs in memory.

All ratios come from one run on one machine.  ``python -m benchmarks.md --setting quick``.
"""

from benchmarks.md.experiment import run, table

__all__ = ["run", "table"]
