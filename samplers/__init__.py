"""Stochastic-gradient and full-data MCMC over any pytree, behind one contract and one loop.

Nothing here knows of atoms: the package imports JAX, optax and blackjax, never ``bayespot``.
"""

from samplers.base import Info, Sampler, Target
from samplers.diagnostics import Convergence, convergence
from samplers.ensemble import ensemble
from samplers.nuts import nuts
from samplers.preconditioners import Preconditioner, identity, rmsprop
from samplers.psgld import psgld, sgld
from samplers.run import Block, Result, run
from samplers.schedules import constant, first_last, polynomial

__all__ = [
    "Block",
    "Convergence",
    "Info",
    "Preconditioner",
    "Result",
    "Sampler",
    "Target",
    "constant",
    "convergence",
    "ensemble",
    "first_last",
    "identity",
    "nuts",
    "polynomial",
    "psgld",
    "rmsprop",
    "run",
    "sgld",
]
