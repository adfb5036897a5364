import numpy as np
import pytest

from benchmarks.lennard_jones.labels import spread_labels

GAP = 0.045


@pytest.mark.parametrize(
    "given",
    [
        [0.5],
        [0.2, 0.8, 0.5],
        [0.5, 0.51, 0.49, 0.9],
        [0.5] * 14,
        [1.2, 1.0, 0.99, 0.2],
        list(np.random.default_rng(0).normal(0.1, 0.1, 14)),
    ],
    ids=["one", "far", "close", "one_spot", "above_the_axes", "crowded_below"],
)
def test_names_are_apart_inside_and_in_order(given):
    made = spread_labels(given, GAP)
    order = np.argsort(given, kind="stable")
    assert np.all(np.diff(made[order]) >= GAP - 1e-12)
    assert np.all((made > 0) & (made < 1))


def test_names_with_room_stay_where_they_are():
    np.testing.assert_allclose(spread_labels([0.7, 0.2, 0.4], GAP), [0.7, 0.2, 0.4])


def test_names_move_no_further_than_they_must():
    # two that meet part evenly, and the third is left alone
    np.testing.assert_allclose(spread_labels([0.51, 0.49, 0.9], 0.1), [0.55, 0.45, 0.9])
    np.testing.assert_allclose(spread_labels([1.0, 0.99], 0.1), [0.97, 0.87])


def test_more_names_than_room_share_what_there_is():
    made = spread_labels([0.5] * 21, 0.1)
    np.testing.assert_allclose(made, np.linspace(0.03, 0.97, 21))
