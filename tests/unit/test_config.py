import copy
import tomllib
from pathlib import Path

import pydantic
import pytest

from bayespot import config
from bayespot.errors import UserError

MINIMAL = {
    "data": {"train": "train.extxyz", "test": "test.extxyz"},
    "md": {"temperature": 300.0},
    "observables": [{"kind": "mean_energy"}],
}
REPULSION = {"kind": "repulsion", "sigma": 1.0, "epsilon": 0.1, "cutoff": 3.0}
FULL = {
    "title": 'Ethanol, "quoted", 300 K, Å',
    "run": {"seed": 7, "precision": "float64"},
    "data": {
        "train": "a.extxyz",
        "test": "b.npz",
        "validation": "c.db",
        "energy_key": "dft_e",
        "forces_key": "dft_f",
    },
    "potential": {
        "kind": "pair_mlp",
        "hidden": [16, 8],
        "priors": [{"kind": "harmonic_bonds", "temperature": 500.0}, REPULSION],
    },
    "posterior": {"forces_noise": {"distribution": "gamma", "shape": 2.0, "scale": 1e-3}},
    "sampler": {"method": "nuts", "chains": 2, "warm_start": {"steps": 10}},
    "md": {"temperature": 300, "steps": 2000, "equilibration": 400, "thermostat": "nose_hoover"},
    "observables": [
        {"kind": "distances", "name": "near", "high": 2.0},
        {"kind": "distances", "name": "far", "low": 2.0},
        {"kind": "dihedral", "atoms": [0, 1, 2, 3]},
        {"kind": "heat_capacity"},
    ],
    "reference": {"file": "ref.npz"},
}


def with_(**changes):
    raw = copy.deepcopy(MINIMAL)
    raw.update(changes)
    return raw


def refused(raw, *texts):
    with pytest.raises(UserError) as caught:
        config.parse(raw, "my.toml")
    for text in ("my.toml", *texts):
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults():
    made = config.parse(MINIMAL)
    assert made.potential.kind == "schnet"
    assert made.observables[0].name == "mean_energy"
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        made.md.temperature = 1.0


def noise(**entries):
    return {"posterior": {"energy_noise": entries}}


def priors(kind, *terms):
    return {"potential": {"kind": kind, "priors": [REPULSION, *terms]}}


@pytest.mark.parametrize(
    ("changes", "key", "near"),
    [
        ({"smapler": {}}, "smapler", "sampler"),
        ({"sampler": {"chainz": 3}}, "sampler.chainz", "chains"),
        ({"sampler": {"warm_start": {"stepz": 3}}}, "sampler.warm_start.stepz", "steps"),
        (noise(scal=1.0), "posterior.energy_noise.scal", "scale"),
        ({"reference": {"fil": "a.npz"}}, "reference.fil", "file"),
        ({"md": {"temprature": 300.0}}, "md.temprature", "temperature"),
        ({"potential": {"kind": "schnet", "feature": 8}}, "potential.feature", "features"),
        (
            {"observables": [{"kind": "mean_energy"}, {"kind": "distances", "bns": 3}]},
            "observables.1.bns",
            "bins",
        ),
        (
            {"observables": [{"kind": "dihedral", "atms": [0, 1, 2, 3]}]},
            "observables.0.atms",
            "atoms",
        ),
        (
            priors("schnet", {**REPULSION, "sigme": 1.0}),
            "potential.priors.1.sigme",
            "sigma",
        ),
        (
            priors("pair_mlp", {"kind": "harmonic_bonds", "temperatur": 1.0}),
            "potential.priors.1.temperatur",
            "temperature",
        ),
    ],
)
def test_unknown_keys_name_the_nearest(changes, key, near):
    refused(with_(**changes), f"unknown key {key} in", f"Did you mean {near}.")


def test_unknown_keys_far_from_all_list_the_valid_ones():
    refused(with_(zzz=1), "unknown key zzz", "Valid keys are data, md, observables, posterior")
    changes = {"observables": [{"kind": "mean_energy", "bins": 3}]}
    refused(with_(**changes), "observables.0.bins", "Valid keys are kind, name")
    # a key of the other member of the union
    changes = {"potential": {"kind": "pair_mlp", "interactions": 2}}
    text = refused(with_(**changes), "potential.interactions", "hidden")
    assert "features" not in text


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"data": {"train": "a"}}, "data.test"),
        ({"md": {}}, "md.temperature"),
        ({"observables": [{"kind": "dihedral"}]}, "observables.0.atoms"),
        ({"observables": [{"name": "h_r"}]}, "observables.0.kind"),
        ({"potential": {"cutoff": 4.0}}, "potential.kind"),
        (priors("schnet", {"kind": "harmonic_bonds"}), "potential.priors.1.temperature"),
    ],
)
def test_missing_keys(changes, key):
    refused(with_(**changes), f"my.toml lacks {key}.", f"Add {key}", "bayespot template")


@pytest.mark.parametrize("name", ["data", "md", "observables"])
def test_missing_sections(name):
    raw = copy.deepcopy(MINIMAL)
    del raw[name]
    refused(raw, f"my.toml lacks {name}.")


