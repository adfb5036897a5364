"""Errors of trained potentials on real reference data, beside a classical baseline and apax.

``python -m benchmarks.accuracy --setting full --out benchmarks/results [--only aspirin silicon]``
"""

from benchmarks.accuracy.experiment import run, table

__all__ = ["run", "table"]
