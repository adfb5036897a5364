"""How alike numbers of a frame are: by another definition, and what was put in comes out."""

import numpy as np
import pytest
from scipy import stats

from bayespot.calibration.alike import deviates, intraclass, loading_of_sizes
from bayespot.calibration.bootstrap import Resampling


def _frames(frames, size, seed=0):
    return Resampling.of(np.repeat(np.arange(frames), size), seed)


def test_intraclass_correlation_is_that_of_the_f_statistic():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 5)) + rng.normal(size=(12, 1))
    f = stats.f_oneway(*values).statistic
    expected = (f - 1) / (f - 1 + 5)
    assert intraclass(values.ravel(), _frames(12, 5)) == pytest.approx(expected, rel=1e-10)
    # frames of several sizes: Donner's mean size
    sizes = np.array([2, 9, 4, 7, 3, 8])
    frame = np.repeat(np.arange(6), sizes)
    values = rng.normal(size=33) + rng.normal(size=6)[frame]
    f = stats.f_oneway(*(values[frame == i] for i in range(6))).statistic
    size = sizes.mean() - sizes.var(ddof=1) / (6 * sizes.mean())
    found = intraclass(values, Resampling.of(frame, 0))
    assert found == pytest.approx((f - 1) / (f - 1 + size), rel=1e-10)
    # less alike than by chance, and nothing to compare
    assert intraclass(np.tile([1.0, -1.0], 6), _frames(6, 2)) == 0.0
    assert intraclass(rng.normal(size=6), _frames(6, 1)) == 0.0
    assert intraclass(rng.normal(size=6), _frames(1, 6)) == 0.0


@pytest.mark.parametrize("loading", [0.6, 0.85])
def test_the_loading_that_was_put_in_comes_out(loading):
    rng = np.random.default_rng(1)
    resampling = _frames(3000, 8)
    z = deviates(rng, loading, resampling)
    assert np.var(z) == pytest.approx(1.0, abs=0.05)
    assert intraclass(z, resampling) == pytest.approx(loading**2, abs=0.03)
    same = np.zeros(len(z), int)
    assert loading_of_sizes(z, same, resampling) == pytest.approx(loading, abs=0.04)
    # sizes alone count
    flipped = z * rng.choice([-1.0, 1.0], len(z))
    assert loading_of_sizes(flipped, same, resampling) == pytest.approx(loading, abs=0.04)
    shuffled = rng.permutation(z)
    assert loading_of_sizes(shuffled, same, resampling) < loading - 0.2


def test_what_tells_bins_apart_is_no_frames_part():
    """Numbers of a bin have a size of their own, and most of a frame's are in one bin."""
    rng = np.random.default_rng(2)
    resampling = _frames(2000, 8)
    place = (resampling.frame + (rng.random(16_000) < 0.1)) % 3
    z = rng.normal(size=16_000) * np.array([0.3, 1.0, 3.0])[place]
    assert loading_of_sizes(z, place, resampling) < 0.35
    assert loading_of_sizes(z, np.zeros(16_000, int), resampling) > 0.7
