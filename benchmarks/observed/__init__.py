"""Posteriors over simulated observables: argon's sigma and epsilon from a noisy RDF and pressure.

``python -m benchmarks.observed --setting quick --out benchmarks/results``

Data sets are made: the truth simulated long, plus noise of known size.  What posteriors ought to be
comes from another way altogether: averages simulated on a grid of parameters, a polynomial through
them, and the density on a fine grid.
"""
