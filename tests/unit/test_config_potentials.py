"""Every potential by name: sections, what they build, and what training frames decide."""

import dataclasses
import math
import tomllib

import ase
import jax
import numpy as np
import pytest
from ase.build import bulk

from bayespot import build, config
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.neighbors import allocate
from bayespot.potentials import (
    MACE,
    BehlerParrinello,
    CubicSpline,
    DimeNetPP,
    GemNetT,
    HarmonicAngles,
    HarmonicBonds,
    LennardJones,
    NequIP,
    PaiNN,
    PairMLP,
    Scaled,
    SchNet,
    StillingerWeber,
    Sum,
    Tabulated,
    UltraFast,
    energy_and_forces,
)
from bayespot.potentials import ZBL as Nuclei
from bayespot.system import System
from tests.unit.frames import WATER, frame

pytestmark = pytest.mark.usefixtures("compile_fast")
TABLE = "\n".join(f"{d:.3f} {math.exp(-2 * d):.6f}" for d in np.linspace(0.5, 4.0, 20))
FIELD = "[[bonds]]\natoms = [0, 1]\nlength = 0.96\nstiffness = 30.0\n"
LJ = {"sigma": 1.5, "epsilon": 0.01, "cutoff": 4.0}
NARROW = {"features": 4, "interactions": 1, "basis": 3}
SMALL = {
    "schnet": NARROW,
    "dimenet_pp": {**NARROW, "degrees": 2, "out_layers": 1},
    "painn": NARROW,
    "nequip": {**NARROW, "hidden": 4},
    "mace": {**NARROW, "hidden": 4, "correlation": 2},
    "gemnet_t": {**NARROW, "triplet_features": 3, "basis_features": 2, "degrees": 2},
    "behler_parrinello": {"hidden": [4]},
    "pair_mlp": {"hidden": [4]},
    "cubic_spline": {"basis": 5},
    "ultra_fast": {"basis": 5, "triplet_basis": 3},
    "stillinger_weber": {"sigma": 1.0, "epsilon": 0.1, "cutoff": 3.0, "strength": 5.0},
    "lennard_jones": LJ,
    "tabulated": {"file": "table.txt"},
    "zbl": {},
    "force_field": {"file": "field.toml"},
}
CLASSES = {
    "schnet": SchNet,
    "dimenet_pp": DimeNetPP,
    "painn": PaiNN,
    "nequip": NequIP,
    "mace": MACE,
    "gemnet_t": GemNetT,
    "behler_parrinello": BehlerParrinello,
    "pair_mlp": PairMLP,
    "cubic_spline": CubicSpline,
    "ultra_fast": UltraFast,
    "stillinger_weber": StillingerWeber,
    "lennard_jones": LennardJones,
    "tabulated": Tabulated,
    "zbl": Nuclei,
    "force_field": Sum,
}
FIXED = ("stillinger_weber", "lennard_jones", "tabulated", "zbl", "force_field")
EACH = pytest.mark.parametrize("kind", CLASSES)


def water(count=6):
    return [
        frame("OH2", n, positions=WATER + np.random.default_rng(n).normal(0, 0.03, (3, 3)))
        for n in range(count)
    ]


def silicon():
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=0)
    forces = np.random.default_rng(0).normal(0, 0.5, (8, 3))
    return [Frame(atoms, -40.0, forces, "si.extxyz", 0)]


def read(folder, potential, **more):
    """Through a file in ``folder``, with the files that some kinds name beside it."""
    raw = {
        "data": {"train": "train.extxyz", "test": "test.extxyz"},
        "potential": potential,
        "md": {"temperature": 300.0},
        "observables": [{"kind": "mean_energy"}],
        **more,
    }
    (folder / "table.txt").write_text(TABLE)
    (folder / "field.toml").write_text(FIELD)
    path = folder / "my.toml"
    import tomli_w

    path.write_text(tomli_w.dumps(raw))
    return config.load(path)


def made(folder, potential, frames):
    return build.potential(read(folder, potential).potential, frames)


