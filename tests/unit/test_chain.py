"""The chain that scales momenta once does what jax-md's does, and to fourth order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from bayespot.md import chain, integrators
from bayespot.system import System
from bayespot.units import BOLTZMANN

KT, TAU = 0.7, 2.0


def _hot(length, time_step):
    """jax-md's functions, momenta of four atoms, and a chain in motion."""
    from jax_md import simulate

    theirs = simulate.nose_hoover_chain(time_step, length, 2, 3, TAU)
    momenta = 3.0 * jax.random.normal(jax.random.key(0), (4, 3), float)
    hot = theirs.initialize(12, jnp.sum(momenta**2) / 2, KT)
    return theirs, momenta, hot.set(momentum=jax.random.normal(jax.random.key(1), (length,), float))


@pytest.mark.parametrize("length", [2, 5])
def test_half_steps_are_those_of_jax_md(length, monkeypatch):
    from jax_md.simulate import SUZUKI_YOSHIDA_WEIGHTS as WEIGHTS

    with jax.enable_x64():
        theirs, momenta, hot = _hot(length, 0.3)
        ours, _ = chain.half_step(hot, KT, 0.3)
        scaled, after = theirs.half_step(momenta, hot, KT)
        assert not np.allclose(ours.momentum, after.momentum, rtol=1e-3)  # other fractions
        monkeypatch.setattr(chain, "FRACTIONS", np.tile(np.asarray(WEIGHTS[3]), 2) / 2)
        ours, factor = chain.half_step(hot, KT, 0.3)
        # jax-md rounds its fractions of a step to single precision
        for name in ("position", "momentum", "kinetic_energy"):
            np.testing.assert_allclose(getattr(ours, name), getattr(after, name), rtol=1e-5)
        np.testing.assert_allclose(factor * momenta, scaled, rtol=1e-6)


def test_the_first_thermostat_has_the_mass_of_all_freedoms():
    """Q_1 = f kT tau^2 (Martyna et al. 1992), where f leaves out what is conserved."""
    atoms = Atoms("Ar3", [[0, 0, 0], [4, 0, 0], [0, 4, 0]])
    made = integrators.nose_hoover(lambda x: 0 * x, 3, True, 1.0, 300.0, 50.0)
    found = made.init(jax.random.key(0), System.from_ase(atoms)).chain
    one = BOLTZMANN * 300.0 * 50.0**2
    assert found.degrees_of_freedom == made.freedoms == 3
    np.testing.assert_allclose(found.mass, [3 * one, one, one, one, one], rtol=1e-5)


def test_error_of_a_half_step_falls_with_the_fifth_power():
    """Third where fractions are jax-md's: the control."""

    def after(time_step, pieces):
        def piece(carry, _):
            made, by = chain.half_step(carry[0], KT, time_step / pieces)
            return (made, by * carry[1]), None

        start = _hot(5, 1.0)[2], jnp.ones(())
        made, scale = jax.jit(lambda x: jax.lax.scan(piece, x, None, pieces)[0])(start)
        return np.append(np.asarray(made.momentum), float(scale))

    def order():
        gaps = [np.abs(after(h, 1) - after(h, 32)).max() for h in (0.1, 0.05)]
        return np.log2(gaps[0] / gaps[1])

    with jax.enable_x64():
        assert 4.6 < order() < 5.4
        with pytest.MonkeyPatch.context() as patch:
            outer = 2 / (4 - 4 ** (1 / 3))
            patch.setattr(chain, "FRACTIONS", np.tile([outer, 1 - 2 * outer, outer], 2) / 2)
            assert 2.6 < order() < 3.4
