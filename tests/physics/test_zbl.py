"""The universal repulsion against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms, units

from bayespot.neighbors import allocate
from bayespot.potentials import ZBL
from bayespot.potentials.zbl import COULOMB
from bayespot.system import System

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")


def dimer(potential, a, b, d):
    system = System.from_ase(Atoms([a, b], [[0, 0, 0], [1, 0, 0]]))
    neighbors = allocate(system, potential.cutoff)

    def u(x):
        moved = system.replace(positions=system.positions.at[1, 0].set(x))
        return potential.energy({}, moved, neighbors)

    return u(jnp.asarray(d)), jax.grad(u)(jnp.asarray(d))


def formula(a, b, d):
    """Bohr radii and Hartree, where the length is 0.8854 a0/(Z^0.23 + Z^0.23)."""
    bohr = d / units.Bohr
    x = bohr * (a**0.23 + b**0.23) / 0.8854
    phi = (
        0.1818 * np.exp(-3.2 * x)
        + 0.5099 * np.exp(-0.9423 * x)
        + 0.2802 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.2016 * x)
    )
    return a * b / bohr * phi * units.Hartree


@pytest.mark.parametrize("pair", [(14, 14), (1, 8), (22, 6), (92, 1)])
def test_against_the_formula_in_atomic_units(pair):
    for d in (0.05, 0.3, 1.0):
        found = float(dimer(ZBL(1.5, 3.0), *pair, d)[0])
        assert found == pytest.approx(formula(*pair, d), rel=5e-4)
    # control: without screening it is several times as much
    assert formula(*pair, 1.0) < 0.5 * pair[0] * pair[1] * COULOMB


def test_coulomb_constant():
    assert pytest.approx(units.Hartree * units.Bohr, rel=1e-6) == COULOMB


def test_the_nuclei_at_contact():
    """phi(0) = 1: unscreened when very close."""
    found = float(dimer(ZBL(), 14, 14, 0.012)[0])
    assert found == pytest.approx(14**2 * COULOMB / 0.012, rel=0.15)
    x = 0.012 * 2 * 14**0.23 / 0.4685
    slope = 0.18175 * 3.1998 + 0.50986 * 0.94229 + 0.28022 * 0.4029 + 0.02817 * 0.20162
    assert found == pytest.approx(14**2 * COULOMB / 0.012 * (1 - slope * x), rel=0.02)


def test_always_repels_and_the_switch_only_lowers():
    plain, switched = ZBL(3.9, 4.0), ZBL(1.0, 2.0)
    for d in np.linspace(0.02, 1.99, 40):
        value, slope = dimer(switched, 14, 6, d)
        assert slope < 0
        full = float(dimer(plain, 14, 6, d)[0])
        assert float(value) <= full * (1 + 1e-12)
        if d <= 1.0:
            assert float(value) == pytest.approx(full, rel=1e-12)
    assert float(dimer(switched, 14, 6, 2.0)[0]) == 0