def evaluate(potential, atoms):
    system = System.from_ase(atoms)
    params = jax.jit(potential.init)(jax.random.key(0), system)
    neighbors = allocate(system, potential.cutoff)
    compute = jax.jit(lambda p, s: energy_and_forces(potential, p, s, neighbors))
    return [np.asarray(x) for x in compute(params, system)]


def test_the_table_of_this_file_is_complete():
    assert set(config.kinds()) == set(CLASSES) == set(SMALL)


@EACH
def test_builds_and_evaluates(tmp_path, kind):
    frames = water()
    potential = made(tmp_path, {"kind": kind, **SMALL[kind]}, frames)
    assert isinstance(potential, CLASSES[kind])
    energy, forces = evaluate(potential, frames[0].atoms)
    assert np.isfinite(energy)
    assert np.all(np.isfinite(forces))
    assert np.abs(forces).max() > 1e-6


@EACH
def test_options_reach_the_class(tmp_path, kind):
    """Each number of the section arrives under its own name."""
    built = made(tmp_path, {"kind": kind, **SMALL[kind]}, water())
    for name, value in SMALL[kind].items():
        if name != "file":
            name = {"cutoff": "range"}.get(name, name)
            value = tuple(value) if isinstance(value, list) else value
            assert getattr(built, name) == value, name


@pytest.mark.parametrize("kind", [k for k in CLASSES if k not in FIXED] + ["zbl"])
def test_defaults_are_those_of_the_class(kind):
    theirs = {f.name: f.default for f in dataclasses.fields(CLASSES[kind])}
    section = config.parse(
        {
            "data": {"train": "a", "test": "b"},
            "potential": {"kind": kind},
            "md": {"temperature": 1.0},
            "observables": [{"kind": "mean_energy"}],
        }
    ).potential
    compared = 0
    for name, value in section:
        if name in ("kind", "priors", "neighbors", "start", "by_species", "standardize"):
            continue  # the frames decide, or they are no attribute
        name = {"cutoff": "range", "triplet_cutoff": "triplet_range"}.get(name, name)
        assert value == theirs[name], name
        compared += 1
    named = {"species", "means", "spreads", "neighbors", "start", "temperature"}
    assert compared == len(set(theirs) - named)  # none forgotten


@EACH
def test_typos_are_named(tmp_path, kind):
    section = config.kinds()[kind]
    for name in set(section.model_fields) - {"kind", "A", "B", "p", "q"}:
        wrong = name[:-1] + "z" + name[-1]
        with pytest.raises(UserError) as caught:
            read(tmp_path, {"kind": kind, **SMALL[kind], wrong: 1})
        assert f"unknown key potential.{wrong} in" in str(caught.value)
        assert f"Did you mean {name}." in str(caught.value)


@EACH
def test_round_trip(tmp_path, kind):
    potential = {"kind": kind, **SMALL[kind], "priors": [{"kind": "zbl"}]}
    once = read(tmp_path, potential)
    assert config.parse(tomllib.loads(config.dumps(once))) == once


