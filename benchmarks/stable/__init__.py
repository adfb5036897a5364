"""StABlE training in small: aspirin (row 12 of the papers' figures) and water (row 14).

``python -m benchmarks.stable --setting quick --out benchmarks/results``
"""

from benchmarks.stable.experiment import run, table

__all__ = ["run", "table"]
