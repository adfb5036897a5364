"""Every observable by name: sections, what they build, and what a simulation cannot give."""

import dataclasses
import inspect
import tomllib

import ase
import numpy as np
import pytest
from ase.build import bulk

from bayespot import build, config
from bayespot.build.measurement import CLASSES
from bayespot.data import Frame
from bayespot.errors import UserError

pytestmark = pytest.mark.usefixtures("compile_fast")
KINDS = config.kinds(config.ObservableConfig)
DIHEDRAL = {"kind": "dihedral", "atoms": [0, 1, 2, 3], "bins": 180}
SURFACE = {"kind": "dihedral_surface", "first": [0, 1, 2, 3], "second": [1, 2, 3, 4], "bins": 180}
LAGS = {"lags": 5}
NEEDED = {
    "bond_lengths": {"atoms": [[0, 1], [1, 2]]},
    "bond_angles": {"atoms": [[0, 1, 2]]},
    "dihedral": DIHEDRAL,
    "dihedral_surface": SURFACE,
    "free_energy": {"density": DIHEDRAL},
    "lattice_constant": {"atoms_per_cell": 4},
    **dict.fromkeys(("vacf", "vdos", "msd", "einstein_diffusion", "green_kubo_diffusion"), LAGS),
}
"""Keys without a default."""

MD = {"temperature": 20.0, "time_step": 4.0, "steps": 80, "stride": 4, "blocks": 4,
      "equilibration": 20}  # fmt: skip
PAIR = ["Ar", "Ne"]


def chain():
    steps = np.arange(6)[:, None] * [1.0, 0.0, 0.0]
    turns = np.stack([np.zeros(6), np.cos(np.arange(6)), np.sin(np.arange(6))], axis=1)
    atoms = ase.Atoms("ArNeArNeArNe", 2.4 * steps + 2.4 * turns)
    atoms.rattle(0.2, seed=1)
    return atoms


def crystal():
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 1, 1))
    atoms.symbols[:3] = "Ne"
    atoms.rattle(0.02, seed=0)
    return atoms


def alloy():
    """One atom of neon, whose images are further than 5 Angstrom."""
    atoms = crystal()
    atoms.symbols[1:3] = "Ar"
    return atoms


def parse(*observables, **md):
    return config.parse(
        {
            "data": {"train": "a", "test": "b"},
            "md": {**MD, **md},
            "observables": list(observables),
        },
        "my.toml",
    )


def of(kind, **more):
    return {"kind": kind, **NEEDED.get(kind, {}), **more}


def made(atoms, *observables, **md):
    frames = [Frame(atoms, 0.0, np.zeros((len(atoms), 3)), "made", 0)]
    return build.observables(parse(*observables, **md), frames)


def test_every_kind_has_a_section_and_a_class():
    assert set(KINDS) == set(CLASSES)
    sections = [getattr(config, name) for name in config.__all__ if name.endswith("Observable")]
    assert {id(s) for s in KINDS.values()} == {id(s) for s in sections}


RENAMED = {("rdf", "elements"): "pair", ("adf", "elements"): "triple",
           ("lattice_constant", "atoms_per_cell"): "cells"}  # fmt: skip
SEARCHING = ("rdf", "adf", "tcf", "tetrahedral_order", "tetrahedral_order_distribution")
DECIDED = {
    **dict.fromkeys(SEARCHING, ("search", "images")),
    **dict.fromkeys(("heat_capacity", "isobaric_heat_capacity", "thermal_expansion"),
                    ("pressure", "volume", "reference")),
    **dict.fromkeys(("bulk_modulus", "compressibility"), ("scale",)),
    **dict.fromkeys(("vacf", "vdos", "msd", "einstein_diffusion", "green_kubo_diffusion"),
                    ("interval",)),
}  # fmt: skip
"""What is no key: the simulation says it."""


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_those_of_the_class(kind):
    theirs = {f.name: f.default for f in dataclasses.fields(CLASSES[kind])}
    if hasattr(CLASSES[kind], "of"):
        theirs["room"] = inspect.signature(CLASSES[kind].of).parameters["room"].default
    ours = {}
    for name, field in KINDS[kind].model_fields.items():
        moving = issubclass(KINDS[kind], config.InTime) and name == "element"
        ours["species" if moving else RENAMED.get((kind, name), name)] = field
    assert set(ours) - {"kind"} == set(theirs) - set(DECIDED.get(kind, ()))
    for name, field in ours.items():
        if name not in ("kind", "name") and not field.is_required():
            assert field.default == theirs[name], name
    needed = {n for n, f in KINDS[kind].model_fields.items() if f.is_required()} - {"kind"}
    assert needed == set(NEEDED.get(kind, {})) - {"kind", "bins"}


