"""Stochastic-gradient and full-data MCMC over any pytree, behind one contract and one loop.

Nothing here knows of atoms: the package imports JAX, optax and blackjax, never ``bayespot``.
"""

from samplers.amagold import amagold
from samplers.baoab import baoab
from samplers.base import Estimator, Info, Sampler, Target
from samplers.cyclical import cyclical
from samplers.diagnostics import (
    Convergence,
    Modes,
    autocorrelation_time,
    convergence,
    modes,
    to_arviz,
)
from samplers.ensemble import ensemble
from samplers.gradients import clip_gradients, control_variates, tempered
from samplers.hmc import hmc
from samplers.laplace import laplace
from samplers.mclmc import mclmc
from samplers.nuts import nuts
from samplers.pilot import Pilot, pilot
from samplers.preconditioners import Preconditioner, diagonal_fisher, fixed, identity, rmsprop
from samplers.psgld import psgld
from samplers.resgld import resgld
from samplers.run import Between, Block, Result, run
from samplers.schedules import constant, cosine_cycles, first_last, hold, polynomial, warm_up
from samplers.sggmc import obabo, sggmc
from samplers.sghmc import sghmc
from samplers.sgld import sgld
from samplers.sgnht import sgnht
from samplers.swag import swag

__all__ = [
    "Between",
    "Block",
    "Convergence",
    "Estimator",
    "Info",
    "Modes",
    "Pilot",
    "Preconditioner",
    "Result",
    "Sampler",
    "Target",
    "amagold",
    "autocorrelation_time",
    "baoab",
    "clip_gradients",
    "constant",
    "control_variates",
    "convergence",
    "cosine_cycles",
    "cyclical",
    "diagonal_fisher",
    "ensemble",
    "first_last",
    "fixed",
    "hmc",
    "hold",
    "identity",
    "laplace",
    "mclmc",
    "modes",
    "nuts",
    "obabo",
    "pilot",
    "polynomial",
    "psgld",
    "resgld",
    "rmsprop",
    "run",
    "sggmc",
    "sghmc",
    "sgld",
    "sgnht",
    "swag",
    "tempered",
    "to_arviz",
    "warm_up",
]
