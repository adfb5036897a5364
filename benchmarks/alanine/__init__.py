"""Coarse-grained alanine dipeptide (row 5): force matching, relative entropy, and both in turn.

``python -m benchmarks.alanine --setting quick --out benchmarks/results``
"""

from benchmarks.alanine.experiment import run, table

__all__ = ["run", "table"]
