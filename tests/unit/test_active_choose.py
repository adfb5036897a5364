"""Choosing: information of batches against brute force, and structures that repeat each other."""

import itertools

import numpy as np
import pytest
from ase.build import bulk, molecule

from bayespot.active import (
    Fingerprints,
    Seen,
    candidates,
    choose,
    closest,
    difference,
    fingerprint,
    information,
)
from bayespot.errors import UserError

MEMBERS, ATOMS = 6, 3


def made(frames=8, seed=0, scale=None):
    """Candidates of independent disagreement; structures are rattled molecules."""
    rng = np.random.default_rng(seed)
    scale = np.ones(frames) if scale is None else np.asarray(scale)
    forces = [s * rng.normal(size=(MEMBERS, ATOMS, 3)) for s in scale]
    structures = [molecule("H2O") for _ in range(frames)]
    for atoms in structures:
        atoms.rattle(0.2, rng=rng)
    return 0.1 * scale * rng.normal(size=(MEMBERS, frames)), forces, structures


def looked_at(energy, forces, structures, noise=(0.05, 0.3)):
    return candidates(energy, forces, *noise, Fingerprints(structures))


def test_the_kernel_is_what_it_says():
    energy, forces, structures = made(4)
    looked = looked_at(energy, forces, structures)
    rows = [
        np.concatenate([(e - e.mean())[:, None] / 0.05,
                        (f - f.mean(axis=0)).reshape(MEMBERS, -1) / 0.3], axis=1)
        for e, f in zip(energy.T, forces, strict=True)
    ]  # fmt: skip
    grams = [d @ d.T / (MEMBERS - 1) for d in rows]
    differ = difference(fingerprint(structures[1]), fingerprint(structures[3]))
    alike = np.sum(grams[1] * grams[3]) / np.linalg.norm(grams[1]) / np.linalg.norm(grams[3])
    size = np.sqrt(np.trace(grams[1]) * np.trace(grams[3]))
    expected = size * alike * np.exp(-0.5 * (differ / looked.shapes.scale) ** 2)
    assert looked.kernel(1)[3] == pytest.approx(expected)
    assert looked.kernel(1)[1] == pytest.approx(np.trace(grams[1]))
    full = np.stack([looked.kernel(i) for i in range(4)])
    assert np.linalg.eigvalsh(full).min() > 0
    assert information(looked, range(4)) == pytest.approx(
        0.5 * np.log(np.linalg.det(np.eye(4) + full))
    )
    # variances of labels over noise: what the trace is
    assert looked.signal[2] == pytest.approx(np.sum(rows[2].var(axis=0, ddof=1)))
    assert looked.uncertainty[0] == pytest.approx(np.sqrt(np.mean(forces[0].var(axis=0, ddof=1))))


def test_greedy_is_near_the_best_batch_and_beats_the_most_uncertain():
    best, greedy, uncertain = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(100 + seed)
        looked = looked_at(*made(9, seed, scale=rng.uniform(0.5, 1.5, 9)))
        told = [information(looked, batch) for batch in itertools.combinations(range(9), 3)]
        best.append(max(told))
        greedy.append(information(looked, choose(looked, 3)))
        uncertain.append(information(looked, choose(looked, 3, "uncertainty")))
    share = np.array(greedy) / best
    assert np.all(share >= 1 - np.exp(-1))
    assert share.mean() > 0.98
    assert np.mean(uncertain) < np.mean(greedy)


def test_the_order_is_that_of_conditional_variances():
    """Against a plain greedy search over determinants."""
    looked = looked_at(*made(10, 3, scale=np.linspace(0.5, 1.5, 10)))
    chosen: list[int] = []
    for _ in range(6):
        rest = [i for i in range(10) if i not in chosen]
        chosen.append(max(rest, key=lambda i: information(looked, [*chosen, i])))
    assert choose(looked, 6) == chosen


def test_copies_are_chosen_last_and_by_uncertainty_first():
    energy, forces, structures = made(5, 1, scale=[1, 1, 1, 1, 1.5])
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    energy = np.concatenate([energy, energy[:, [4]]], axis=1)
    forces = [*forces, forces[4][:, [0, 2, 1]] @ turn]  # rotated, and like atoms exchanged
    copy = structures[4][[0, 2, 1]]
    copy.positions = copy.positions @ turn
    looked = looked_at(energy, forces, [*structures, copy])
    np.testing.assert_allclose(looked.gram[4], looked.gram[5])
    order = choose(looked, 6)
    assert order[0] in (4, 5)
    assert order[-1] in (4, 5)
    assert set(choose(looked, 2, "uncertainty")) == {4, 5}  # what uncertainty alone does


