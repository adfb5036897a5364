"""Lennard-Jones: what each sampler knows about its ignorance (methods.md row 6; Thaler et al. 2023,
section 3.1).

One hundred noise-free pair energies with d/sigma in [1.0615, 1.18]; a network of one hidden layer
of 64 on six Bessel functions; weights ~ N(0, 1), noise ~ Exp(1).  The weights outnumber what the
data fix by fifty to one, so the posterior is wide where there are no data.

Two references.  The paper's is NUTS on ten chains.  The other is exact: given hidden layer and
noise the output layer is Gaussian, so it is integrated out, and NUTS on the hidden layer alone
mixes.  Its noise is held at 1e-3, what the paper reports: free, it has no scale of its own on
noise-free data and falls without end (``evidence`` in the results).

The question the paper left open is whether one run can find the modes that one pSGLD chain
misses.  Modes are looked for among functions, not weights, which have trivial symmetries.
"""

from benchmarks.lennard_jones.experiment import run
from benchmarks.lennard_jones.tables import table

__all__ = ["run", "table"]
