"""Cubic spline against scipy's B-splines, and its ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from scipy.interpolate import BSpline

from bayespot.neighbors import allocate
from bayespot.potentials import CubicSpline
from bayespot.system import System
from tests.physics.helpers import ethanol, silicon

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")


def curve(potential, params, numbers=(6, 6)):
    """Energy of a dimer as a function of its distance."""
    system = System.from_ase(Atoms(numbers, [[0, 0, 0], [1, 0, 0]]))
    neighbors = allocate(system, potential.cutoff)

    def u(d):
        moved = system.replace(positions=system.positions.at[1, 0].set(d))
        return potential.energy(params, moved, neighbors)

    return u


def test_curve_against_scipy():
    potential = CubicSpline(1.5, 4.5, 9)
    free = np.random.default_rng(0).normal(size=9)
    u = curve(potential, {"pair": jnp.asarray(free)[None]})
    width = 0.3
    knots = 1.5 + width * np.arange(-3, 14)
    coefficients = [2 * free[0] - free[1], *free, 0, 0, 0]
    reference = BSpline(knots, coefficients, 3)
    d = np.linspace(1.5, 4.5, 37)
    for n, f in enumerate((u, jax.grad(u), jax.grad(jax.grad(u)))):
        found = [f(x) for x in d[1:-1]]
        np.testing.assert_allclose(
            found, reference.derivative(n)(d[1:-1]) if n else reference(d[1:-1]), atol=1e-10
        )
    # natural at the first knot, and straight below it
    assert abs(reference.derivative(2)(1.5)) < 1e-10
    for x in (0.0, 0.4, 1.4999):
        line = reference(1.5) + (x - 1.5) * reference.derivative(1)(1.5)
        assert float(u(jnp.asarray(x))) == pytest.approx(float(line), rel=1e-9)
    assert float(u(jnp.asarray(4.6))) == 0.0


def test_each_pair_of_species_has_its_curve():
    potential = CubicSpline(1.0, 4.0, 6, (8, 6, 1))
    params = potential.init(jax.random.key(0), System.from_ase(ethanol()))
    at = jnp.asarray(2.0)
    values = {}
    for a in (1, 6, 8):
        for b in (1, 6, 8):
            values[a, b] = float(curve(potential, params, (a, b))(at))
            assert values[a, b] == pytest.approx(values.get((b, a), values[a, b]), rel=1e-12)
    assert len({round(v, 9) for v in values.values()}) == 6


def test_energy_is_design_times_parameters_and_half_lists_serve():
    potential = CubicSpline(1.5, 4.0, 7, (14,))
    system = System.from_ase(silicon())
    params = potential.init(jax.random.key(3), system)
    full = allocate(system, 4.0)
    energy = float(potential.energy(params, system, full))
    design = potential.design(system, full)
    assert design.shape == (7,)
    assert float(design @ params["pair"][0]) == pytest.approx(energy, rel=1e-12)
    half = allocate(system, 4.0, half=True)
    assert float(potential.energy(params, system, half)) == pytest.approx(energy, rel=1e-12)