@pytest.mark.parametrize(
    ("potential", "words"),
    [
        ({"kind": "painn", "features": 1}, ("potential.features", "equal to 2")),
        ({"kind": "mace", "correlation": 4}, ("potential.correlation", "equal to 3")),
        ({"kind": "gemnet_t", "residuals": [1, 1]}, ("lacks potential.residuals.2",)),
        ({"kind": "schnet", "scale": -1.0}, ("potential.scale", "than 0", "or", "'per_species'")),
        ({"kind": "schnet", "scale": "element"}, ("potential.scale", "number", "'per_species'")),
        ({"kind": "pair_mlp", "scale": "per_species"}, ("potential.scale", "valid number")),
        ({"kind": "behler_parrinello", "form": "G3"}, ("potential.form", "'G4' or 'G5'")),
        ({"kind": "behler_parrinello", "angular": [[0.1, 2.0, 1]]}, ("potential.angular.0.1",)),
        ({"kind": "behler_parrinello", "radial": []}, ("potential.radial", "at least 1")),
        ({"kind": "cubic_spline", "start": 6.0}, ("start 6.0 must be below cutoff 5.0",)),
        ({"kind": "ultra_fast", "start": 4.5}, ("start 4.5 must be below",)),
        ({"kind": "stillinger_weber"}, ('parameters = "silicon"', "sigma, epsilon, cutoff")),
        ({"kind": "stillinger_weber", "sigma": 1.0}, ("give epsilon, cutoff, strength",)),
        ({"kind": "stillinger_weber", "parameters": "silicon", "p": 5}, ("leave out p",)),
        ({"kind": "stillinger_weber", "parameters": "lead"}, ("potential.parameters", "silicon")),
        ({"kind": "lennard_jones", "cutoff": 3.0, "sigma": 1.0}, ("either sigma and epsilon",)),
        ({"kind": "lennard_jones", **LJ, "elements": {"O": {"sigma": 1, "epsilon": 1}}},
         ("either sigma and epsilon, or elements",)),
        ({"kind": "lennard_jones", "cutoff": 3.0, "elements": {"O": {"sigme": 1, "epsilon": 1}}},
         ("unknown key potential.elements.O.sigme", "Did you mean sigma.")),
        ({"kind": "lennard_jones", "cutoff": 3.0, "elements": {"O": {"sigma": 1}}},
         ("lacks potential.elements.O.epsilon",)),
        ({"kind": "zbl", "inner": 3.0}, ("inner 3.0 must be below cutoff 2.0",)),
        ({"kind": "tabulated"}, ("lacks potential.file",)),
    ],
)  # fmt: skip
def test_bad_values(tmp_path, potential, words):
    with pytest.raises(UserError) as caught:
        read(tmp_path, potential)
    assert "my.toml" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


PRIORS = {
    "harmonic_bonds": {"temperature": 300.0},
    "harmonic_angles": {"temperature": 300.0},
    "repulsion": {"sigma": 1.0, "epsilon": 0.1, "cutoff": 3.0},
    "lennard_jones": LJ,
    "stillinger_weber": SMALL["stillinger_weber"],
    "zbl": {},
    "tabulated": {"file": "table.txt"},
    "force_field": {"file": "field.toml"},
}


@pytest.mark.parametrize("kind", PRIORS)
def test_priors_add_their_energy(tmp_path, kind):
    frames = water()
    alone = made(tmp_path, {"kind": "pair_mlp"}, frames)
    both = made(tmp_path, {"kind": "pair_mlp", "priors": [{"kind": kind, **PRIORS[kind]}]}, frames)
    assert both.terms[0] == alone
    system = System.from_ase(frames[0].atoms)
    neighbors = allocate(system, both.cutoff)
    params = both.init(jax.random.key(0), system)
    rest = sum(float(t.energy({}, system, neighbors)) for t in both.terms[1:])
    assert abs(rest) > 1e-6
    total = float(both.energy(params, system, neighbors))
    assert total == pytest.approx(
        float(alone.energy(params[0], system, neighbors)) + rest, rel=1e-4
    )


def test_the_priors_of_this_file_are_all():
    assert set(config.kinds(config.PriorTerm)) == set(PRIORS)


def test_bonded_priors_take_their_constants_from_the_frames(tmp_path):
    frames = water(40)
    terms = [{"kind": k, "temperature": 300.0} for k in ("harmonic_bonds", "harmonic_angles")]
    _, bonds, angles = made(tmp_path, {"kind": "pair_mlp", "priors": terms}, frames).terms
    assert isinstance(bonds, HarmonicBonds)
    assert isinstance(angles, HarmonicAngles)
    assert bonds.bonds == ((0, 1), (0, 2))
    assert angles.angles == ((1, 0, 2),)
    sizes = np.radians([f.atoms.get_angle(1, 0, 2) for f in frames])
    assert angles.sizes[0] == pytest.approx(sizes.mean(), rel=1e-6)
    stiffness = 8.617333e-5 * 300 / sizes.var(ddof=1)
    assert angles.stiffness[0] == pytest.approx(stiffness, rel=1e-5)