OPTIONS = [
    (chain, "distances", {"low": 0.5, "high": 9.0, "bins": 7, "smooth": True}),
    (chain, "bond_lengths",
     {"atoms": ((0, 1),), "low": 0.5, "high": 9.0, "bins": 7, "smooth": True}),
    (chain, "bond_angles", {"atoms": ((0, 1, 2), (1, 2, 3)), "bins": 7, "smooth": True}),
    (chain, "dihedral", {"atoms": ((0, 1, 2, 3), (1, 2, 3, 4)), "bins": 7, "smooth": True}),
    (chain, "dihedral_surface", {"first": (1, 2, 3, 4), "second": (0, 1, 2, 3), "smooth": True}),
    (crystal, "rdf", {"high": 3.0, "bins": 7, "smooth": True}),
    (crystal, "adf", {"cutoff": 3.0, "bins": 7, "spread": 0.2, "smooth": True}),
    (crystal, "tcf", {"low": 3.0, "high": 4.0, "bins": 7, "smooth": True}),
    (crystal, "tetrahedral_order", {"cutoff": 4.5}),
    (crystal, "tetrahedral_order_distribution",
     {"cutoff": 4.5, "low": -3.0, "high": 0.5, "bins": 7, "smooth": True}),
    (crystal, "stiffness", {"symmetry": "hexagonal", "quantity": "young", "average": "reuss",
                            "convention": "stress_strain", "reference": (1.0, 2.0, 3.0, 0, 0, 0)}),
    (crystal, "vacf", {"lags": 3, "remove_drift": False, "normalised": True}),
    (crystal, "vdos", {"lags": 3, "remove_drift": False, "taper": "none", "wavenumbers": True}),
    (crystal, "msd", {"lags": 3, "remove_drift": False}),
    (crystal, "einstein_diffusion", {"lags": 3, "remove_drift": False, "fit": (0.0, 0.9)}),
    (crystal, "green_kubo_diffusion", {"lags": 3, "remove_drift": False, "running": True}),
]  # fmt: skip


@pytest.mark.parametrize(("atoms", "kind", "options"), OPTIONS, ids=[row[1] for row in OPTIONS])
def test_options_reach_the_class(atoms, kind, options):
    """Each under its own name; elements as atomic numbers."""
    (built,) = made(atoms(), {**of(kind), "name": "mine", **options})
    assert type(built) is CLASSES[kind]
    for name, value in {"name": "mine", **options}.items():
        assert getattr(built, name) == value, name
    keys = set(KINDS[kind].model_fields) - {"kind", "name", "elements", "element", "room"}
    assert keys - set(options) <= {"bins"}  # none forgotten


