"""Trainers that simulate, as sections make them; nothing is run."""

import ase
import ase.io
import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from bayespot import build, config
from bayespot.errors import UserError
from bayespot.md import NPT
from bayespot.trainers import DiffTRe, Interleaved, RelativeEntropy, StABlE
from tests.unit.frames import WATER

LJ = {"kind": "lennard_jones", "sigma": 3.4, "epsilon": 0.01, "cutoff": 5.0, "trainable": True}
DENSITY = {"observable": {"kind": "density"}, "value": 1.4}
MEMBERS, REPLICAS = 3, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Argon crystals: six of one cell, six whose cells differ."""
    folder, rng = tmp_path_factory.mktemp("training"), np.random.default_rng(0)
    frames = [bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2) for _ in range(12)]
    for number, atoms in enumerate(frames):
        if number > 5:
            atoms.set_cell(atoms.cell * (1 + 0.001 * number), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
    ase.io.write(folder / "same.xyz", frames[:6], format="extxyz")
    ase.io.write(folder / "varied.xyz", frames[6:], format="extxyz")
    ase.io.write(folder / "krypton.xyz", bulk("Kr", cubic=True), format="extxyz")
    return folder


def _build(folder, trainer, targets=(), **md):
    raw = {
        "potential": LJ,
        "trainer": {"updates": 5, "members": MEMBERS, **trainer},
        "md": {"temperature": 80.0, "steps": 60, "replicas": REPLICAS, "min_distance": 1.0, **md},
        "targets": targets,
    }
    settings = config.parse_fit(raw)
    for part in settings.parts:
        if hasattr(part, "reference"):
            path = folder / part.reference
            settings = settings.model_copy(
                update={"trainer": _with_reference(settings.trainer, path)}
            )
    made = build.read_input(settings)
    return build.trainer(settings, made, jax.random.key(1)), made


def _with_reference(section, path):
    if isinstance(section, config.InterleavedTrainer):
        parts = tuple(_with_reference(part, path) for part in section.parts)
        return section.model_copy(update={"parts": parts})
    return (
        section.model_copy(update={"reference": path}) if hasattr(section, "reference") else section
    )


def _start(folder):
    return {"structure": str(folder / "same.xyz")}


ENTROPY = {"kind": "relative_entropy", "reference": "same.xyz", "frames_per_update": 4}


def test_relative_entropy_starts_from_what_it_is_shown(folder):
    made, read = _build(folder, ENTROPY)
    assert isinstance(made, RelativeEntropy)
    shown = np.stack([a.positions for a in ase.io.read(folder / "same.xyz", ":")])
    np.testing.assert_allclose(made.data[0].positions, shown, atol=1e-5)
    assert made.share == 4
    assert made.starts.shape == (MEMBERS, REPLICAS, 32, 3)
    gaps = np.abs(np.asarray(made.starts)[:, :, None] - shown).max(axis=(-1, -2))
    assert np.all(gaps.min(axis=-1) < 1e-5)
    assert len(np.unique(gaps.argmin(axis=-1))) > 1  # not all from one frame
    assert read.splits is None
    with pytest.raises(UserError, match=r"frame 1 of .*varied.xyz has another cell"):
        _build(folder, {**ENTROPY, "reference": "varied.xyz"})


def test_cells_of_the_reference_count_at_constant_pressure(folder):
    more = {"ensemble": "npt", "start": _start(folder)}
    made, _ = _build(folder, {**ENTROPY, "reference": "varied.xyz"}, **more)
    cells = np.stack([a.cell.array for a in ase.io.read(folder / "varied.xyz", ":")])
    np.testing.assert_allclose(made.data[0].cell, cells, rtol=1e-6)
    assert np.ptp(cells[:, 0, 0]) > 0.01
    with pytest.raises(UserError, match=r"same.xyz has other sites than the simulation"):
        _build(folder, ENTROPY, start={**_start(folder), "repeat": [2, 1, 1]})
    with pytest.raises(UserError, match=r"same.xyz holds elements \[18\] that training lacks"):
        _build(folder, {**ENTROPY, "reference": "krypton.xyz"}, start=_start(folder))


def test_targets_that_no_parameter_moves(folder):
    with pytest.raises(UserError, match="target density is that of the cell, which never changes"):
        _build(folder, {"kind": "difftre"}, [DENSITY], start=_start(folder))
    with pytest.raises(UserError, match="difftre need canonical averages"):
        _build(folder, {"kind": "difftre"}, [DENSITY], start=_start(folder), ensemble="nve")


def test_state_points_of_difftre(folder):
    targets = [DENSITY, {**DENSITY, "point": 1, "weight": 2.0}]
    made, _ = _build(
        folder, {"kind": "difftre", "trust": 0.3}, targets, start=_start(folder),
        ensemble="npt", temperature=[80.0, 90.0], pressure=[0.0, 0.1], equilibration=40,
    )  # fmt: skip
    assert isinstance(made, DiffTRe)
    points = made.resampler.points
    assert [(p.temperature, p.pressure, p.replicas) for p in points] == [
        (80.0, 0.0, (0, 1)), (90.0, 0.1, (2, 3)),
    ]  # fmt: skip
    assert isinstance(made.resampler.simulation.ensemble, NPT)
    assert made.resampler.frames == 6
    assert (made.trust, made.recompute) == (0.3, 0.9)
    assert [t.weight for t in made.averages.targets] == [1.0, 2.0]


def test_stable_and_turns(folder):
    stable = {"kind": "stable", "rewind": 3, "f_max": 0.4, "states": 5}
    made, _ = _build(
        folder, stable, [{"observable": {"kind": "rdf", "bins": 2}, "value": [0.0, 1.0]}],
        start=_start(folder),
    )  # fmt: skip
    assert isinstance(made, StABlE)
    assert (made.rewind, made.f_max, made.f_min, made.replicas) == (3, 0.4, 0.1, REPLICAS)
    assert made.simulation.stability.min_distance == 1.0
    with pytest.raises(UserError, match="nothing says when a trajectory is unstable"):
        _build(
            folder,
            stable,
            [{"observable": {"kind": "rdf", "bins": 2}, "value": [0.0, 1.0]}],
            start=_start(folder),
            min_distance=0.0,
        )
    parts = {"kind": "interleaved", "parts": [ENTROPY, {"kind": "difftre"}], "turns": [1, 2],
             "tolerance": 3.0}  # fmt: skip
    both, _ = _build(folder, parts, [DENSITY], ensemble="npt", start=_start(folder))
    assert isinstance(both, Interleaved)
    assert list(both.trainers) == ["relative_entropy", "difftre"]
    assert (both.turns, both.tolerance) == ((1, 2), 3.0)


@pytest.fixture(scope="module")
def waters(tmp_path_factory):
    """Eight frames of four molecules in a periodic cell, wrapped, with forces."""
    folder, rng = tmp_path_factory.mktemp("waters"), np.random.default_rng(0)
    frames = []
    for _ in range(8):
        places = 4.0 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) + rng.uniform(0, 1)
        atoms = ase.Atoms("OH2" * 4, np.concatenate([WATER + p for p in places]), cell=[8.0] * 3,
                          pbc=True)  # fmt: skip
        atoms.rattle(0.02, rng=rng)
        atoms.wrap()
        forces = rng.normal(size=(12, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-14.0, forces=forces, stress=np.zeros(6))
        frames.append(atoms)
    ase.io.write(folder / "train.xyz", frames[:6], format="extxyz")
    ase.io.write(folder / "test.xyz", frames[6:], format="extxyz")
    return folder


SITES = {"groups": [[0, 1, 2]], "elements": ["O"], "molecules": 4}


def _mapped(waters, mapping, **more):
    data = {name: str(waters / f"{name}.xyz") for name in ("train", "test")}
    trainer = {"kind": "force_matching", "updates": 2, "mapping": mapping,
               "weights": {"energy": 0.0, **more}}  # fmt: skip
    settings = config.parse_fit({"data": data, "potential": LJ, "trainer": trainer})
    return build.read_input(settings), settings


def test_labels_of_atoms_become_those_of_sites(waters, tmp_path):
    """Forces on molecules, by groups and by the matrices of a file; energies are gone."""
    made, settings = _mapped(waters, SITES)
    atoms = ase.io.read(waters / "test.xyz", ":")
    frame = made.splits.test.frames[1]
    total = atoms[1].get_forces().reshape(4, 3, 3).sum(axis=1)
    np.testing.assert_allclose(frame.forces, total, atol=1e-6)
    assert frame.atoms.get_chemical_formula() == "O4"
    np.testing.assert_allclose(frame.atoms.get_masses(), 18.015, atol=1e-3)
    assert (frame.energy, frame.stress) == (0.0, None)
    assert made.splits.shift.of(frame.atoms.numbers) == 0
    trainer = build.trainer(settings, made, jax.random.key(0))
    params = jax.vmap(lambda k: made.potential.init(k, made.system))(
        jax.random.split(jax.random.key(0), 2)
    )
    _, record = trainer.update(trainer.init(jax.random.key(1), params))
    assert "forces_rmse" in record
    assert "energy_rmse" not in record
    with pytest.raises(UserError, match="frames have forces only"):
        _mapped(waters, SITES, energy=1.0)
    # two sites in a molecule, of which one has all the forces but those of an atom
    path = tmp_path / "map.npz"
    weights = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    np.savez(path, positions=weights)
    by_file = {"file": str(path), "elements": ["O", "H"], "molecules": 4}
    made, _ = _mapped(waters, by_file)
    frame = made.splits.test.frames[1]
    pulls = atoms[1].get_forces().reshape(4, 3, 3)
    pairs = np.stack([pulls[:, :2].sum(axis=1), pulls[:, 2]], axis=1).reshape(8, 3)
    np.testing.assert_allclose(frame.forces, pairs, atol=1e-6)
    gaps = frame.atoms.positions.reshape(4, 2, 3)
    assert np.linalg.norm(gaps[:, 1] - gaps[:, 0], axis=1).max() < 2  # whole molecules
    # what fluctuates least in the training frames, and is the same for the others
    quiet, _ = _mapped(waters, {**by_file, "forces": "least_noise"})
    train = [x.splits.train.frames for x in (quiet, made)]
    power = [np.mean([f.forces**2 for f in frames]) for frames in train]
    assert power[0] < power[1]
    assert np.abs(quiet.splits.test.frames[1].forces - frame.forces).max() > 0.01
    for arrays, match in (
        ({"positions": weights, "forces": np.eye(2, 3)}, "sum_k d_1,k c_1,k is 0 and should be 1"),
        ({"positions": weights[:1]}, "has 1 sites, and elements of mapping are 2"),
        ({"matrix": weights}, "holds matrix"),
        ({"positions": np.eye(2)}, r"12 atoms, which are no 4 molecules of 2"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(UserError, match=match):
            _mapped(waters, by_file)
    path.write_text("no npz")
    with pytest.raises(UserError, match="is no npz of matrices"):
        _mapped(waters, by_file)


def test_stable_of_molecules_in_a_periodic_cell(waters):
    """Bonds and their mean lengths from the neighbourhoods, a structure that must not drift."""
    rdf = {"kind": "rdf", "name": "o_o", "high": 3.9, "bins": 3, "elements": ["O", "O"]}
    bonds = {"kind": "bond_lengths", "atoms": [[0, 1], [0, 2]], "low": 0.5, "high": 1.5, "bins": 2}
    trainer = {
        "kind": "stable", "rewind": 2,
        "structure": [{"observable": rdf, "value": [0.0, 0.5, 1.0], "threshold": 2.0, "blocks": 2}],
        "neighborhoods": {"atoms": [0, 1, 2], "molecules": 4, "bonds": [[0, 1], [0, 2]],
                          "bins": 7, "per_bin": 0},
    }  # fmt: skip
    target = {"observable": bonds, "value": [1.0, 1.0]}
    more = {"start": {"structure": str(waters / "train.xyz")}, "max_bond_deviation": 0.3,
            "min_distance": 0.0, "temperature": 300.0}  # fmt: skip
    made, read = _build(waters, trainer, [target], **more)
    parts = read.neighborhoods
    assert parts.groups == ((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11))
    assert (parts.bins, parts.per_bin) == (7, None)
    np.testing.assert_allclose(parts.lengths, [0.96, 0.96], atol=0.03)
    known = made.simulation.stability
    assert known.bonds[2:4] == ((3, 4), (3, 5))
    assert known.lengths == parts.lengths * 4
    assert known.max_bond_deviation == 0.3
    (criterion,) = made.structure
    assert criterion.observable == made.simulation.observables[0]
    assert (criterion.observable.pair, criterion.threshold, criterion.blocks) == ((8, 8), 2.0, 2)
    np.testing.assert_array_equal(criterion.reference, [0.0, 0.5, 1.0])
    assert read.measured[0].observable.groups == parts.groups
    assert read.targets[0].observable.name == read.measured[0].observable.name
    for key, change, match in (
        ("neighborhoods", {"molecules": 5}, "which are no 5 molecules"),
        ("neighborhoods", {"atoms": [0, 1, 3]}, "with atoms 0 to 3"),
        ("neighborhoods", {"bonds": [[0, 3]]}, "bonds are pairs of different places"),
        ("neighborhoods", {"molecules": 6, "atoms": [0, 1], "bonds": [[0, 1]]},
         "molecule 1 of .* has other atoms"),
    ):  # fmt: skip
        changed = {**trainer, key: {**trainer[key], **change}}
        with pytest.raises(UserError, match=match):
            _build(waters, changed, [target], **more)
    for change, match in (
        ({"value": [0.0, 1.0]}, "structure o_o has 2 values, and the observable 3"),
        ({"blocks": 3}, "blocks = 3 simulations, and an update has rewind = 2"),
    ):
        changed = {**trainer, "structure": [{**trainer["structure"][0], **change}]}
        with pytest.raises(UserError, match=match):
            _build(waters, changed, [target], **more)
    far = {"observable": {**bonds, "atoms": [[0, 3]]}, "value": [1.0, 1.0]}
    with pytest.raises(UserError, match=r"atoms \[0, 3\] in a molecule of 3"):
        _build(waters, trainer, [far], **more)
    # without neighbourhoods nothing tells which atoms of a cell are bonded
    alone = {k: v for k, v in trainer.items() if k not in ("neighborhoods", "structure")}
    with pytest.raises(UserError, match="nothing says when a trajectory is unstable"):
        _build(waters, alone, [target], **more)


def test_potentials_without_parameters_and_unknown_start(folder):
    raw = {"potential": {**LJ, "trainable": False}, "trainer": {"kind": "difftre", "updates": 1},
           "md": {"temperature": 80.0, "start": _start(folder)}, "targets": [DENSITY]}  # fmt: skip
    with pytest.raises(UserError, match="lennard_jones has no parameters to train"):
        build.read_input(config.parse_fit(raw))
    raw["md"]["start"] = {"structure": str(folder / "no.xyz")}
    with pytest.raises(UserError, match=r"there is no structure .*no.xyz"):
        build.read_input(config.parse_fit(raw))