@pytest.mark.parametrize(
    ("changes", "key", "text"),
    [
        ({"sampler": {"chains": "many"}}, "sampler.chains", "valid integer"),
        ({"sampler": {"chains": 2.5}}, "sampler.chains", "valid integer"),
        ({"md": {"temperature": "hot"}}, "md.temperature", "valid number"),
        ({"sampler": 3}, "sampler", "dictionary"),
        ({"observables": [{"kind": "dihedral", "atoms": [0, 1, 2, "H"]}]}, "observables.0.atoms.3",
         "valid integer"),
        ({"observables": [{"kind": "dihedrl"}]}, "observables.0", "'dihedral'"),
        ({"potential": {"kind": "gnn"}}, "potential", "'pair_mlp'"),
        ({"run": {"precision": "float16"}}, "run.precision", "'float64'"),
        (noise(distribution="gama"), "posterior.energy_noise.distribution", "'gamma'"),
    ],
)  # fmt: skip
def test_wrong_types_and_choices(changes, key, text):
    refused(with_(**changes), f"{key} in my.toml", text)


@pytest.mark.parametrize(
    ("changes", "key", "text"),
    [
        ({"md": {"temperature": -1.0}}, "md.temperature", "greater than 0"),
        ({"md": {"temperature": float("inf")}}, "md.temperature", "finite"),
        ({"md": {"temperature": float("nan")}}, "md.temperature", "finite"),
        ({"md": {"temperature": 300.0, "replicas": 0}}, "md.replicas", "equal to 1"),
        ({"sampler": {"draws": 0}}, "sampler.draws", "equal to 1"),
        ({"sampler": {"preconditioner_memory": 1.0}}, "sampler.preconditioner_memory", "less"),
        ({"run": {"seed": -1}}, "run.seed", "equal to 0"),
        (
            {"data": {"train": "a", "test": "b", "validation_fraction": 1.0}},
            "data.validation_fraction",
            "less than 1",
        ),
        ({"potential": {"kind": "schnet", "basis": 1}}, "potential.basis", "equal to 2"),
        ({"potential": {"kind": "pair_mlp", "hidden": [4, 0]}}, "potential.hidden.1", "equal to 1"),
        ({"observables": []}, "observables", "at least 1"),
    ],
)
def test_out_of_range(changes, key, text):
    refused(with_(**changes), f"{key} in my.toml", text)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sampler": {"burn_in": 150, "thinning": 100}},
         "burn_in 150 must be a multiple of thinning 100"),
        ({"sampler": {"first_step_size": 1e-7}}, "first_step_size must not be below"),
        ({"sampler": {"method": "nuts", "burn_in": 10, "thinning": 1}}, "at least 20 steps"),
        ({"md": {"temperature": 300.0, "steps": 1010}}, "multiple of blocks * stride = 100"),
        ({"md": {"temperature": 300.0, "equilibration": 150}}, "whole number of blocks of 1000"),
        ({"observables": [{"kind": "mean_energy"}] * 2}, "share the name mean_energy"),
        ({"observables": [{"kind": k, "name": "x"} for k in ("distances", "mean_energy")]},
         "share the name x"),
        ({"sampler": {"chains": 1, "draws": 1}}, "one draw has no spread"),
        ({"sampler": {"chains": 1, "method": "ensemble"}}, "one draw has no spread"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_together(changes, text):
    assert "Value error" not in refused(with_(**changes), text)


@pytest.mark.parametrize("raw", [MINIMAL, FULL], ids=["minimal", "full"])
def test_round_trip(raw):
    made = config.parse(raw)
    text = config.dumps(made)
    again = config.parse(tomllib.loads(text))
    assert again == made
    assert config.dumps(again) == text


def test_defaults_are_written_out():
    written = tomllib.loads(config.dumps(config.parse(MINIMAL)))
    assert written["sampler"]["draws"] == config.parse(MINIMAL).sampler.draws
    assert written["potential"]["kind"] == "schnet"
    assert "reference" not in written


def test_round_trip_keeps_what_was_written():
    made = config.parse(tomllib.loads(config.dumps(config.parse(FULL))))
    assert made.title == FULL["title"]
    assert [p.kind for p in made.potential.priors] == ["harmonic_bonds", "repulsion"]
    assert made.potential.hidden == (16, 8)
    assert made.posterior.forces_noise.scale == 1e-3
    assert made.sampler.warm_start.steps == 10
    assert made.reference.file == Path("ref.npz")


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "my.toml"
    raw = copy.deepcopy(FULL)
    raw["data"]["test"] = "../b.npz"
    raw["data"]["validation"] = str(tmp_path / "absolute.db")
    path.write_text(config.dumps(config.parse(raw)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for given in (path, "sub/my.toml"):
        made = config.load(given)
        assert made.data.train == tmp_path.resolve() / "sub" / "a.extxyz"
        assert made.data.test == tmp_path.resolve() / "b.npz"
        assert made.data.validation == tmp_path.resolve() / "absolute.db"
        assert made.reference.file == tmp_path.resolve() / "sub" / "ref.npz"


def test_load_without_optional_files(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(config.dumps(config.parse(MINIMAL)))
    made = config.load(path)
    assert made.data.validation is None
    assert made.reference is None


def test_load_names_the_file_of_a_mistake(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("smapler = 1\n" + config.dumps(config.parse(MINIMAL)))
    with pytest.raises(UserError) as caught:
        config.load(path)
    assert f"unknown key smapler in {path}" in str(caught.value)


@pytest.mark.parametrize("content", [b"[data\n", b"a = 1\na = 2\n", b'title = "\xff"\n'])
def test_invalid_toml(tmp_path, content):
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        config.load(path)
    assert f"{path} is not valid TOML" in str(caught.value)


def test_no_configuration(tmp_path):
    for path in (tmp_path / "no.toml", tmp_path):
        with pytest.raises(UserError, match=r"there is no configuration .*bayespot template"):
            config.load(path)