def test_bonded_terms_refuse_what_they_cannot_mean(tmp_path):
    prior = {"kind": "harmonic_angles", "temperature": 300.0}
    potential = {"kind": "pair_mlp", "priors": [prior]}
    with pytest.raises(UserError, match=r"frame 0 of si.extxyz is periodic"):
        made(tmp_path, potential, silicon())
    mixed = [*water(2), frame("H2", 7, positions=[[0, 0, 0], [0.7, 0, 0]])]
    with pytest.raises(UserError, match="is not the molecule of"):
        made(tmp_path, potential, mixed)
    with pytest.raises(UserError, match="no angles were found"):
        made(tmp_path, potential, mixed[2:])
    with pytest.raises(UserError, match="no bonds were found"):
        made(tmp_path, potential, [frame("He", 0)])


@pytest.mark.parametrize("kind", ["schnet", "painn", "nequip", "mace"])
def test_neighbors_are_counted_in_the_frames(tmp_path, kind):
    frames = silicon()
    found = made(tmp_path, {"kind": kind, "cutoff": 2.7}, frames)
    assert found.neighbors == 4.0  # of a diamond crystal
    assert made(tmp_path, {"kind": kind, "neighbors": 7.0}, frames).neighbors == 7.0
    with pytest.raises(UserError, match=r"within 1.0 Angstrom"):
        made(tmp_path, {"kind": kind, "cutoff": 1.0}, frames)


@pytest.mark.parametrize("kind", ["cubic_spline", "ultra_fast"])
def test_curves_start_at_the_shortest_distance(tmp_path, kind):
    frames = water()
    least = min((f.atoms.get_all_distances() + 9 * np.eye(3)).min() for f in frames)
    assert made(tmp_path, {"kind": kind}, frames).start == pytest.approx(least, rel=1e-9)
    assert made(tmp_path, {"kind": kind, "start": 0.7}, frames).start == 0.7
    far = [frame("OH2", 0, positions=WATER * 20)]
    with pytest.raises(UserError, match="within"):
        made(tmp_path, {"kind": kind}, far)


def test_one_curve_for_all_or_for_each_pair(tmp_path):
    assert made(tmp_path, {"kind": "cubic_spline"}, water()).species == (1, 8)
    assert made(tmp_path, {"kind": "cubic_spline", "by_species": False}, water()).species == ()


def test_symmetry_functions_are_standardized_over_the_frames(tmp_path):
    """Over the frames a feature has mean 0 and spread 1 on each element; raw ones do not."""
    frames = water(20)
    for wanted in (True, False):
        potential = {"kind": "behler_parrinello", "hidden": [4], "standardize": wanted}
        found = made(tmp_path, potential, frames)
        assert bool(found.means) == wanted
        raw = dataclasses.replace(found, means=(), spreads=())
        rows = []
        for f in frames:
            system = System.from_ase(f.atoms)
            rows.append(np.asarray(raw.features(system, allocate(system, 6.0)))[0])  # oxygen's
        x = np.array(rows)
        if wanted:
            x = (x - np.array(found.means[1])) / np.array(found.spreads[1])
        centred = np.abs(x.mean(axis=0)).max() < 1e-2
        assert centred == wanted


def test_every_element_is_among_the_sampled_frames(tmp_path):
    """One frame of fifty, none of those that are taken, holds the only hydrogen molecule."""
    rare = frame("HF", 3, positions=[[0, 0, 0], [0.92, 0, 0]])
    oxygen = [frame("O2", n, positions=[[0, 0, 0], [1.2 + 0.01 * n, 0, 0]]) for n in range(50)]
    frames = [*oxygen[:2], rare, *oxygen[2:]]
    found = made(tmp_path, {"kind": "behler_parrinello", "hidden": [4]}, frames)
    assert found.species == (1, 8, 9)
    assert np.any(np.array(found.means[0]) != 0)
    assert np.any(np.array(found.means[2]) != 0)


def test_scale_per_species(tmp_path):
    frames = water()
    found = made(tmp_path, {"kind": "painn", **NARROW, "scale": "per_species"}, frames)
    assert isinstance(found, Scaled)
    assert found.potential.scale == 1.0
    oxygen = np.sqrt(np.mean([f.forces[0] ** 2 for f in frames]))
    hydrogen = np.sqrt(np.mean([f.forces[1:] ** 2 for f in frames]))
    assert abs(oxygen - hydrogen) > 0.05 * oxygen
    np.testing.assert_allclose(found.scale, [hydrogen, oxygen], rtol=1e-6)
    still = [dataclasses.replace(f, forces=f.forces * [[0], [1], [1]]) for f in frames]
    with pytest.raises(UserError, match=r"no training frame has a force on O,"):
        made(tmp_path, {"kind": "painn", "scale": "per_species"}, still)


