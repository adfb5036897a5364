"""bayespot: how far a simulation with a machine-learned potential can be trusted.

Import the module you need (``bayespot.posterior``, ``bayespot.md``, ...); the package itself
imports nothing, so that the command line starts at once.
"""
