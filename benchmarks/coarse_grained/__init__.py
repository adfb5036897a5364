"""Coarse-grained water: DiffTRe to experiment (row 3), relative entropy to TIP4P/2005 (row 4).

``python -m benchmarks.coarse_grained --setting quick --out benchmarks/results``
"""

from benchmarks.coarse_grained.experiment import run, table

__all__ = ["run", "table"]
