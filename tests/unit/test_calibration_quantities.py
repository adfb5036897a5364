"""Predictions and labels of frames become quantities."""

import dataclasses

import numpy as np
import pytest

from bayespot.calibration import Labels, Predicted, quantities, split
from bayespot.errors import UserError

SIZES = (3, 5, 4)
NUMBERS = [np.array([8, 1, 1]), np.array([6, 1, 1, 1, 1]), np.array([14, 14, 14, 14])]


def _data(members=7, seed=0):
    rng = np.random.default_rng(seed)
    stress = np.stack([x + x.T for x in rng.normal(size=(3, 3, 3))])
    stress[0] = np.nan
    labels = Labels(
        rng.normal(size=3), [rng.normal(size=(n, 3)) for n in SIZES], stress, NUMBERS,
        np.array(["a", "b", ""]), np.array(["in", "in", "out"]),
    )  # fmt: skip
    predicted = Predicted(
        rng.normal(size=(members, 3)), [rng.normal(size=(members, n, 3)) for n in SIZES],
        rng.normal(size=(members, 3, 3, 3)),
        {"energy": np.full(members, 0.5) + np.arange(members) - 3, "forces": 0.04}, "mine",
    )  # fmt: skip
    return predicted, labels


def test_quantities_have_their_units_and_groups():
    predicted, labels = _data()
    made = {q.name: q for q in quantities(predicted, labels)}
    assert list(made) == ["energy", "forces", "force_vectors", "stress"]
    energy = made["energy"]
    np.testing.assert_allclose(energy.truth, labels.energy / SIZES)
    np.testing.assert_allclose(energy.samples, predicted.energy / SIZES)
    np.testing.assert_allclose(energy.noise_variance, 0.5 / np.square(SIZES))
    assert energy.groups["config_type"].tolist() == ["a", "b", "other"]
    assert energy.label == "energy per atom"
    forces = made["forces"]
    assert forces.truth.shape == (36,)
    assert np.bincount(forces.cluster).tolist() == [9, 15, 12]
    assert (
        forces.groups["element"].tolist()
        == ["O"] * 3 + ["H"] * 6 + ["C"] * 3 + ["H"] * 12 + ["Si"] * 12
    )
    np.testing.assert_allclose(forces.noise_variance, 0.04)
    np.testing.assert_allclose(forces.truth[9:24].reshape(5, 3), labels.forces[1])
    np.testing.assert_allclose(forces.samples[2, 9:24].reshape(5, 3), predicted.forces[1][2])
    vectors = made["force_vectors"]
    assert vectors.samples.shape == (7, 12, 3)
    stress = made["stress"]
    assert stress.cluster.tolist() == [1] * 6 + [2] * 6
    np.testing.assert_allclose(stress.truth[:6], labels.stress[1][np.triu_indices(3)])
    np.testing.assert_allclose(stress.noise_variance, 0.0)


def test_groups_of_magnitude_are_of_predicted_forces():
    rng = np.random.default_rng(1)
    truth = [rng.normal(size=(40, 3)) for _ in range(3)]
    numbers = [np.full(40, 14)] * 3
    labels = Labels(np.zeros(3), truth, None, numbers, np.array([""] * 3), np.array(["in"] * 3))
    forces = [rng.normal(size=(5, 40, 3)) for _ in range(3)]
    predicted = Predicted(np.zeros((5, 3)), forces)
    vectors = next(q for q in quantities(predicted, labels) if q.name == "force_vectors")
    assert set(vectors.groups) == {"magnitude"}
    size = np.linalg.norm(vectors.samples.mean(axis=0), axis=1)
    low = np.char.startswith(vectors.groups["magnitude"], "below")
    high = np.char.startswith(vectors.groups["magnitude"], "above")
    assert size[low].max() < size[high].min()
    assert low.sum() == high.sum() == 40


def test_what_symmetry_makes_zero_is_left_out():
    predicted, labels = _data()
    labels.forces[2][:, 2] = 1e-9
    predicted.forces[2][:, :, 2] = 0.0
    made = {q.name: q for q in quantities(predicted, labels)}
    assert len(made["forces"].truth) == 32
    assert len(made["force_vectors"].truth) == 8
    # a label there is a failure of the members, and stays
    labels.forces[2][:, 2] = 0.5
    assert len(quantities(predicted, labels)[1].truth) == 36


def test_missing_labels_and_few_members():
    predicted, labels = _data(members=4)
    labels.energy[:] = np.nan
    labels.forces[0][:] = np.nan
    made = {q.name: q for q in quantities(dataclasses.replace(predicted, noise={}), labels)}
    assert set(made) == {"forces", "stress"}  # four members have no covariance worth the name
    assert set(made["forces"].cluster) == {1, 2}
    without = dataclasses.replace(predicted, stress=None)
    assert "stress" not in [q.name for q in quantities(without, labels)]


def test_mistakes_are_named():
    predicted, labels = _data()
    predicted.forces[1][3, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"member 3 of mine .* forces for frame 1"):
        quantities(predicted, labels)
    with pytest.raises(UserError, match="predictions for 2 frames"):
        quantities(predicted.select(np.array([0, 1])), labels)
    lost = dataclasses.replace(
        labels, energy=np.full(3, np.nan), stress=None,
        forces=[np.full_like(f, np.nan) for f in labels.forces],
    )  # fmt: skip
    with pytest.raises(UserError, match="no frame has a label"):
        quantities(_data()[0], lost)


def test_splits_are_disjoint_and_alike():
    names = np.array(["a"] * 60 + ["b"] * 20 + ["c"] * 3)
    none = [np.zeros((1, 3))] * 83
    labels = Labels(np.zeros(83), none, None, [np.array([1])] * 83, names, np.array(["in"] * 83))
    shares = []
    for seed in range(40):
        first, second = split(labels, 0.3, seed)
        assert sorted([*first, *second]) == list(range(83))
        assert np.sum(names[first] == "a") == pytest.approx(18, abs=1)
        assert np.sum(names[first] == "b") == pytest.approx(6, abs=1)
        shares.append(np.sum(names[first] == "c"))
        part = labels.select(first)
        assert part.config_type.tolist() == names[first].tolist()
    assert np.mean(shares) == pytest.approx(0.9, abs=0.35)
    again = split(labels, 0.3, 5)
    assert [x.tolist() for x in split(labels, 0.3, 5)] == [x.tolist() for x in again]
    with pytest.raises(UserError, match="cannot be split"):
        split(labels.select(np.array([0])), 0.3, 0)