def test_what_the_simulation_says():
    one, none, three, atom, moving = made(
        crystal(), of("rdf", elements=PAIR), of("rdf", name="all"),
        of("adf", elements=["Ar", "Ne", "Ar"]), of("tcf", element="Ne"), of("msd", element="Ar"),
    )  # fmt: skip
    assert (one.pair, none.pair, three.triple) == ((18, 10), None, (18, 10, 18))
    assert (atom.element, moving.species, moving.interval) == (10, 18, 16.0)
    roomy = made(crystal(), of("adf", cutoff=4.5, room=5.0))[0].search.slots
    assert roomy > 2 * made(crystal(), of("adf", cutoff=4.5))[0].search.slots
    volume = crystal().get_volume()
    cells, bulk, stiff, capacity, grows = made(
        crystal(), of("lattice_constant"), *map(of, ("bulk_modulus", "compressibility",
        "isobaric_heat_capacity", "thermal_expansion")), ensemble="npt", pressure=0.5,
    )  # fmt: skip
    assert cells.cells == 2
    assert (bulk.scale, stiff.scale, capacity.volume, grows.volume) == (volume,) * 4
    assert (capacity.pressure, grows.pressure) == (0.5, 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_typos_are_named_and_files_come_back(kind):
    once = parse(of(kind))
    assert config.parse(tomllib.loads(config.dumps(once))) == once
    for name in set(KINDS[kind].model_fields) - {"kind"}:
        wrong = name[:-1] + "z" + name[-1]
        with pytest.raises(UserError) as caught:
            parse(of(kind, **{wrong: 1}))
        assert f"unknown key observables.0.{wrong} in" in str(caught.value)
        assert f"Did you mean {name}." in str(caught.value)


@pytest.mark.parametrize(
    ("observable", "words"),
    [
        (of("free_energy", density={"kind": "rdf"}), ("observables.0.density", "'dihedral'")),
        (of("free_energy", density={**DIHEDRAL, "binz": 3}),
         ("observables.0.density.binz", "Did you mean bins.")),
        (of("bond_lengths", atoms=[]), ("observables.0.atoms", "at least 1")),
        (of("bond_lengths", atoms=[[0, 1], [1]]), ("lacks observables.0.atoms.1.1",)),
        (of("bond_lengths", low=3.0), ("low 3.0 must be below high 2.0",)),
        (of("bond_angles", atoms=[[0, -1, 2]]), ("observables.0.atoms.0.1", "equal to 0")),
        (of("dihedral", atoms=[[0, 1, 2, 3], [1, 2, "H", 4]]),
         ("observables.0.atoms.1.2", "valid integer")),
        (of("dihedral_surface", first=[[0, 1, 2, 3], [1, 2, 3, 4]]),
         ("first has 2 dihedrals, and second has 1",)),
        (of("adf", elements=PAIR), ("lacks observables.0.elements.2",)),
        (of("adf", spread=-0.1), ("observables.0.spread", "equal to 0")),
        (of("rdf", room=0.5), ("observables.0.room", "equal to 1")),
        (of("tcf", low=0.5, bins=2), ("low 0.5 must exceed the width of a bin, 2.25",)),
        (of("stiffness", symmetry="trigonal"), ("observables.0.symmetry", "'hexagonal'")),
        (of("msd", lags=1), ("observables.0.lags", "equal to 2")),
        ({"kind": "msd"}, ("lacks observables.0.lags",)),
        (of("vdos", taper="hamming"), ("observables.0.taper", "'hann'")),
    ],
)  # fmt: skip
def test_bad_values(observable, words):
    with pytest.raises(UserError) as caught:
        parse(observable)
    for word in ("my.toml", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("atoms", "md", "observable", "words"),
    [
        *((chain, {}, of(kind), (kind, "periodic in all three directions"))
          for kind in ("rdf", "tcf", "density", "lattice_constant", "pressure", "stress",
                       "stiffness")),
        *((crystal, {}, of(kind), (kind, "volume is constant", '"npt"'))
          for kind in ("isobaric_heat_capacity", "thermal_expansion", "bulk_modulus",
                       "compressibility")),
        (crystal, {"ensemble": "npt"}, of("heat_capacity"), ("varies", "isobaric_heat_capacity")),
        (crystal, {"ensemble": "npt"}, of("stiffness"), ("constant volume", '"nvt"')),
        (crystal, {"ensemble": "npt"}, of("msd"), ("observable msd", "barostat")),
        *((crystal, {"ensemble": "nve"}, of(kind), (kind, "temperature", '"nvt"'))
          for kind in ("heat_capacity", "pressure", "stress", "stiffness", "free_energy")),
        (chain, {}, of("bond_lengths", atoms=[[0, 1], [5, 6]]),
         ("atoms [5, 6] in a molecule of 6", "2 different indices from 0 to 5")),
        (chain, {}, of("dihedral", name="phi", atoms=[[0, 1, 2, 3], [1, 2, 3, 3]]),
         ("phi has atoms [1, 2, 3, 3]", "4 different")),
        (chain, {}, of("dihedral_surface", second=[3, 4, 5, 6]), ("second [3, 4, 5, 6]",)),
        (chain, {}, of("free_energy", density=of("bond_angles", name="cnc", atoms=[[4, 5, 6]])),
         ("cnc has atoms [4, 5, 6]",)),
        (crystal, {}, of("rdf", elements=["Ar", "Xx"]), ("Xx is no element", "elements of rdf")),
        (crystal, {}, of("adf", elements=["Ar", "Xe", "Ar"]), ("adf is of element 54",)),
        (crystal, {}, of("tcf", element="Xe"), ("tcf is of element 54",)),
        (crystal, {}, of("vdos", element="Xe"), ("vdos is of element 54",)),
        (crystal, {}, of("lattice_constant", atoms_per_cell=3), ("8 atoms are no whole number",)),
        (crystal, {}, of("tetrahedral_order", cutoff=3.0),
         ("tetrahedral_order", "within cutoff = 3", "one has 0")),
        (alloy, {}, of("tetrahedral_order_distribution", element="Ne"),
         ("tetrahedral_order_distribution needs four", "Raise cutoff")),
        (crystal, {}, of("vacf", lags=7), ("vacf has lags = 7", "24 steps", "equilibration is 20",
                                           "to at least 24")),
        (crystal, {}, of("einstein_diffusion", fit=[0.9, 1.0]), ("fits from 0.9", "two lags")),
        (lambda: ase.Atoms("Ar"), {}, of("msd"), ("msd", "remove_drift")),
        (lambda: ase.Atoms("Ar"), {}, of("distances"), ("h_r is of a single atom",)),
    ],
)  # fmt: skip
def test_what_a_simulation_cannot_give_is_refused(atoms, md, observable, words):
    with pytest.raises(UserError) as caught:
        made(atoms(), observable, **md)
    for word in words:
        assert word in str(caught.value)