def test_silicon_by_name(tmp_path):
    named = {"kind": "stillinger_weber", "parameters": "silicon"}
    assert made(tmp_path, named, silicon()) == StillingerWeber(species=(14,))
    with pytest.raises(UserError, match="hold H, O, which"):
        made(tmp_path, named, water())


def test_lennard_jones_by_element(tmp_path):
    elements = {"O": {"sigma": 1.5, "epsilon": 0.02}, "H": {"sigma": 1.1, "epsilon": 0.01}}
    potential = {"kind": "lennard_jones", "cutoff": 4.0, "elements": elements}
    found = made(tmp_path, potential, water())
    assert found == LennardJones((1.5, 1.1), (0.02, 0.01), 4.0, species=(8, 1))
    with pytest.raises(UserError, match="hold Si, which"):
        made(tmp_path, potential, silicon())
    with pytest.raises(UserError, match="Xx is no element"):
        made(tmp_path, {**potential, "elements": {"Xx": elements["O"]}}, water())


def test_a_table_between_two_elements(tmp_path):
    potential = {"kind": "tabulated", "file": "table.txt", "pair": ["H", "O"], "fade": 0.3}
    found = made(tmp_path, potential, water())
    assert (found.pair, found.fade, found.cutoff) == ((1, 8), 0.3, 4.0)


@pytest.mark.parametrize("kind", ["tabulated", "force_field"])
def test_paths_are_relative_to_the_file(tmp_path, monkeypatch, kind):
    (tmp_path / "sub").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    name = SMALL[kind]["file"]
    term = {"kind": kind, "file": name}
    found = read(tmp_path / "sub", {**term, "priors": [{"kind": "zbl"}, term]}).potential
    assert found.file == tmp_path.resolve() / "sub" / name
    assert found.priors[1].file == found.file
    build.potential(found, water())
    with pytest.raises(UserError, match=r"sub/none\.txt"):
        made(tmp_path / "sub", {"kind": kind, "file": "none.txt"}, water())


@pytest.mark.parametrize("kind", FIXED)
def test_nothing_to_learn_cannot_be_sampled(tmp_path, kind):
    frames = water()
    whole = read(tmp_path, {"kind": kind, **SMALL[kind], "priors": [{"kind": "zbl"}]})
    potential = build.potential(whole.potential, frames)
    train = build.datasets({"train": frames, "validation": frames, "test": frames}, 4.0).train
    with pytest.raises(UserError, match="no parameters") as caught:
        build.posterior(whole.posterior, potential, train)
    for name in CLASSES:
        assert (name in caught.value.fix) == (
            name not in FIXED or name in ("stillinger_weber", "lennard_jones")
        )


@pytest.mark.parametrize("kind", ["stillinger_weber", "lennard_jones"])
def test_trainable_constants_can_be_sampled(tmp_path, kind):
    frames = water()
    whole = read(tmp_path, {"kind": kind, **SMALL[kind], "trainable": True})
    potential = build.potential(whole.potential, frames)
    train = build.datasets({"train": frames, "validation": frames, "test": frames}, 4.0).train
    posterior = build.posterior(whole.posterior, potential, train)
    start = posterior.init(jax.random.key(0))
    assert float(start["potential"]["log_sigma"]) == pytest.approx(np.log(SMALL[kind]["sigma"]))


def test_molecules_of_one_kind_only_where_bonds_are_named(tmp_path):
    """A network alone takes frames of any composition."""
    mixed = [*water(2), frame("H2", 7, positions=[[0, 0, 0], [0.7, 0, 0]])]
    assert made(tmp_path, {"kind": "schnet"}, mixed).species == (1, 8)
    assert isinstance(mixed[2].atoms, ase.Atoms)
