"""Trainers that simulate, as sections make them; nothing is run."""

import ase.io
import jax
import numpy as np
import pytest
from ase.build import bulk

from bayespot import build, config
from bayespot.errors import UserError
from bayespot.md import NPT
from bayespot.trainers import DiffTRe, Interleaved, RelativeEntropy, StABlE

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
        _build(folder, stable, [DENSITY], start=_start(folder), min_distance=0.0)
    parts = {"kind": "interleaved", "parts": [ENTROPY, {"kind": "difftre"}], "turns": [1, 2],
             "tolerance": 3.0}  # fmt: skip
    both, _ = _build(folder, parts, [DENSITY], ensemble="npt", start=_start(folder))
    assert isinstance(both, Interleaved)
    assert list(both.trainers) == ["relative_entropy", "difftre"]
    assert (both.turns, both.tolerance) == ((1, 2), 3.0)


def test_potentials_without_parameters_and_unknown_start(folder):
    raw = {"potential": {**LJ, "trainable": False}, "trainer": {"kind": "difftre", "updates": 1},
           "md": {"temperature": 80.0, "start": _start(folder)}, "targets": [DENSITY]}  # fmt: skip
    with pytest.raises(UserError, match="lennard_jones has no parameters to train"):
        build.read_input(config.parse_fit(raw))
    raw["md"]["start"] = {"structure": str(folder / "no.xyz")}
    with pytest.raises(UserError, match=r"there is no structure .*no.xyz"):
        build.read_input(config.parse_fit(raw))