def test_among_equally_uncertain_frames_the_batch_spreads():
    """Three clusters of structures in which the members differ by the same amount."""
    rng = np.random.default_rng(4)
    bases = []
    for stretch in (0.9, 1.0, 1.3):
        atoms = molecule("H2O")
        atoms.positions *= stretch
        bases.append((atoms, rng.normal(size=(MEMBERS, ATOMS, 3))))
    structures, forces = [], []
    for atoms, differ in bases:
        for _ in range(6):
            structures.append(atoms.copy())
            structures[-1].rattle(0.005, rng=rng)
            forces.append(differ + 0.05 * rng.normal(size=differ.shape))
    looked = looked_at(np.zeros((MEMBERS, 18)), forces, structures)
    assert sorted(i // 6 for i in choose(looked, 3)) == [0, 1, 2]
    spread = [
        len({i // 6 for i in choose(looked, 3, "random", rng=np.random.default_rng(s))})
        for s in range(40)
    ]
    assert np.mean(spread) < 2.6  # a control: by chance they rarely do


def test_a_hot_spot_does_not_take_the_whole_batch():
    """A frame twice as uncertain as the rest is chosen, its neighbours in time are not."""
    rng = np.random.default_rng(5)
    _, forces, structures = made(12, 6)
    for _ in range(6):  # a trajectory that stays at frame 0
        structures.append(structures[0].copy())
        structures[-1].rattle(0.01, rng=rng)
        forces.append(forces[0] + 0.1 * rng.normal(size=forces[0].shape))
    near = [0, *range(12, 18)]
    forces = [2 * f if i in near else f for i, f in enumerate(forces)]
    looked = looked_at(np.zeros((MEMBERS, 18)), forces, structures)
    assert sum(i in near for i in choose(looked, 6)) <= 2
    assert sum(i in near for i in choose(looked, 6, "uncertainty")) == 6


def test_refused_frames_leave_room_for_others():
    looked = looked_at(*made(6))
    for how in ("information", "uncertainty", "random"):
        rng = np.random.default_rng(0)
        got = choose(looked, 4, how, rng=rng, allowed=lambda frame, chosen: frame % 2 == 0)
        assert sorted(got) == [0, 2, 4]

        # at most one of every pair
        def apart(frame, chosen):
            return all(frame // 2 != c // 2 for c in chosen)

        pairs = choose(looked, 6, how, rng=rng, allowed=apart)
        assert sorted(c // 2 for c in pairs) == [0, 1, 2]


def test_random_is_random():
    looked = looked_at(*made(20))
    firsts = {choose(looked, 1, "random", rng=np.random.default_rng(i))[0] for i in range(40)}
    assert len(firsts) > 10
    assert len({choose(looked, 1)[0] for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda e, f, s: looked_at(e[:1], [x[:1] for x in f], s), "one member has no spread"),
        (lambda e, f, s: looked_at(e, f, s, (0.0, 1.0)), "noise of labels is 0.0"),
    ],
)
def test_mistakes(call, text):
    with pytest.raises(UserError, match=text):
        call(*made())


def test_fingerprints_know_no_orientation_and_no_order_of_atoms():
    atoms = molecule("CH3CH2OH")
    rng = np.random.default_rng(0)
    moved = atoms.copy()
    moved.rotate(70, (1, 2, 3))
    moved.translate([3, 1, 2])
    moved = moved[rng.permutation(len(moved))]
    assert difference(fingerprint(atoms), fingerprint(moved)) < 1e-10
    shaken = atoms.copy()
    shaken.rattle(0.05, rng=rng)
    assert 0.01 < difference(fingerprint(atoms), fingerprint(shaken)) < 0.1
    crystal = bulk("Si", cubic=True)
    shifted = crystal.copy()
    shifted.translate([0.3, 4.0, -1.0])
    shifted.wrap()
    assert difference(fingerprint(crystal), fingerprint(shifted)) < 1e-6
    strained = crystal.copy()
    strained.set_cell(crystal.cell * 1.02, scale_atoms=True)
    assert difference(fingerprint(crystal), fingerprint(strained)) > 0.02
    many = Fingerprints([atoms, shaken, crystal, strained, moved])
    expected = [difference(fingerprint(atoms), fingerprint(a)) for a in (atoms, shaken)]
    np.testing.assert_allclose(many.distances(0)[:2], expected)
    assert many.distances(0)[4] < 1e-10
    assert np.isinf(many.distances(0)[2:4]).all()
    assert many.distances(2)[3] == pytest.approx(
        difference(fingerprint(crystal), fingerprint(strained)), rel=1e-6
    )
    seen = Seen([atoms])
    assert seen.nearest(shaken) == pytest.approx(
        difference(fingerprint(atoms), fingerprint(shaken))
    )
    seen.add(shaken)
    assert seen.nearest(shaken) == 0
    assert seen.nearest(crystal) == np.inf


def test_atoms_on_top_of_each_other_are_unphysical():
    atoms = molecule("CH3CH2OH")
    assert 0.9 < closest(atoms) < 1.1  # bonds
    atoms.positions[1] = atoms.positions[0] + [0.5, 0, 0]
    assert closest(atoms) == pytest.approx(0.5 / 1.52)
    assert closest(molecule("H2")[:1]) == np.inf
    crystal = bulk("Si", cubic=True)
    crystal.positions[0] += crystal.cell[0] - [0.9, 0, 0]  # across a face: nothing changed but that
    apart = crystal.get_distances(0, range(1, 8), mic=True).min()
    assert closest(crystal) == pytest.approx(apart / 2.22)
