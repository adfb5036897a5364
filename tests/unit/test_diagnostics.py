"""Diagnostics of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from samplers import (
    Target,
    autocorrelation_time,
    constant,
    convergence,
    modes,
    plots,
    resgld,
    run,
    to_arviz,
)


def test_convergence_sees_stuck_and_slow_chains():
    rng = np.random.default_rng(0)
    good = rng.normal(size=(4, 500))
    stuck = good + np.array([0, 0, 0, 4.0])[:, None]
    slow = np.cumsum(good, axis=1)
    made = convergence(np.stack([good, stuck, slow], axis=-1))
    assert made.rhat[0] < 1.01
    assert made.rhat[1] > 1.5
    assert made.ess_bulk[0] > 1500
    assert made.ess_bulk[2] < 100
    assert made.mcse_mean[0] == pytest.approx(1 / np.sqrt(2000), rel=0.15)
    with pytest.raises(ValueError, match="chain, draw, quantity"):
        convergence(good)


def _result():
    def log_density(x, batch=None):
        return -0.5 * jnp.sum((x["w"] / jnp.asarray([1.0, 3.0])) ** 2)

    target = Target(log_density, log_density, 1)
    sampler = resgld(target, constant(0.2), (1.0, 2.0, 4.0), swap_every=5, num_estimates=0)
    return run(
        jax.random.key(0), sampler, {"w": jnp.zeros((4, 2))}, num_burn_in=20, num_draws=50,
        thinning=2, watch=lambda p: p["w"] ** 2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return _result()


def test_arviz_object_holds_everything(result):
    data = to_arviz(result)
    np.testing.assert_array_equal(data["posterior"]["w"], result.draws["w"])
    np.testing.assert_array_equal(data["posterior"]["watched"], result.draws["w"] ** 2)
    stats = data["sample_stats"]
    assert set(stats) >= {
        "lp", "acceptance_rate", "step_size", "diverging", "swap_rate", "replica", "swap_noise",
    }  # fmt: skip
    assert np.asarray(stats["replica"]).shape == (4, 50, 3)
    assert np.asarray(stats["diverging"]).dtype == bool


def test_autocorrelation_time_of_a_known_chain():
    rng = np.random.default_rng(0)
    phi, steps = 0.9, 20_000
    noise = rng.normal(size=(4, steps))
    x = np.zeros((4, steps))
    for i in range(1, steps):
        x[:, i] = phi * x[:, i - 1] + noise[:, i]
    found = autocorrelation_time(x[:, 1000:, None])
    assert found[0] == pytest.approx((1 + phi) / (1 - phi), rel=0.15)
    assert autocorrelation_time(noise[..., None])[0] == pytest.approx(1.0, rel=0.15)


def test_modes_are_counted_in_function_space():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0] * 5, [4.0] * 5])
    pick = np.array([0, 0, 1, 0])  # chains by mode
    values = centres[pick][:, None] + 0.3 * rng.normal(size=(4, 100, 5))
    found = modes(values)
    assert found.count == 2
    np.testing.assert_allclose(found.weights, [0.75, 0.25])
    assert np.all(found.labels == pick[:, None])
    # one chain that visits both finds both, given what counts as alike
    visiting = np.concatenate([values[:1], values[2:3]], axis=1)
    assert modes(visiting, tolerance=1.0).count == 2
    assert modes(visiting, tolerance=10.0).count == 1
    assert modes(values[:2]).count == 1


def test_plots_show_what_they_say(result):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    data = to_arviz(result)
    energy = plots.trace(data)
    assert len(energy.axes) == 1
    assert len(energy.axes[0].lines) == 4
    np.testing.assert_allclose(
        energy.axes[0].lines[0].get_ydata(), result.info.log_density[0, result.kept]
    )
    assert len(plots.trace(data, "w").axes) == 2
    counts = [p.get_data().values.sum() for a in plots.rank(data, "w").axes for p in a.patches
              if hasattr(p, "get_data")]  # fmt: skip
    assert counts == [50] * 4
    assert len(plots.ladder(data).axes) == 2
    with pytest.raises(KeyError, match="there are"):
        plots.rank(data, "nothing")
    plt.close("all")
