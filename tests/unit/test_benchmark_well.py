"""The double well that benchmarks share with their peer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from benchmarks.difftre import well


def test_spline_is_the_natural_one():
    with jax.enable_x64():
        values = np.random.default_rng(0).normal(size=well.KNOTS)
        x = np.linspace(0, 1, 777)
        found = well.spline(jnp.asarray(values), jnp.asarray(x))
        knots = np.linspace(0, 1, well.KNOTS)
        np.testing.assert_allclose(found, CubicSpline(knots, values, bc_type="natural")(x))
        clamped = CubicSpline(knots, values, bc_type="clamped")(x)
        assert np.abs(found - clamped).max() > 0.1


def test_density_of_draws_is_the_exact_one():
    """Independent draws of the prior's normal law, and of a wider one."""
    draws = np.random.default_rng(1).normal(0.5, np.sqrt(0.5 / well.PRIOR), 200_000)
    exact = well.exact_density(well.prior(well.GRID), well.GRID)
    found = well.density(jnp.asarray(draws))
    assert float(jnp.mean(found)) == pytest.approx(1.0, abs=1e-4)
    # smooth bins of n draws have variance 28/n times their height
    noise = np.sqrt(28 / len(draws))
    np.testing.assert_allclose(found, exact, atol=5 * noise * np.sqrt(exact.max()))
    wider = well.density(jnp.asarray(0.5 + 1.1 * (draws - 0.5)))
    assert np.abs(wider - exact).max() > 15 * noise * np.sqrt(exact.max())


def test_exact_loss_vanishes_at_the_truth_only():
    knots = np.linspace(0, 1, well.KNOTS)
    truth = {"values": jnp.asarray(well.truth(knots) - well.prior(knots))}
    assert well.exact_loss(truth) < 1e-6
    assert well.exact_loss({"values": jnp.zeros(well.KNOTS)}) > 1
