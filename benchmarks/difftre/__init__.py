"""DiffTRe's experiments: a double well beside back-propagation and chemtrain, and diamond.

``python -m benchmarks.difftre --setting quick --out benchmarks/results``
"""
