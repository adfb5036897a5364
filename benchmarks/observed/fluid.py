"""The fluid, what is measured of it, and how long it is simulated."""

import itertools

import jax
import numpy as np
from ase import Atoms

from bayespot.md import NVT, Length, Simulation
from bayespot.observables import RDF, Pressure
from bayespot.potentials import LennardJones
from bayespot.system import System

SIGMA, EPSILON = 3.405, 0.01032  # Angstrom, eV: argon
TRUTH = np.log([SIGMA, EPSILON])
TEMPERATURE = 150.0  # K, 1.25 epsilon/k_B
DENSITY = 0.6  # sigma^-3

EDGE = (64 / DENSITY) ** (1 / 3) * SIGMA
CRYSTAL = (np.array(list(itertools.product(range(4), repeat=3))) + 0.5) / 4 * EDGE
SYSTEM = System.from_ase(Atoms("Ar64", CRYSTAL, cell=[EDGE] * 3, pbc=True))
ARGON = LennardJones(SIGMA, EPSILON, range=8.0, trainable=True)
CURVE, PRESSURE = RDF.of("g(r)", SYSTEM, 8.0, 20), Pressure("pressure")
CURVE_ERROR, PRESSURE_ERROR = 0.1, 0.004  # of one bin; GPa
SEEN = slice(7, None)  # bins with anything in them


def simulation(
    frames: int, keep: int = 1, observables: tuple = (), equilibration: int = 600
) -> Simulation:
    """A frame every 0.2 ps."""
    length = Length(20 * frames, equilibration=equilibration, stride=20, blocks=frames // 10)
    return Simulation(
        ARGON, SYSTEM, NVT(TEMPERATURE, 10.0, friction=0.005), length, observables, keep=keep
    )


def params(log_values: np.ndarray) -> dict[str, jax.Array]:
    """(..., 2) log sigma and log epsilon."""
    return {
        "log_sigma": jax.numpy.asarray(log_values[..., 0], float),
        "log_epsilon": jax.numpy.asarray(log_values[..., 1], float),
    }
